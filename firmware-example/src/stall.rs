//! Stops a part of the firmware, to see the watchdog bite. Only a build with the feature `stall` can be told to, by a message to
//! `board/stall`: the name of a task as the supervisor says it, `main loop` or `stack`.

use core::cell::Cell;

use critical_section::Mutex;

use crate::supervisor::Task;

pub(crate) const TOPIC: &str = "board/stall";

static STALLED: Mutex<Cell<Option<Task>>> = Mutex::new(Cell::new(None));

/// Whether `task` is to do nothing.
pub(crate) fn is_stalled(task: Task) -> bool {
    cfg!(feature = "stall") && critical_section::with(|cs| STALLED.borrow(cs).get()) == Some(task)
}

/// Obeys a message.
pub(crate) fn stall(name: &[u8]) {
    match name {
        b"main loop" => loop {
            cortex_m::asm::nop();
        },
        b"stack" => overflow(0),
        _ => {
            let task = Task::ALL.into_iter().find(|task| task.name().as_bytes() == name);
            critical_section::with(|cs| STALLED.borrow(cs).set(task));
        }
    }
}

#[allow(unconditional_recursion, reason = "to see the stack overflow")]
fn overflow(depth: u32) {
    overflow(core::hint::black_box(depth) + 1);
    core::hint::black_box(depth);
}
