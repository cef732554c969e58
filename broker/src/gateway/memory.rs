//! The ceiling on the memory of the process, and what of it is taken before a client comes.

use super::StartError;
use crate::config::{MemoryBound, cores};
use crate::net::Layered;
use crate::shard::{CREDIT_PARTS, KEPT_MAIL_BYTES, doorsteps_for};
use goldcrest_core::{MemoryCeiling, MemoryUse};
use std::sync::Arc;

/// What the process takes without any shard: the pages of the program that are used, its libraries, the threads of the store and of operators.
///
/// Resident memory of a release build on x86-64 with HTTP, before a client came:
///
/// | shards | 1 | 2 | 4 | 8 |
/// |---|---|---|---|---|
/// | memory only | 6.6 MiB | 7.0 MiB | 7.4 MiB | 8.5 MiB |
/// | with a store | 6.9 MiB | 7.5 MiB | 7.8 MiB | 9.1 MiB |
///
/// So 6.3 and 6.6 MiB are those of the process, and 0.27 and 0.31 MiB those of each shard. After some load there is hardly more that nobody claims.
const PROCESS: usize = 7 << 20;
/// What each shard takes before a client comes, besides spare buffers and mail: stack, runtime and tables with their first entries, 0.3 MiB, and the
/// buffers that its sockets share, 192 KiB.
const SHARD: usize = 3 << 18;
/// What a thread for handshakes takes before a client comes.
const DOORSTEP: usize = 1 << 18;
/// The allocator can't use this part of what it has: holes between what is in use.
const HOLES: usize = 16;
/// What is left to clients is at least one part in so many.
const LEAST_LEFT: usize = 4;

/// What no client has a part in, and what shards do with it.
pub(super) struct MemoryPlan {
    pub(super) ceiling: Arc<MemoryCeiling>,
    /// Spare buffers that each shard keeps, in bytes.
    pub(super) spare_bytes: usize,
}

/// The ceiling for so many shards, with what they take at start. `has_doorsteps`: some listener accepts connections on threads of its own.
///
/// # Errors
/// Too little would be left to clients.
pub(super) fn plan(bound: MemoryBound, shards: u16, has_doorsteps: bool) -> Result<MemoryPlan, StartError> {
    let max = usize::try_from(bound.bytes).unwrap_or(usize::MAX);
    let spare_bytes = spare_bytes(max, shards);
    let other = other_bytes(max, shards, has_doorsteps);
    if other.saturating_mul(LEAST_LEFT) > max.saturating_mul(LEAST_LEFT - 1) {
        return Err(StartError::Memory { max: bound.bytes, shards, other: other as u64 });
    }
    tracing::info!("memory: at most {bound}");
    let ceiling = MemoryCeiling::new(max);
    ceiling.take_anyway(MemoryUse::Other, other);
    Ok(MemoryPlan { ceiling, spare_bytes })
}

/// What nobody claims, in bytes.
pub(crate) fn other_bytes(max: usize, shards: u16, has_doorsteps: bool) -> usize {
    let mail = if shards > 1 { KEPT_MAIL_BYTES } else { 0 };
    let shard = SHARD.saturating_add(mail).saturating_add(spare_bytes(max, shards));
    // Batches on their way to the store are copies of messages. A gateway without a store has this part free.
    let batches = max / CREDIT_PARTS;
    let all = shard.saturating_mul(shards.into()).saturating_add(PROCESS).saturating_add(max / HOLES + batches);
    if !has_doorsteps {
        return all;
    }
    // Each shard has buffers for layers, and threads for handshakes have buffers, stack and runtime.
    let handshakes = doorsteps_for(cores()).saturating_mul(DOORSTEP + Layered::BYTES_OF_THREAD);
    all.saturating_add(usize::from(shards).saturating_mul(Layered::BYTES_OF_THREAD)).saturating_add(handshakes)
}

/// Spare buffers of each shard: all together one part in 32.
fn spare_bytes(max: usize, shards: u16) -> usize {
    max / 32 / usize::from(shards.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MemoryMax;

    #[test]
    fn shards_that_leave_nothing_to_clients_are_refused() {
        let plan = |mib: u64, shards| plan(MemoryMax::Bytes(mib << 20).bound(), shards, false);
        for (mib, shards) in [(16, 1), (32, 2), (64, 8), (256, 64)] {
            let MemoryPlan { ceiling, .. } = plan(mib, shards).unwrap_or_else(|error| panic!("{error}"));
            assert!(ceiling.free() >= ceiling.bytes() / LEAST_LEFT, "{mib} {shards}");
        }
        let Err(error) = plan(32, 32) else { panic!("32 shards take more than 32 MiB") };
        let text = error.to_string();
        assert!(text.contains("32 MiB") && text.contains("--shards") && text.contains("--memory-max"), "{text}");
    }
}
