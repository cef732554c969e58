//! Random numbers from the embedder's seed. The core never draws random numbers from the system.

use crate::seed::secret::Secret;

/// A sequence of random numbers. Clients see some of them, such as assigned Client Identifiers, and learn nothing about the
/// others.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    key: Secret,
    index: u64,
}

impl Random {
    /// Two generators with the same key must have different `sequence` numbers.
    pub(crate) fn new(key: u128, sequence: u16) -> Self {
        Self { key: Secret::new(key), index: u64::from(sequence) << 48 }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.index = self.index.wrapping_add(1);
        self.key.number(self.index)
    }
}
