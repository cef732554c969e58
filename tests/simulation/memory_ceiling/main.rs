//! A ceiling on memory: whatever clients do, no more is claimed than it allows, what is refused is refused with the right Reason Code and
//! counted, and clients that use little notice nothing. And what is claimed is no less than what the allocator has given.
//!
//! A program of its own, since it counts allocations.

mod accounting;
mod after_floods;
mod attacks;
mod heap;
mod house;
