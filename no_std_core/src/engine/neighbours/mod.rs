//! The engine's questions and reports to its neighbours, the rooms that know the engine.
//!
//! The rooms `shards/`, `durable/` and `paging/` know the engine. The engine knows each of them by a trait with methods on [`Engine`],
//! whose defaults fit a broker without this neighbour, and by the types in [`neighbour_state`]. A neighbour implements both in its own
//! room. Without its feature a file such as `shards/none.rs` takes the place of the room, and implements the traits without any code. So
//! all calls are resolved at compile time, and a neighbour that is left out costs nothing.
//!
//! [`Engine`]: crate::engine::Engine
//! [`neighbour_state`]: crate::engine::neighbour_state

pub(crate) mod bodies;
pub(crate) mod credit;
pub(crate) mod happenings;
