//! `goldcrest sub` and `goldcrest pub`: small clients, so that a newcomer needs no other program to try the broker.

mod connection;
mod options;
mod publisher;
mod subscriber;

pub(super) use options::{PublisherOptions, SubscriberOptions};

use super::Failure;
use options::ClientOptions;

pub(super) fn subscribe(options: &SubscriberOptions) -> Result<(), Failure> {
    Ok(subscriber::run(options)?)
}

pub(super) fn publish(options: &PublisherOptions) -> Result<(), Failure> {
    Ok(publisher::run(options)?)
}
