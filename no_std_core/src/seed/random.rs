//! Random numbers: the embedder gives the seed, the core never draws any itself.

use crate::seed::secret::Secret;

/// A sequence of numbers. Who sees some of them, as clients do that are given Client Identifiers, learns nothing about the others.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    key: Secret,
    index: u64,
}

impl Random {
    /// `sequence` tells apart who have the same key.
    pub(crate) fn new(key: u128, sequence: u16) -> Self {
        Self { key: Secret::new(key), index: u64::from(sequence) << 48 }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.index = self.index.wrapping_add(1);
        self.key.number(self.index)
    }
}
