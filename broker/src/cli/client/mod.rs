//! `goldcrest sub` and `goldcrest pub`: small clients, so that a newcomer needs nothing else.

mod connection;
mod options;
mod publisher;
mod subscriber;

pub(crate) use options::command;

use options::{Options, PublisherOptions, SubscriberOptions};

/// A client's command line.
pub(crate) enum Command {
    Help(&'static str),
    Subscribe(SubscriberOptions),
    Publish(PublisherOptions),
}

impl Command {
    pub(crate) fn run(self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        match self {
            Self::Help(text) => crate::cli::print(text)?,
            Self::Subscribe(options) => subscriber::run(&options)?,
            Self::Publish(options) => publisher::run(&options)?,
        }
        Ok(())
    }
}
