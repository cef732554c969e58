//! Dynamic security in use: the document, its file, and the answers to requests.

use super::command::Effects;
use super::control_authorizer::ControlAuthorizer;
use super::request::{Answer, MOST_REQUEST_BYTES, answer_request};
use super::security_document::{ClientEntry, SecurityDocument};
use super::security_file::SecurityFile;
use super::security_rules::rules_of;
use crate::access::permissions::{DenialCounts, Denials, RuleAuthorizer, RulesInUse};
use crate::access::{NamedUser, Principals};
use crate::config::ConfigError;
use serde_json::Value;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zeroize::{Zeroize as _, Zeroizing};

/// The users, groups and roles of a gateway, which administrators change while it runs.
pub(crate) struct DynamicSecurity {
    state: Mutex<SecurityState>,
    counts: Arc<DenialCounts>,
}

struct SecurityState {
    file: SecurityFile,
    document: SecurityDocument,
}

/// The answer to a request, and what has to be done before it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    /// The payload of the answer.
    pub(crate) payload: Vec<u8>,
    pub(crate) effects: Effects,
}

impl DynamicSecurity {
    /// Reads the file, or makes one with an administrator.
    ///
    /// # Errors
    /// The file can't be read or made, or has a mistake.
    pub(crate) fn open(path: &Path) -> Result<Self, ConfigError> {
        let (file, document) = SecurityFile::open(path)?;
        if document.denies_to_unsubscribe() {
            tracing::warn!("{} denies to unsubscribe, which is always permitted here", path.display());
        }
        Ok(Self { state: Mutex::new(SecurityState { file, document }), counts: Arc::default() })
    }

    fn state(&self) -> MutexGuard<'_, SecurityState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rules as they are now.
    pub(crate) fn rules(&self, principals: Arc<Principals>) -> Arc<RulesInUse> {
        let set = rules_of(&self.state().document);
        Arc::new(RulesInUse::new(set, principals))
    }

    /// The users that may connect.
    pub(crate) fn users(&self) -> Vec<NamedUser> {
        let state = self.state();
        let clients = state.document.clients.iter().filter(|(_, client)| !client.is_disabled);
        let user = |(name, client): (&String, &ClientEntry)| {
            let hash = client.password.as_ref()?.to_hash().ok()?;
            Some(NamedUser { name: name.as_str().into(), hash, client_id: client.client_id.as_deref().map(Box::from) })
        };
        clients.filter_map(user).collect()
    }

    /// What a shard asks for these rules.
    pub(crate) fn authorizer(rules: &Arc<RulesInUse>, denials: &Arc<Denials>) -> ControlAuthorizer {
        ControlAuthorizer::new(RuleAuthorizer::new(rules.clone(), denials.clone()))
    }

    /// A shard's notes of what it denies.
    pub(crate) fn denials(&self) -> Arc<Denials> {
        Arc::new(Denials::new(self.counts.clone()))
    }

    /// How often something was denied.
    pub(crate) fn counts(&self) -> &Arc<DenialCounts> {
        &self.counts
    }

    /// Does what a request says, and returns the answer. A change is on the disk by then. Takes long: passwords are hashed, and the file is
    /// written.
    pub(crate) fn answer(&self, payload: Vec<u8>) -> Answered {
        let payload = Zeroizing::new(payload);
        if payload.len() > MOST_REQUEST_BYTES {
            return Answered::refusal(format!("Request too long: it has at most {MOST_REQUEST_BYTES} bytes"));
        }
        let Ok(mut request) = serde_json::from_slice::<Value>(&payload) else {
            return Answered::refusal("Payload not valid JSON".to_owned());
        };
        let mut state = self.state();
        let mut new = state.document.clone();
        let (answer, effects) = answer_request(&mut new, &request);
        wipe(&mut request);
        if !effects.has_changed {
            return Answered { payload: answer.to_json(), effects };
        }
        let SecurityState { file, document } = &mut *state;
        match file.save(&new, document) {
            Ok(()) => {
                let done: Vec<_> = answer.done().collect();
                tracing::info!(commands = %done.join(", "), "{} was changed", file.path().display());
                *document = new;
                Answered { payload: answer.to_json(), effects }
            }
            Err(error) => {
                tracing::error!("{} could not be changed: {error}", file.path().display());
                Answered { payload: answer.unsaved(&error).to_json(), effects: Effects::default() }
            }
        }
    }
}

impl Answered {
    /// The answer to a request that can't be done.
    pub(crate) fn refusal(error: String) -> Self {
        Self { payload: Answer::refusal(error).to_json(), effects: Effects::default() }
    }
}

impl fmt::Debug for DynamicSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DynamicSecurity")
    }
}

/// Overwrites all texts of a request, since passwords are among them.
fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
