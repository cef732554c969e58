//! The part of the vector table for the interrupts of devices. All entries lead to one handler, which finds out which
//! interrupt it was.

/// The number of interrupts of an LM3S6965. Without this table cortex-m-rt's own would take 240 words of flash.
const COUNT: usize = 44;

unsafe extern "C" {
    fn DefaultHandler();
}

#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
static __INTERRUPTS: [unsafe extern "C" fn(); COUNT] = [DefaultHandler; COUNT];
