//! The heap of the process.

/// Lets the allocator keep up to some megabytes of freed memory for each shard. A turn of the event loop takes memory for the bodies of all its
/// messages and frees it at its end. By default glibc returns free memory of 128 KiB or more to the system, and then each page costs a page
/// fault when it is used again: a quarter of the processor's time if pairs of clients exchange messages of 256 bytes.
pub(crate) fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (parameter, bytes) in [
        (libc::M_TRIM_THRESHOLD, 4 << 20),
        // Setting one of the two parameters stops glibc from adjusting the other. If a block larger than this size grows, the system moves
        // its pages, without a copy and without leaving a hole.
        (libc::M_MMAP_THRESHOLD, 256 << 10),
    ] {
        // SAFETY: mallopt takes two numbers and may be called at any time; it refuses parameters that it does not know.
        unsafe { libc::mallopt(parameter, bytes) };
    }
}
