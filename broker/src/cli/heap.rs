//! The heap of the process.

/// Lets the allocator keep up to some megabytes of what was freed for each shard. A turn takes memory for the bodies of all
/// messages in it and gives it back at its end: glibc returns it to the system whenever 128 KiB are free, and each page
/// comes back as a fault. With 256 B in pairs that is a quarter of the processor's time.
pub(crate) fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (parameter, bytes) in [
        (libc::M_TRIM_THRESHOLD, 4 << 20),
        // To set one of the two ends the adjustment of the other. Tables that grow beyond this are moved by the system,
        // without a copy and without holes where they were.
        (libc::M_MMAP_THRESHOLD, 256 << 10),
    ] {
        // SAFETY: mallopt takes two numbers and may be called at any time; it refuses what it does not know.
        unsafe { libc::mallopt(parameter, bytes) };
    }
}
