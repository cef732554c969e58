//! What survives a restart: records of what has changed, restoring from them, and room in the store.

#[cfg(feature = "alloc")]
pub(crate) mod outlook;
pub(crate) mod persist;
pub mod record;
pub(crate) mod restore;
#[cfg(feature = "alloc")]
pub(crate) mod room;
