//! The embedder's verdicts, and AUTH: enhanced authentication and re-authentication (section 4.12).

use crate::codec::{Auth, Frame, ReasonCode, ReasonText, Refusal, Version};
use crate::engine::Engine;
use crate::engine::connections::{Connection, Owed, Phase, Reply};
use crate::engine::receive::Taken;
use crate::mem::{Blob, Handle};
use crate::seam::authorize::{Ask, Verdict};
use crate::time::Instant;

impl Engine<'_> {
    #[inline(never)]
    pub(crate) fn on_auth<'b>(
        &mut self,
        handle: Handle<Connection>,
        version: Version,
        frame: Frame<'b>,
    ) -> Result<Taken<'b>, Refusal> {
        let auth = Auth::decode(version, frame)?;
        auth.check_from_client()?;
        self.check_property_count(auth.properties.count())?;
        let connection = &self.connections[handle];
        let method = auth.properties.authentication_method().unwrap_or("");
        if connection.method.is_empty() || !self.messages.bytes.equals(connection.method, method.as_bytes()) {
            return Err(Refusal::protocol_error(
                "AUTH has the Authentication Method of CONNECT [MQTT-4.12.0-5] [MQTT-4.12.1-1]",
            ));
        }
        let expected = match (connection.phase, connection.reauthenticating) {
            (Phase::Open, false) => auth.code == ReasonCode::ReAuthenticate,
            _ => auth.code == ReasonCode::ContinueAuthentication,
        };
        if !expected {
            return Err(Refusal::protocol_error("the Reason Code of AUTH does not fit the state [MQTT-4.12.0-3]"));
        }
        let connection = &mut self.connections[handle];
        if connection.phase == Phase::Open {
            connection.reauthenticating = true;
            connection.awaits_verdict = true;
        } else {
            connection.phase = Phase::AwaitingVerdict;
        }
        Ok(Taken::Ask(Ask::Auth(auth)))
    }

    pub(crate) fn on_verdict(&mut self, now: Instant, handle: Handle<Connection>, verdict: Verdict<'_>) {
        let connection = &self.connections[handle];
        if connection.phase != Phase::AwaitingVerdict && !connection.awaits_verdict {
            return;
        }
        let reauthenticating = connection.reauthenticating;
        let data = match verdict {
            Verdict::Accept { data, .. } => data,
            Verdict::Continue { data } => Some(data),
            Verdict::Refuse(_) => None,
        };
        if let Err(refusal) = self.keep_auth_data(handle, data) {
            self.refuse_verdict(now, handle, refusal);
            return;
        }
        self.connections[handle].awaits_verdict = false;
        match verdict {
            Verdict::Accept { principal, grant, .. } if reauthenticating => {
                self.connections[handle].reauthenticating = false;
                let session = self.connections[handle].session;
                if session.is_some_and(|session| self.sessions[session].principal != principal) {
                    self.refuse_verdict(now, handle, SOMEBODY_ELSE);
                    return;
                }
                if self.has_other_mount(handle, &grant) {
                    self.refuse_verdict(now, handle, LIVES_ELSEWHERE);
                    return;
                }
                if let Some(session) = session {
                    self.take_grant(now, handle, session, &grant);
                }
                self.owe(handle, Owed::new(Reply::Auth, 0, ReasonCode::Success, ReasonText::NONE));
            }
            Verdict::Accept { principal, grant, .. } => self.open(now, handle, principal, &grant),
            Verdict::Continue { .. } => {
                if !reauthenticating {
                    self.connections[handle].phase = Phase::AwaitingAuth;
                }
                self.owe(handle, Owed::new(Reply::Auth, 0, ReasonCode::ContinueAuthentication, ReasonText::NONE));
            }
            Verdict::Refuse(code) => self.refuse_verdict(now, handle, Refusal { code, why: ReasonText::NONE }),
        }
        self.mark_ready(handle);
    }

    fn refuse_verdict(&mut self, now: Instant, handle: Handle<Connection>, refusal: Refusal) {
        if self.connections[handle].phase == Phase::Open {
            self.close(now, handle, refusal, true);
        } else {
            self.refuse_connect(now, handle, refusal);
        }
    }

    fn keep_auth_data(&mut self, handle: Handle<Connection>, data: Option<&[u8]>) -> Result<(), Refusal> {
        let old = core::mem::replace(&mut self.connections[handle].auth_data, Blob::EMPTY);
        self.messages.bytes.release(old);
        let Some(data) = data else {
            return Ok(());
        };
        let stored = self.messages.bytes.store(&[data]).ok_or(crate::engine::packets::connect::NO_MEMORY)?;
        self.connections[handle].auth_data = stored;
        if !self.messages.bytes.comes_whole(stored) {
            return Err(Refusal::new(
                ReasonCode::ImplementationSpecificError,
                "the Authentication Data are longer than this server can send",
            ));
        }
        Ok(())
    }
}

/// Refuses another principal: subscriptions, queue and permissions are those of the principal that the client proved to
/// be in CONNECT.
const SOMEBODY_ELSE: Refusal =
    Refusal::new(ReasonCode::NotAuthorized, "the Session belongs to somebody else than who authenticated again");

/// Refuses another mount: Topic Aliases and messages in flight are those of the mount with which the client was
/// accepted.
const LIVES_ELSEWHERE: Refusal =
    Refusal::new(ReasonCode::NotAuthorized, "who authenticated again was granted other topics than before");
