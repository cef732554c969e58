//! From a PUBLISH to the subscriptions that match it.
