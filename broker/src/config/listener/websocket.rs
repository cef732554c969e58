//! How a listener speaks WebSocket, and the values of its keys.

use crate::config::values::{list, string};
use serde::{Deserialize, Deserializer};

/// How a listener speaks WebSocket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebSocketConfig {
    /// The origins whose web pages may connect, such as `https://dashboard.example`, besides those of the host that the browser connects to. `*` stands for
    /// all. Clients that are no browsers name no origin, and may connect.
    pub origins: Vec<String>,
}

const ORIGINS: &str = "a list of origins of web pages, like [\"https://dashboard.example\"], or [\"*\"] for all";

/// The origin of a web page.
#[derive(Debug)]
pub(super) struct Origin(pub(super) String);

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let is_origin = |text: &str| {
            let (_, host) = text.split_once("://").unwrap_or_default();
            text == "*" || !host.is_empty() && !host.contains('/')
        };
        string(from, ORIGINS, |text| is_origin(text).then(|| Self(text.to_owned())))
    }
}

pub(super) fn origins<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Origin>>, D::Error> {
    list(from, ORIGINS).map(Some)
}
