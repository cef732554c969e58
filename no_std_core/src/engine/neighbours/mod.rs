//! What the engine asks of its neighbours and tells them.
//!
//! The rooms `shards/`, `durable/` and `paging/` know the engine. The engine knows each of them by a trait with methods on [`Engine`],
//! whose defaults are a broker without such a neighbour, and by the types in [`neighbour_state`]. A neighbour implements both in its own
//! room. Without its feature a file such as `shards/none.rs` stands for the room and implements them, by nothing. So all is resolved
//! when the crate is compiled, and a neighbour that is not there costs nothing.
//!
//! [`Engine`]: crate::engine::Engine
//! [`neighbour_state`]: crate::engine::neighbour_state

pub(crate) mod bodies;
pub(crate) mod credit;
pub(crate) mod happenings;
