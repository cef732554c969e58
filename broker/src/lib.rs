//! The Goldcrest gateway.
