//! Feeds the watchdog when every task has made progress since the last time.
//!
//! A task that hangs stops the main loop, and so all other tasks. A task that returns but gets nothing done, though it has
//! work, is noticed by its missing progress. In both cases the watchdog prints the task, and resets the board.

use crate::board::{UARTS, Watchdog};

/// A task that must make progress.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    Uart0,
    Uart1,
    Uart2,
    Network,
    Station,
    Broker,
}

impl Task {
    pub(crate) const ALL: [Self; 6] =
        [Self::Uart0, Self::Uart1, Self::Uart2, Self::Network, Self::Station, Self::Broker];
    /// The tasks of the UARTs, in their order.
    pub(crate) const UARTS: [Self; UARTS] = [Self::Uart0, Self::Uart1, Self::Uart2];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Uart0 => "UART0",
            Self::Uart1 => "UART1",
            Self::Uart2 => "UART2",
            Self::Network => "network",
            Self::Station => "station",
            Self::Broker => "broker",
        }
    }
}

/// Knows the tasks that must still make progress before the watchdog is fed again.
pub(crate) struct Supervisor {
    watchdog: Watchdog,
    awaited: [bool; Task::ALL.len()],
}

impl Supervisor {
    /// Starts the watchdog. From now on every task must make progress within the watchdog's period.
    pub(crate) fn start(mut watchdog: Watchdog) -> Self {
        watchdog.start();
        Self { watchdog, awaited: [true; Task::ALL.len()] }
    }

    /// Notes that `task` has done some of its work, or had none.
    pub(crate) fn note(&mut self, task: Task, has_progressed: bool) {
        if let Some(awaited) = self.awaited.get_mut(task as usize) {
            *awaited &= !has_progressed;
        }
    }

    /// To be called at the end of each turn of the main loop.
    pub(crate) fn end_turn(&mut self) {
        if !self.awaited.contains(&true) {
            self.watchdog.feed();
            self.awaited = [true; Task::ALL.len()];
        }
        let first = Task::ALL.into_iter().zip(self.awaited).find(|(_, awaited)| *awaited);
        self.watchdog.blame(first.map_or("", |(task, _)| task.name()));
    }
}
