//! The interrupts of this board in the vector table. All of them lead to the handler that asks which one it is.

/// What there can be on an LM3S6965. Without a table of the board's, one for any board would take 240 words of flash.
const COUNT: usize = 44;

unsafe extern "C" {
    fn DefaultHandler();
}

#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
static __INTERRUPTS: [unsafe extern "C" fn(); COUNT] = [DefaultHandler; COUNT];
