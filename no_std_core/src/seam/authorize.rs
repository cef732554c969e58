//! Permissions: the core asks, and the embedder answers.

use crate::codec::{Auth, Connect, QoS, ReasonCode};
use crate::config::Shared;
use crate::mem::{Blob, Bytes, TEXT_ON_STACK};
use crate::seam::grant::Grant;
use crate::topic::{TopicFilter, TopicName};

/// Who a client proved to be: a number that the embedder chose in its [`Verdict`].
///
/// A Session belongs to its principal: another one can't resume it or take it over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Principal(pub u32);

impl Principal {
    /// The principal of a client that the embedder was not asked about.
    pub const ANONYMOUS: Self = Self(0);
}

/// Who asks to do something: a principal, by a Session with this Client Identifier.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    principal: Principal,
    client_id: ClientId<'a>,
}

#[derive(Clone, Copy, Debug)]
enum ClientId<'a> {
    Text(&'a str),
    Stored(&'a Bytes<'a>, Blob),
}

impl<'a> Subject<'a> {
    /// A subject with this principal and Client Identifier.
    pub const fn new(principal: Principal, client_id: &'a str) -> Self {
        Self { principal, client_id: ClientId::Text(client_id) }
    }

    /// A subject whose Client Identifier stands in the memory of the broker.
    pub(crate) const fn stored(principal: Principal, bytes: &'a Bytes<'a>, client_id: Blob) -> Self {
        Self { principal, client_id: ClientId::Stored(bytes, client_id) }
    }

    /// The principal that the client proved to be.
    pub const fn principal(&self) -> Principal {
        self.principal
    }

    /// Passes the Client Identifier to `act`. In the memory of firmware it stands in pieces, so it is put together for the time
    /// of the call. One of more than 256 bytes, which no broker in borrowed memory accepts, is passed as an empty one.
    pub fn with_client_id<R>(&self, act: impl FnOnce(&str) -> R) -> R {
        match self.client_id {
            ClientId::Text(text) => act(text),
            ClientId::Stored(..) => self.with_client_id_bytes(|text| act(core::str::from_utf8(text).unwrap_or(""))),
        }
    }

    /// As [`Subject::with_client_id`], with the bytes of the text. That takes less time.
    #[inline]
    pub fn with_client_id_bytes<R>(&self, act: impl FnOnce(&[u8]) -> R) -> R {
        match self.client_id {
            ClientId::Text(text) => act(text.as_bytes()),
            ClientId::Stored(bytes, blob) => {
                let mut space = [0; TEXT_ON_STACK];
                let text = match bytes.contiguous(blob) {
                    Some(text) => text,
                    None if blob.len() > TEXT_ON_STACK => &[],
                    None => {
                        let len = bytes.copy(blob, 0, &mut space);
                        space.get(..len).unwrap_or(&[])
                    }
                };
                act(text)
            }
        }
    }
}

/// Which of the messages that match its subscription a subject may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscribable {
    /// No messages: the subscription is refused with 0x87 Not authorized.
    No,
    /// Messages of some topics that match: [`Authorize::receive`] is asked for each message.
    Partly,
    /// Messages of each topic that matches, until the rules change: nothing more is asked.
    Wholly,
}

impl Subscribable {
    /// [`Subscribable::Wholly`] or [`Subscribable::No`].
    pub const fn wholly_if(may: bool) -> Self {
        if may { Self::Wholly } else { Self::No }
    }
}

/// The embedder's permissions. Answers must come at once and without blocking.
///
/// A broker remembers the answers to [`Authorize::subscribe`]. Whoever changes the rules calls [`Broker::rules_changed`](crate::Broker::rules_changed) then.
///
/// For a client with a mount ([`Grant`]) the broker asks about whole topics and filters, which begin with the mount.
///
/// The trait requires `Sync`, so that a broker can move from one thread to another.
pub trait Authorize: Sync {
    /// May `who` publish to `topic`? Asked for PUBLISH, for the Will when it is set, and again when it is published.
    fn publish(&self, who: &Subject<'_>, topic: TopicName<'_>, qos: QoS, retain: bool) -> bool;

    /// May `who` subscribe to `filter`, and be sent the messages that match? Asked for SUBSCRIBE, and again after the rules have
    /// changed.
    fn subscribe(&self, who: &Subject<'_>, filter: TopicFilter<'_>, qos: QoS) -> Subscribable;

    /// May `who` be sent a message of `topic` now? Asked when a message is transmitted if a subscription of the Session is
    /// granted as [`Subscribable::Partly`], or if the broker had the message before the rules changed. So when a permission is
    /// taken away, queued messages, messages in flight and retained messages are held back too.
    fn receive(&self, who: &Subject<'_>, topic: TopicName<'_>) -> bool {
        let _ = (who, topic);
        true
    }
}

/// Everybody may do everything, except that no client may publish below `$SYS/`.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Authorize for AllowAll {
    fn publish(&self, _: &Subject<'_>, _: TopicName<'_>, _: QoS, _: bool) -> bool {
        true
    }

    fn subscribe(&self, _: &Subject<'_>, _: TopicFilter<'_>, _: QoS) -> Subscribable {
        Subscribable::Wholly
    }
}

/// The permissions that a broker asks: borrowed by the broker, or with the feature `alloc` shared with it.
///
/// A reference to any type that implements [`Authorize`] can be converted to this type, and so can an `Arc` of it.
#[derive(Clone)]
pub struct Permissions<'m>(HeldPermissions<'m>);

#[derive(Clone)]
enum HeldPermissions<'m> {
    Lent(&'m dyn Authorize),
    Shared(Shared<dyn Authorize + Send>),
}

impl<'m> core::ops::Deref for Permissions<'m> {
    type Target = dyn Authorize + 'm;

    #[inline]
    fn deref(&self) -> &Self::Target {
        match &self.0 {
            HeldPermissions::Lent(permissions) => *permissions,
            HeldPermissions::Shared(permissions) => &**permissions,
        }
    }
}

impl core::fmt::Debug for Permissions<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Permissions")
    }
}

impl<'m, A: Authorize> From<&'m A> for Permissions<'m> {
    fn from(permissions: &'m A) -> Self {
        Self(HeldPermissions::Lent(permissions))
    }
}

impl<'m> From<&'m dyn Authorize> for Permissions<'m> {
    fn from(permissions: &'m dyn Authorize) -> Self {
        Self(HeldPermissions::Lent(permissions))
    }
}

#[cfg(feature = "alloc")]
mod shared {
    use super::{Authorize, HeldPermissions, Permissions};
    use alloc::sync::Arc;

    impl<A: Authorize + Send + 'static> From<Arc<A>> for Permissions<'_> {
        fn from(permissions: Arc<A>) -> Self {
            Self(HeldPermissions::Shared(permissions))
        }
    }

    impl From<Arc<dyn Authorize + Send>> for Permissions<'_> {
        fn from(permissions: Arc<dyn Authorize + Send>) -> Self {
            Self(HeldPermissions::Shared(permissions))
        }
    }
}

/// A question to the embedder, who answers it by [`Broker::handle_verdict`](crate::Broker::handle_verdict).
#[derive(Clone, Copy, Debug)]
pub enum Ask<'b> {
    /// May this client connect?
    Connect(Connect<'b>),
    /// The next step of an enhanced authentication, or of a re-authentication.
    Auth(Auth<'b>),
}

/// The embedder's answer to an [`Ask`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Verdict<'a> {
    /// The client has proved who it is.
    Accept {
        /// The principal of the client. In a re-authentication it must be the principal that the Session belongs to, and the
        /// grant must have the client's present mount. Everything else is refused with 0x87 Not authorized.
        principal: Principal,
        /// Authentication Data for the CONNACK, or for the AUTH that ends a re-authentication.
        data: Option<&'a [u8]>,
        /// Bounds and other settings for this client.
        grant: Grant,
    },
    /// Enhanced authentication goes on: AUTH 0x18 with these Authentication Data.
    Continue {
        /// The Authentication Data.
        data: &'a [u8],
    },
    /// CONNACK, or DISCONNECT for a re-authentication, with this Reason Code; then the connection is closed.
    Refuse(ReasonCode),
}

impl Verdict<'_> {
    /// Accepts the client as `principal`, with the same grant as all other clients.
    pub fn accept(principal: Principal) -> Self {
        Self::Accept { principal, data: None, grant: Grant::default() }
    }
}
