// Folders for the stores and files of a test. The unit tests of the gateway include this file, so it has no documentation of its own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The path of a folder of the test's own, which is removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A path at which there is no folder yet. `name` says what the folder is for.
    pub(crate) fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("goldcrest-{name}-{}-{number}", std::process::id()));
        // A process with the same number may have left one.
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    /// A folder without files.
    pub(crate) fn made(name: &str) -> Self {
        let folder = Self::new(name);
        std::fs::create_dir(&folder.0).unwrap();
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
