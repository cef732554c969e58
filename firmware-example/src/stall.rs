//! Stops a part of the firmware on purpose, to test the watchdog. Only builds with the feature `stall` have this. A message to
//! `board/stall` names the task, as the supervisor names it, or `stack`.

use core::cell::Cell;

use critical_section::Mutex;

use crate::supervisor::Task;

pub(crate) const TOPIC: &str = "board/stall";

static STALLED: Mutex<Cell<Option<Task>>> = Mutex::new(Cell::new(None));

/// Whether `task` has been told to do nothing.
pub(crate) fn is_stalled(task: Task) -> bool {
    cfg!(feature = "stall") && critical_section::with(|cs| STALLED.borrow(cs).get()) == Some(task)
}

/// Obeys a message to `board/stall`.
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
