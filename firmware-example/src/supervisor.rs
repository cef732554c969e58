//! Feeds the watchdog once everybody has made progress since it was fed last.
//!
//! A part that hangs stops the main loop and with it all others. One that only does not get on, with work waiting, is noticed
//! because its progress is missing: the watchdog says whose, and resets the board.

use crate::board::{UARTS, Watchdog};

/// Whose progress it is.
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
    /// In the order of the UARTs.
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

/// Who is still awaited before the watchdog is fed again.
pub(crate) struct Supervisor {
    watchdog: Watchdog,
    awaited: [bool; Task::ALL.len()],
}

impl Supervisor {
    /// Starts the watchdog. From now on everybody must make progress within its period.
    pub(crate) fn start(mut watchdog: Watchdog) -> Self {
        watchdog.start();
        Self { watchdog, awaited: [true; Task::ALL.len()] }
    }

    /// `task` has done some of its work, or has none.
    pub(crate) fn note(&mut self, task: Task, has_progressed: bool) {
        if let Some(awaited) = self.awaited.get_mut(task as usize) {
            *awaited &= !has_progressed;
        }
    }

    /// The end of a turn of the main loop.
    pub(crate) fn end_turn(&mut self) {
        if !self.awaited.contains(&true) {
            self.watchdog.feed();
            self.awaited = [true; Task::ALL.len()];
        }
        let first = Task::ALL.into_iter().zip(self.awaited).find(|(_, awaited)| *awaited);
        self.watchdog.blame(first.map_or("", |(task, _)| task.name()));
    }
}
