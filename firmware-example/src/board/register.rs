//! Memory-mapped registers of this board, by address.

/// A register of 32 bits.
#[derive(Clone, Copy)]
pub(super) struct Register(usize);

impl Register {
    /// # Safety
    /// The board must have a device register of 32 bits at `address`. Neither reading nor writing it may touch memory that Rust
    /// owns.
    pub(super) const unsafe fn at(address: usize) -> Self {
        Self(address)
    }

    pub(super) fn read(self) -> u32 {
        // SAFETY: the caller of `at` has promised a device register at this address.
        unsafe { core::ptr::read_volatile(self.0 as *const u32) }
    }

    pub(super) fn write(self, value: u32) {
        // SAFETY: the caller of `at` has promised a device register at this address.
        unsafe { core::ptr::write_volatile(self.0 as *mut u32, value) }
    }
}
