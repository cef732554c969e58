//! CONNECT: it is checked, kept until there is a verdict, and then a Session is resumed or made (section 3.1.4).

use crate::codec::{Connect, Frame, ReasonCode, ReasonText, Refusal, Version};
use crate::config::Authentication;
use crate::engine::Engine;
use crate::engine::connections::{Connection, Owed, Phase, Reply, assigned_client_id};
use crate::engine::info::Shortage;
use crate::engine::neighbours::credit::Credit;
use crate::engine::neighbours::happenings::{Happening, Observer};
use crate::engine::receive::Taken;
use crate::engine::sessions::Session;
use crate::engine::siblings::Siblings;
use crate::engine::timeout::TimerKey;
use crate::mem::{Handle, one_more};
use crate::seam::authorize::{Ask, Principal};
use crate::seam::counters::tally;
use crate::seam::grant::Grant;
use crate::time::Instant;

/// The Receive Maximum of a client that sends none (section 3.1.2.11.3).
const DEFAULT_RECEIVE_MAXIMUM: u16 = 65_535;

/// The Session Expiry Interval that never ends (section 3.1.2.11.2).
const NEVER: u32 = u32::MAX;

/// What was found out about the Session of a client that connects.
#[derive(Clone, Copy)]
struct Found {
    /// The hash of the Client Identifier.
    hash: u32,
    session: Option<Handle<Session>>,
    /// Whether the client resumes the Session that was found `[MQTT-3.2.2-2]` `[MQTT-3.2.2-3]`.
    goes_on: bool,
}

impl<'m> Engine<'m> {
    #[inline(never)]
    pub(crate) fn on_connect<'b>(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        frame: Frame<'b>,
    ) -> Result<Taken<'b>, Refusal> {
        let connect = match Connect::decode(frame) {
            Ok(connect) => connect,
            Err(refused) => {
                let refusal = Refusal { code: refused.code, why: refused.why };
                match refused.version {
                    Some(version) => {
                        self.connections[handle].version = version;
                        self.refuse_connect(now, handle, refusal);
                    }
                    None => {
                        tally(&mut self.counters.connections_refused, 1);
                        self.close(now, handle, refusal, false);
                    }
                }
                return Ok(Taken::Done);
            }
        };
        if connect.will.as_ref().is_some_and(|will| !self.has_credit_for_will(handle, will)) {
            return Ok(Taken::NotNow);
        }
        self.connections[handle].version = connect.version;
        self.connections[handle].is_bridge = connect.is_bridge;
        if let Err(refusal) = self.keep_connect(handle, &connect) {
            self.refuse_connect(now, handle, refusal);
            return Ok(Taken::Done);
        }
        match self.config.authentication {
            Authentication::Open => {
                self.open(now, handle, Principal::ANONYMOUS, &Grant::default());
                Ok(Taken::Done)
            }
            Authentication::Ask => {
                self.connections[handle].phase = Phase::AwaitingVerdict;
                Ok(Taken::Ask(Ask::Connect(connect)))
            }
        }
    }

    /// Checks a CONNECT as far as no verdict is needed, and stores what is needed once there is one.
    fn keep_connect(&mut self, handle: Handle<Connection>, connect: &Connect<'_>) -> Result<(), Refusal> {
        let properties = &connect.properties;
        // Maximum Packet Size comes first, because it bounds a refusal too.
        self.connections[handle].maximum_packet_size = properties.maximum_packet_size().unwrap_or(u32::MAX);
        self.check_property_count(properties.count())?;
        if connect.client_id.is_empty() {
            check_empty_client_id(connect)?;
        }
        let method = properties.authentication_method();
        if method.is_some() && self.config.authentication == Authentication::Open {
            return Err(Refusal::new(
                ReasonCode::BadAuthenticationMethod,
                "this server knows no enhanced authentication",
            ));
        }
        let limits = &self.config.limits;
        // A client of an older version can't say how many messages it accepts at once.
        let theirs = if connect.version.is_v5() {
            properties.receive_maximum().unwrap_or(DEFAULT_RECEIVE_MAXIMUM)
        } else {
            limits.inflight_v3
        };
        let window = theirs.min(limits.inflight);
        let aliases_out_limit = properties.topic_alias_maximum().unwrap_or(0).min(limits.topic_aliases_out);
        let connection = &mut self.connections[handle];
        connection.window = window;
        connection.aliases_out_limit = aliases_out_limit;
        connection.problem_information = properties.request_problem_information().unwrap_or(true);
        // The draft is empty: a connection has none before its CONNECT.
        let draft = connection.draft.get_mut();
        draft.clean_start = connect.clean_start;
        draft.keep_alive = connect.keep_alive;
        draft.expiry_secs = connect.session_expiry_interval();
        draft.wants_response_information = properties.request_response_information().unwrap_or(false);
        let client_id = self.messages.bytes.store(&[connect.client_id.as_bytes()]).ok_or(NO_MEMORY)?;
        self.connections[handle].draft.get_mut().client_id = client_id;
        if let Some(method) = method {
            self.connections[handle].method = self.messages.bytes.store(&[method.as_bytes()]).ok_or(NO_MEMORY)?;
        }
        if let Some(will) = &connect.will {
            let will = self.keep_will(will, connect.client_id)?;
            self.connections[handle].draft.get_mut().will = Some(will);
        }
        Ok(())
    }

    /// The client is accepted: gives it its Session and its CONNACK.
    pub(crate) fn open(&mut self, now: Instant, handle: Handle<Connection>, principal: Principal, grant: &Grant) {
        if let Err(refusal) = self.try_open(now, handle, principal, grant) {
            self.refuse_connect(now, handle, refusal);
        }
    }

    /// Decides everything first, and changes everything then. So a client that is refused changes nothing of an existing Session, its
    /// connection and its Will.
    fn try_open(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        principal: Principal,
        grant: &Grant,
    ) -> Result<(), Refusal> {
        let changes = self.messages.journal.changes();
        if self.connections[handle].draft.get().client_id.is_empty() {
            self.assign_client_id(handle)?;
        }
        self.mount(handle, grant)?;
        self.check_will(handle, principal)?;
        let found = self.look_for_session(now, handle, principal)?;

        let (granted, keep_alive) = self.bound_times(handle);
        if self.connack_len(handle) > self.connections[handle].maximum_packet_size {
            return Err(UNSAYABLE);
        }

        // From here on the client can't be refused any more.
        let session = self.take_session(now, handle, principal, found)?;
        let will = self.connections[handle].draft.get_mut().will.take();
        let connection = &mut self.connections[handle];
        connection.phase = Phase::Open;
        connection.session = Some(session);
        connection.idle_limit_ms = u32::from(keep_alive) * 1500;
        connection.last_active = now;
        connection.is_bridge |= grant.is_bridge;

        let bound = &mut self.sessions[session];
        if bound.connection.replace(handle).is_none() {
            self.counters.connected = one_more(self.counters.connected);
        }
        bound.is_durable |= granted > 0 && self.messages.journal.is_on();
        bound.expiry_secs = granted;
        bound.principal = principal;
        bound.will = will;
        bound.outbound.resume(&mut self.messages);
        bound.inbound.connected(now, found.goes_on);
        self.note_session(session);
        self.take_grant(now, handle, session, grant);
        self.keep_below_mount(handle, session);

        self.happened(Happening::Connected { session, session_present: found.goes_on });

        let batch = self.messages.journal.batch_since(changes);
        // CONNACK need not wait for the record of the Will, which is safe before anything that the client is told later.
        self.record_will(session);
        let session_present = found.goes_on;
        self.owe(
            handle,
            Owed::new(Reply::ConnAck { session_present }, 0, ReasonCode::Success, ReasonText::NONE).after(batch),
        );
        self.member_came(now, session);
        self.client_came(session);
        Ok(())
    }

    /// The Session Expiry Interval and the Keep Alive that the client gets, in seconds. CONNACK names those that differ from what the
    /// client asked for.
    fn bound_times(&mut self, handle: Handle<Connection>) -> (u32, u16) {
        let draft = self.connections[handle].draft.get_mut();
        let granted = draft.expiry_secs.min(self.config.session_expiry_max);
        draft.granted_expiry_secs = (granted != draft.expiry_secs).then_some(granted);
        let bound = self.config.keep_alive_max;
        let too_long = bound != 0 && (draft.keep_alive == 0 || draft.keep_alive > bound);
        draft.server_keep_alive = too_long.then_some(bound);
        // Before MQTT 5.0 a client can't be told, and is closed if it is silent for longer: a Server may do so "regardless of the Keep
        // Alive value provided by that Client" (section 3.1.2.10 of MQTT 3.1.1).
        (granted, draft.server_keep_alive.unwrap_or(draft.keep_alive))
    }

    /// Looks for the Session of the client. If the client can't resume one, checks that there will be room for a new Session. Changes
    /// nothing.
    fn look_for_session(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        principal: Principal,
    ) -> Result<Found, Refusal> {
        let draft = self.connections[handle].draft.get();
        let looked_up = self.messages.bytes.with(draft.client_id, |text| {
            let hash = self.hasher.hash_bytes(text);
            (hash, self.find_session(hash, text))
        });
        let (hash, session) = looked_up.ok_or(Refusal::new(
            ReasonCode::ClientIdentifierNotValid,
            "a Client Identifier has at most 256 bytes here",
        ))?;
        let mut goes_on = false;
        if let Some(session) = session {
            let entry = &self.sessions[session];
            if entry.principal != principal {
                return Err(Refusal::new(
                    ReasonCode::NotAuthorized,
                    "the Session with this Client Identifier belongs to somebody else",
                ));
            }
            // An interval of 0 ends a Session with its connection, also if a power cut ended the connection. A Session may have expired
            // before its timer fires.
            let lives = entry.expiry_secs > 0
                && (entry.connection.is_some() || entry.ends > now || self.may_have_come_in_time());
            goes_on = lives && !draft.clean_start;
        }
        if !goes_on {
            let is_kept = draft.expiry_secs.min(self.config.session_expiry_max) > 0;
            if self.store_is_full && is_kept {
                return Err(STORE_FULL);
            }
            // A Session that ends now leaves its place.
            // Sessions that are kept for absent clients leave a part of the table alone: however many of them there are, clients whose
            // Sessions end with their connections still get in.
            let reserved = if is_kept { self.sessions.limit() / RESERVED_SESSIONS } else { 0 };
            if session.is_none() && !self.has_room_for_session(is_kept, reserved) {
                return Err(SESSIONS_FULL);
            }
        }
        Ok(Found { hash, session, goes_on })
    }

    /// Gives the client the Session that was found, or a new Session in its place `[MQTT-3.1.2-4]` `[MQTT-3.1.2-5]`.
    fn take_session(
        &mut self,
        now: Instant,
        handle: Handle<Connection>,
        principal: Principal,
        found: Found,
    ) -> Result<Handle<Session>, Refusal> {
        let client_id = core::mem::take(&mut self.connections[handle].draft.get_mut().client_id);
        if let Some(session) = found.session {
            if let Some(old) = self.sessions[session].connection {
                const TAKEN_OVER: Refusal = Refusal::new(
                    ReasonCode::SessionTakenOver,
                    "another Network Connection uses this Client Identifier",
                );
                // The Will of the old connection is due now, unless it is delayed and this client resumes the Session.
                self.close(now, old, TAKEN_OVER, true);
            } else if !self.may_have_come_in_time() {
                // The Will may be due, or the Session may have expired, before the timer fires.
                self.look_at_absence(now, session);
            }
            if found.goes_on {
                self.end_absence(session);
                self.messages.bytes.release(client_id);
                return Ok(session);
            }
            if self.sessions.is_live(session) {
                if self.sessions[session].was_cut_off {
                    // The client is back, though it does not resume its Session.
                    self.remove_will(session);
                }
                self.end_session(now, session);
            }
        }
        let Some(session) = self.insert_session() else {
            debug_assert!(false, "there was room before");
            self.messages.bytes.release(client_id);
            return Err(NO_MEMORY);
        };
        self.sessions[session].begin(found.hash, client_id, principal);
        self.sessions[session].wholly_granted = self.rules.all_granted();
        self.session_was_made(session);
        self.happened(Happening::SessionMade(session));
        self.session_index.insert(&mut self.sessions, session);
        Ok(session)
    }

    /// Inserts a Session that has not begun. The router knows it by its index alone, which an earlier Session may have had: the
    /// subscriptions of that Session are gone.
    pub(crate) fn insert_session(&mut self) -> Option<Handle<Session>> {
        let session = self.sessions.insert_empty()?;
        debug_assert!(
            self.router.subscriptions_of(self.subscriber_of(session)).next().is_none(),
            "the subscriber of a new Session has no subscriptions"
        );
        Some(session)
    }

    /// The Session with this Client Identifier, whose hash is `hash`.
    pub(crate) fn find_session(&self, hash: u32, client_id: &[u8]) -> Option<Handle<Session>> {
        let bytes = &self.messages.bytes;
        self.session_index.find(&self.sessions, hash, |session| bytes.equals(session.client_id, client_id))
    }

    /// Gives the client a Client Identifier that no other client has, and whose home is this shard `[MQTT-3.1.3-6]`.
    fn assign_client_id(&mut self, handle: Handle<Connection>) -> Result<(), Refusal> {
        let mut number = self.random.next();
        // With n shards, one try in n gives an identifier whose home is this shard. In practice not all of these tries fail.
        for _ in 0..4096 {
            let id = assigned_client_id(number);
            if self.config.shard.is_home_of(&id) && self.find_session(self.hasher.hash_bytes(&id), &id).is_none() {
                break;
            }
            number = self.random.next();
        }
        let stored = self.messages.bytes.store(&[&assigned_client_id(number)]).ok_or(NO_MEMORY)?;
        let draft = self.connections[handle].draft.get_mut();
        draft.client_id = stored;
        draft.assigned_number = Some(number);
        Ok(())
    }

    /// Refuses a CONNECT: sends a CONNACK with an error if the version has one, and closes the connection `[MQTT-3.1.4-1]`.
    pub(crate) fn refuse_connect(&mut self, now: Instant, handle: Handle<Connection>, refusal: Refusal) {
        tally(&mut self.counters.connections_refused, 1);
        let version = self.connections[handle].version;
        self.close(now, handle, refusal, false);
        if version == Version::V5 || crate::codec::ConnAck::return_code(refusal.code).is_some() {
            let reply = Reply::ConnAck { session_present: false };
            self.owe(handle, Owed::new(reply, 0, refusal.code, refusal.why));
        }
    }

    pub(crate) fn check_property_count(&self, count: u32) -> Result<(), Refusal> {
        if count > u32::from(self.config.limits.properties) {
            return Err(Refusal::new(ReasonCode::QuotaExceeded, "too many Properties in one packet"));
        }
        Ok(())
    }

    /// Sets the time after which the connection's timer fires; 0: never.
    pub(crate) fn rearm_connection(&mut self, now: Instant, handle: Handle<Connection>, after_ms: u32) {
        let deadline = now.plus_millis(u64::from(after_ms));
        match (self.connections[handle].timer, after_ms) {
            (Some(timer), 0) => {
                self.timers.cancel(timer);
                self.connections[handle].timer = None;
            }
            (Some(timer), _) => self.timers.rearm(timer, deadline),
            (None, 0) => {}
            (None, _) => self.connections[handle].timer = self.timers.arm(deadline, TimerKey::Connection(handle)),
        }
    }
}

/// The client can't be sent an answer. Without the answer client and broker would not agree on what was done.
pub(crate) const UNSAYABLE: Refusal =
    Refusal::new(ReasonCode::ImplementationSpecificError, "the answer exceeds the client's Maximum Packet Size");

/// One slot in so many of the table is reserved for Sessions that end with their connections.
const RESERVED_SESSIONS: usize = 16;

/// The table of Sessions is full.
const SESSIONS_FULL: Refusal = Refusal::new(ReasonCode::QuotaExceeded, "the server has no room for one more Session");

/// The store is full, and a Session that is kept needs a record.
const STORE_FULL: Refusal = Refusal::new(ReasonCode::QuotaExceeded, "the disk of the server is full");

pub(crate) const NO_MEMORY: Refusal = Refusal::new(ReasonCode::QuotaExceeded, "the server has no memory left for this");

/// Which memory had no room for a client whose connection was closed for this reason.
pub(crate) fn shortage(reason: Refusal) -> Option<Shortage> {
    let reasons = [(SESSIONS_FULL, Shortage::Sessions), (STORE_FULL, Shortage::Store), (NO_MEMORY, Shortage::Memory)];
    let found = reasons.into_iter().find(|(known, _)| known.why.as_str() == reason.why.as_str());
    found.map(|(_, shortage)| shortage)
}

/// Checks a CONNECT with an empty Client Identifier, under which no Session can be kept `[MQTT-3.1.3-8]` of MQTT 3.1.1. MQTT 3.1 always
/// requires an identifier.
fn check_empty_client_id(connect: &Connect<'_>) -> Result<(), Refusal> {
    let keeps = connect.version == Version::V3_1_1 && connect.session_expiry_interval() == NEVER;
    if keeps || connect.version == Version::V3_1 {
        return Err(Refusal::new(
            ReasonCode::ClientIdentifierNotValid,
            "a Session that is to be kept needs a Client Identifier",
        ));
    }
    Ok(())
}
