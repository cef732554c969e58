//! What the service is asked, and what its answers mean.

use super::HookQuestion;
use crate::config::{GoAuthResponse, HookDialect, HookParams, HttpHookConfig};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{self, Write};
use std::time::Duration;
use zeroize::Zeroizing;

/// The longest question, in bytes.
const QUESTION_BYTES: usize = 8 << 10;

/// The body of a question, which has the password in it. `None` if the service cannot be asked: both dialects have texts alone, and there is a limit to
/// their length.
pub(super) fn body_of(config: &HttpHookConfig, question: &HookQuestion) -> Option<Zeroizing<Vec<u8>>> {
    let password = question.password.as_deref().unwrap_or_default();
    let peer = question.peer.map(|peer| peer.to_canonical().to_string());
    let mut params = QuestionParams {
        username: &question.user,
        password: std::str::from_utf8(password).ok()?,
        clientid: &question.client_id,
        peerhost: peer.as_deref(),
        cert_common_name: question.common_name.as_deref(),
    };
    if config.dialect != HookDialect::Emqx {
        (params.peerhost, params.cert_common_name) = (None, None);
    }
    // A vector that grows would leave copies of the password behind.
    let mut body = Zeroizing::new(vec![0; QUESTION_BYTES]);
    let mut room = &mut body[..];
    match config.params {
        HookParams::Json => serde_json::to_writer(&mut room, &params).ok()?,
        HookParams::Form => params.write_form(&mut room).ok()?,
    }
    let left = room.len();
    body.truncate(QUESTION_BYTES - left);
    Some(body)
}

/// The names are those of both dialects.
#[derive(Serialize)]
struct QuestionParams<'a> {
    username: &'a str,
    password: &'a str,
    clientid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    peerhost: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cert_common_name: Option<&'a str>,
}

impl QuestionParams<'_> {
    fn write_form(&self, out: &mut impl Write) -> io::Result<()> {
        let fields = [
            ("username", Some(self.username)),
            ("password", Some(self.password)),
            ("clientid", Some(self.clientid)),
            ("peerhost", self.peerhost),
            ("cert_common_name", self.cert_common_name),
        ];
        let mut separator = "";
        for (name, value) in fields {
            let Some(value) = value else { continue };
            write!(out, "{separator}{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))?;
            separator = "&";
        }
        Ok(())
    }
}

/// An answer of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServiceAnswer {
    /// Yes, until this time since 1970.
    Yes {
        expires: Option<Duration>,
    },
    No,
}

/// Why an answer is none, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAnswerReason {
    Status(u16),
    /// The body is not one of the dialect.
    Body,
    /// The answer has rights of the client in it, which are not applied: a client with all rights would be more than the service means.
    Acl,
}

/// What an answer means.
///
/// # Errors
/// It is none: the service has a fault, or speaks another dialect.
pub(super) fn read_answer(dialect: HookDialect, status: u16, body: &[u8]) -> Result<ServiceAnswer, NoAnswerReason> {
    match (dialect, status) {
        // 429: too many requests. Nobody has decided then.
        (_, 400..=499) if status != 429 => Ok(ServiceAnswer::No),
        (HookDialect::Emqx, 204) => Ok(ServiceAnswer::Yes { expires: None }),
        (HookDialect::Emqx, 200) => read_emqx(body),
        (HookDialect::GoAuth(response), 200..=299) => read_go_auth(response, body),
        _ => Err(NoAnswerReason::Status(status)),
    }
}

#[derive(Deserialize)]
struct EmqxBody {
    result: EmqxResult,
    expire_at: Option<Value>,
    acl: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum EmqxResult {
    Allow,
    Deny,
    /// EMQX asks the next source then, and refuses the client if there is none.
    Ignore,
}

fn read_emqx(body: &[u8]) -> Result<ServiceAnswer, NoAnswerReason> {
    let body: EmqxBody = serde_json::from_slice(body).map_err(|_| NoAnswerReason::Body)?;
    match body.result {
        EmqxResult::Deny | EmqxResult::Ignore => return Ok(ServiceAnswer::No),
        EmqxResult::Allow => {}
    }
    if body.acl.is_some_and(|acl| !acl.is_null()) {
        return Err(NoAnswerReason::Acl);
    }
    let seconds = |time: Value| match time.as_u64() {
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => Err(NoAnswerReason::Body),
    };
    let expires = body.expire_at.filter(|time| !time.is_null()).map(seconds).transpose()?;
    Ok(ServiceAnswer::Yes { expires })
}

#[derive(Deserialize)]
struct GoAuthBody {
    ok: bool,
}

fn read_go_auth(response: GoAuthResponse, body: &[u8]) -> Result<ServiceAnswer, NoAnswerReason> {
    let is_ok = match response {
        GoAuthResponse::Status => true,
        GoAuthResponse::Text => body == b"ok",
        GoAuthResponse::Json => {
            let body: GoAuthBody = serde_json::from_slice(body).map_err(|_| NoAnswerReason::Body)?;
            body.ok
        }
    };
    Ok(if is_ok { ServiceAnswer::Yes { expires: None } } else { ServiceAnswer::No })
}
