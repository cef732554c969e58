//! Who clients are, decided by the sources that the configuration names.
//!
//! ```text
//! failures       who has failed to prove who they are
//! hashers        threads that check passwords
//! http_hook      users whom a web service knows
//! jwt            users with JSON Web Tokens
//! password_file  the users of the password file
//! password_hash  what passwords are compared with
//! refusals       why clients are refused
//! user_name      which text can be the name of a user, and the one in a certificate
//! wall_clock     whether the clock of the system tells the time of day
//! ```
//!
//! The sources of a listener are asked in their order, and the first that knows the user decides. Whatever takes long is done on other threads than
//! those of the shards.

mod failures;
mod hashers;
mod http_hook;
mod jwt;
mod password_file;
mod password_hash;
mod refusals;
mod user_name;
mod wall_clock;

pub use http_hook::ServiceError;
pub use jwt::KeyFileError;
pub(crate) use jwt::check_token;
pub use password_file::PasswordFileError;
pub(crate) use password_file::{NamedUser, PasswordLine, check_name, lines, read_text};
pub(crate) use password_hash::PasswordHash;
pub(crate) use refusals::RefusalCounts;

use super::{AccessRequest, ConnectRequest, Decide, Decision, Principals, Reply, Secret};
use crate::config::{AuthenticationSource, Config, FromFiles, Listener, UserNameFrom};
use crate::output::log::{Escaped, Throttle};
use data_encoding::HEXLOWER;
use failures::{Failures, Standing, Suspect};
use goldcrest_core::{Grant, MemoryCeiling, Principal};
use hashers::{Check, CheckOutcome, CheckedCredentials, Hashers};
use http_hook::{HookAnswer, HookError, HookQuestion, HttpHook};
use jwt::{TokenCheck, TokenFault, TokenHolder, TokenSource, TokenSourceError, looks_like_token};
use password_file::{Known, PasswordFile, PasswordTable, TellRemoved};
use refusals::RefusalReason;
use ring::hmac;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use user_name::{is_name, name_in};
use zeroize::Zeroizing;

/// The most that a password may wait to be checked.
const PATIENCE: Duration = Duration::from_secs(5);
/// The Authentication Method of clients that send a token as Authentication Data.
const TOKEN_METHOD: &str = "JWT";
/// The longest password, in bytes. Longer ones are wrong without being looked at.
const PASSWORD_BYTES: usize = 4096;

/// Decides who may connect, as the configuration says.
#[derive(Debug)]
pub(crate) struct Authenticator {
    /// By the place of the listener in the configuration.
    listeners: Box<[ListenerRules]>,
    adopts_anonymous_sessions: bool,
    /// A client in the process of the gateway is trusted as one of this machine is.
    in_process: ListenerRules,
    /// The Client Identifier of the gateway's own client, which nobody else knows.
    own_client_id: Box<str>,
    shared: Arc<SharedParts>,
    /// `None` without a password file.
    hashers: Option<Hashers>,
    /// `None` if no tokens are taken.
    tokens: Option<TokenSource>,
    /// `None` if no web service is asked.
    hook: Option<HttpHook>,
}

/// What the threads that check passwords need too.
#[derive(Debug)]
struct SharedParts {
    passwords: Option<Arc<PasswordFile>>,
    principals: Arc<Principals>,
    refusals: Arc<RefusalCounts>,
    failures: Failures,
    told_of_bans: Throttle,
}

/// How the clients of a listener prove who they are.
#[derive(Clone, Debug)]
struct ListenerRules {
    sources: Box<[AuthenticationSource]>,
    names: UserNameFrom,
    allows_anonymous: bool,
}

/// Why the sources of users can't be used.
#[derive(Debug)]
pub(crate) enum SourceError {
    Passwords(PasswordFileError),
    Tokens(KeyFileError),
    Service(ServiceError),
    Random(getrandom::Error),
    Thread(io::Error),
}

impl Authenticator {
    /// Reads what the configuration names; `None` if it names no source of users. `removed` is called with users that are gone or have other
    /// passwords. `others` are the users of [`Config::dynamic_security`].
    ///
    /// # Errors
    /// A file can't be used, or the system refuses a thread or random numbers.
    pub(crate) fn read(
        config: &Config,
        others: Option<Vec<NamedUser>>,
        principals: &Arc<Principals>,
        memory: &Arc<MemoryCeiling>,
        removed: TellRemoved,
    ) -> Result<Option<Self>, SourceError> {
        if !config.has_sources() {
            return Ok(None);
        }
        let patience = PATIENCE.min(Duration::from_millis(config.broker.connect_timeout_ms.into()) / 2);
        let (mut passwords, mut hashers) = (None, None);
        let of_others = config.dynamic_security.as_ref().zip(others);
        let file = match (&config.authentication.password_file, of_others) {
            (Some(path), _) => Some(PasswordFile::read(path, new_key()?, removed).map_err(SourceError::Passwords)?),
            (None, Some((path, users))) => Some(PasswordFile::of_users(path, users, new_key()?, removed)),
            (None, None) => None,
        };
        if let Some(file) = file {
            warn_of_memory(&file, memory);
            passwords = Some(Arc::new(file));
            hashers = Some(Hashers::start(patience, memory.clone()).map_err(SourceError::Thread)?);
        }
        let sources = &config.authentication;
        let tokens = sources.jwt.as_ref().map(|jwt| TokenSource::start(jwt, patience)).transpose()?;
        let hook = sources.http.as_ref().map(HttpHook::start).transpose()?;
        let rules = |listener: &Listener| ListenerRules {
            sources: config.sources_of(listener).into(),
            names: listener.user_name_from.unwrap_or_default(),
            allows_anonymous: config.allows_anonymous(listener),
        };
        let in_process = ListenerRules {
            sources: config.default_sources().collect(),
            names: UserNameFrom::default(),
            allows_anonymous: true,
        };
        let shared = SharedParts {
            passwords,
            principals: principals.clone(),
            refusals: Arc::default(),
            failures: Failures::new(config.authentication.bans),
            told_of_bans: Throttle::default(),
        };
        let listeners = config.listeners.iter().map(rules).collect();
        let adopts_anonymous_sessions = config.authentication.adopt_anonymous_sessions;
        let own_client_id = new_client_id()?;
        let shared = Arc::new(shared);
        Ok(Some(Self {
            listeners,
            adopts_anonymous_sessions,
            in_process,
            own_client_id,
            shared,
            hashers,
            tokens,
            hook,
        }))
    }

    fn rules_of(&self, listener: Option<u16>) -> Option<&ListenerRules> {
        match listener {
            Some(listener) => self.listeners.get(usize::from(listener)),
            None => Some(&self.in_process),
        }
    }

    /// The Client Identifier with which a client in the process of the gateway is accepted as [`Principals::GATEWAY`].
    pub(crate) fn own_client_id(&self) -> &str {
        &self.own_client_id
    }

    /// Replaces the users of [`Config::dynamic_security`].
    pub(crate) fn replace_users(&self, users: Vec<NamedUser>) {
        if let Some(passwords) = &self.shared.passwords {
            passwords.replace(users);
        }
    }

    /// What was made of files.
    pub(crate) fn files(&self) -> Vec<Arc<dyn FromFiles>> {
        let passwords = self.shared.passwords.iter().map(|passwords| passwords.clone() as Arc<dyn FromFiles>);
        let keys = self.tokens.iter().map(TokenSource::files);
        passwords.chain(keys).chain(self.hook.iter().map(HttpHook::files)).collect()
    }

    pub(crate) fn refusals(&self) -> &Arc<RefusalCounts> {
        &self.shared.refusals
    }

    /// Checks a token, which names its user and says how long the client may stay. `is_connected`: it authenticates again.
    fn check_token(&self, token: Secret, is_connected: bool, reply: Reply) {
        let shared = self.shared.clone();
        let Some(tokens) = &self.tokens else {
            return reply.send(shared.refusals.refuse(RefusalReason::UnknownMethod, None));
        };
        let done = move |checked: Result<TokenHolder, TokenFault>| {
            reply.send(match checked {
                Ok(TokenHolder { user, lasts }) => shared.accepted(&user, Some(lasts)),
                Err(fault) => shared.refusals.refuse_token(fault, is_connected),
            });
        };
        tokens.check(TokenCheck { token, done: Box::new(done) });
    }

    /// Asks the web service about a user.
    fn ask_service(&self, question: &HookQuestion, reply: Reply) {
        let (shared, user) = (self.shared.clone(), question.user.clone());
        let Some(hook) = &self.hook else {
            return reply.send(shared.refuse(RefusalReason::UnknownUser, &user));
        };
        hook.ask(question, move |answer| {
            reply.send(match answer {
                HookAnswer::Yes { lasts } => shared.accepted(&user, lasts),
                HookAnswer::No => shared.refuse(RefusalReason::RefusedByService, &user),
                HookAnswer::Unavailable => shared.refuse(RefusalReason::ServiceUnavailable, &user),
                HookAnswer::Busy => shared.refuse(RefusalReason::ServiceBusy, &user),
            });
        });
    }

    /// Refuses a user whom no source knows. Where passwords are a source that takes as long as a wrong password.
    fn refuse_unknown(
        &self,
        rules: &ListenerRules,
        shown: ShownCredentials<'_>,
        address: Option<IpAddr>,
        reply: Reply,
    ) {
        if rules.sources.contains(&AuthenticationSource::Password) {
            return self.check(shown, address, reply);
        }
        reply.send(self.shared.refuse(RefusalReason::UnknownUser, &shown.user));
    }

    /// Compares credentials with the password file.
    fn check(&self, shown: ShownCredentials<'_>, address: Option<IpAddr>, reply: Reply) {
        let ShownCredentials { client_id, user, password } = shown;
        let shared = &self.shared;
        let (Some(passwords), Some(hashers)) = (&shared.passwords, &self.hashers) else {
            return reply.send(shared.refuse(RefusalReason::UnknownUser, &user));
        };
        let (table, now) = (passwords.table(), Instant::now());
        let may_have_id = table.may_have(&user, client_id);
        let client = TryingClient { suspect: shared.failures.suspect(&user, address), address, may_have_id };
        match shared.failures.standing(client.suspect, now) {
            Standing::Good => {}
            // Nobody guesses a token, and behind one address there may be a thousand devices.
            Standing::AddressBanned if table.has_token(&user) => {}
            Standing::MustWait => return reply.send(shared.refuse(RefusalReason::TooSoon, &user)),
            Standing::Banned | Standing::AddressBanned => {
                return reply.send(shared.refuse(RefusalReason::Banned, &user));
            }
        }
        let wrong = if table.has(&user) { RefusalReason::WrongPassword } else { RefusalReason::UnknownUser };
        let password = password.filter(|it| it.len() <= PASSWORD_BYTES && user.len() <= Principals::NAME_BYTES);
        let known = match password.as_ref().map(|password| passwords.look_up(&table, &user, password)) {
            Some(Known::Right) if !client.may_have_id => Known::Wrong,
            known => known.unwrap_or(Known::Wrong),
        };
        match (known, password) {
            (Known::Right, _) => {
                shared.failures.forgive(client.suspect);
                shared.accept_user(passwords, &table, &user, reply);
            }
            (Known::Unclear, Some(password)) => {
                shared.failures.begin(client.suspect, now);
                let credentials = CheckedCredentials { table, user: user.into(), password };
                let done = shared.clone().when_checked(passwords.clone(), client, wrong, reply);
                hashers.check(Check { credentials, done: Box::new(done) });
            }
            _ => {
                if shared.failures.fail(client.suspect, now) {
                    shared.tell_of_ban(client, &user);
                }
                reply.send(shared.refuse(wrong, &user));
            }
        }
    }
}

/// A client that tries to prove who it is.
#[derive(Clone, Copy, Debug)]
struct TryingClient {
    suspect: Suspect,
    address: Option<IpAddr>,
    /// Whether the user may connect with the Client Identifier. If not, the client is refused as with a wrong password.
    may_have_id: bool,
}

/// Who a client says it is.
struct ShownCredentials<'c> {
    client_id: &'c str,
    user: String,
    password: Option<Secret>,
}

impl Decide for Authenticator {
    fn adopts_anonymous_sessions(&self) -> bool {
        self.adopts_anonymous_sessions
    }

    fn decide(&self, request: AccessRequest, reply: Reply) {
        let shared = &self.shared;
        let AccessRequest { peer, listener, certificate, connect, method, data, .. } = request;
        let address = peer.map(|peer| peer.ip());
        let Some(rules) = self.rules_of(listener) else { return };
        if method.as_deref() == Some(TOKEN_METHOD) && rules.sources.contains(&AuthenticationSource::Jwt) {
            return self.check_token(data.unwrap_or_else(|| Secret::from(&[][..])), connect.is_none(), reply);
        }
        let Some(ConnectRequest { client_id, user_name, password }) = connect.filter(|_| method.is_none()) else {
            return reply.send(shared.refusals.refuse(RefusalReason::UnknownMethod, None));
        };
        if listener.is_none() && client_id == *self.own_client_id {
            return reply.send(Decision::accept(Principals::GATEWAY));
        }
        // Some clients send an empty User Name for none.
        let user = user_name.filter(|name| !name.is_empty());
        for source in &rules.sources {
            match source {
                AuthenticationSource::Certificate => {
                    if let Some(name) = certificate.as_ref().and_then(|it| name_in(it, rules.names)) {
                        return shared.accept_named(&name, &client_id, reply);
                    }
                }
                AuthenticationSource::Jwt => {
                    if let Some(token) = password.as_ref().filter(|password| looks_like_token(password)) {
                        return self.check_token(token.clone(), false, reply);
                    }
                }
                AuthenticationSource::Password => {
                    if let Some(user) = user.as_ref().filter(|user| shared.has(user)) {
                        let shown = ShownCredentials { client_id: &client_id, user: user.clone(), password };
                        return self.check(shown, address, reply);
                    }
                }
                AuthenticationSource::Http => {
                    if let Some(user) = user.as_ref().filter(|user| is_name(user)) {
                        let question = HookQuestion {
                            user: user.as_str().into(),
                            password,
                            client_id: client_id.into(),
                            peer: address,
                            common_name: certificate.as_ref().and_then(|it| it.common_name.clone()),
                        };
                        return self.ask_service(&question, reply);
                    }
                }
            }
        }
        let shows_nothing = user.is_none() && password.as_ref().is_none_or(|password| password.is_empty());
        // Without any source a User Name proves nothing, and does no harm.
        if rules.allows_anonymous && (shows_nothing || rules.sources.is_empty()) {
            return reply.send(Decision::accept(Principal::ANONYMOUS));
        }
        match user {
            Some(user) => {
                self.refuse_unknown(rules, ShownCredentials { client_id: &client_id, user, password }, address, reply);
            }
            None => reply.send(shared.refusals.refuse(RefusalReason::NoCredentials, None)),
        }
    }
}

impl SharedParts {
    /// Whether the password file has this user.
    fn has(&self, user: &str) -> bool {
        self.passwords.as_ref().is_some_and(|passwords| passwords.table().has(user))
    }

    /// What is done when credentials were checked.
    fn when_checked(
        self: Arc<Self>,
        passwords: Arc<PasswordFile>,
        client: TryingClient,
        wrong: RefusalReason,
        reply: Reply,
    ) -> impl FnOnce(CheckOutcome, CheckedCredentials) + Send {
        move |outcome, CheckedCredentials { table, user, password }| {
            let outcome = match outcome {
                CheckOutcome::Right if !client.may_have_id => CheckOutcome::Wrong,
                outcome => outcome,
            };
            let is_right = match outcome {
                CheckOutcome::Right => Some(true),
                CheckOutcome::Wrong => Some(false),
                CheckOutcome::Busy => None,
            };
            if self.failures.end(client.suspect, is_right, Instant::now()) {
                self.tell_of_ban(client, &user);
            }
            match outcome {
                CheckOutcome::Right => {
                    passwords.note_right(&table, &user, &password);
                    self.accept_user(&passwords, &table, &user, reply);
                }
                CheckOutcome::Wrong => reply.send(self.refuse(wrong, &user)),
                CheckOutcome::Busy => reply.send(self.refuse(RefusalReason::Busy, &user)),
            }
        }
    }

    /// Tells the log that a ban begins.
    fn tell_of_ban(&self, client: TryingClient, user: &str) {
        if let Some(others) = self.told_of_bans.pass() {
            let (address, others) = (client.address.map(tracing::field::display), (others > 0).then_some(others));
            let minutes = self.failures.ban().as_secs() / 60;
            tracing::warn!(address, user = %Escaped(user), minutes, others, "banned after failures in a row");
        }
    }

    fn refuse(&self, reason: RefusalReason, user: &str) -> Decision {
        self.refusals.refuse(reason, Some(user))
    }

    fn accept(&self, name: &str, reply: Reply) {
        reply.send(self.accepted(name, None));
    }

    /// Accepts a user, for so long if that is bounded.
    fn accepted(&self, name: &str, lasts: Option<Duration>) -> Decision {
        match self.principals.principal(name) {
            Ok(principal) => Decision::Accept { principal, grant: Grant::default(), lasts, data: None },
            Err(_) => self.refuse(RefusalReason::NoRoom, name),
        }
    }

    /// Accepts a user whom a certificate names, unless the user is bound to another Client Identifier.
    fn accept_named(&self, name: &str, client_id: &str, reply: Reply) {
        if self.passwords.as_ref().is_some_and(|passwords| !passwords.table().may_have(name, client_id)) {
            return reply.send(self.refuse(RefusalReason::WrongPassword, name));
        }
        self.accept(name, reply);
    }

    /// Accepts a user whose credentials are those of `table`.
    fn accept_user(&self, passwords: &PasswordFile, table: &PasswordTable, user: &str, reply: Reply) {
        self.accept(user, reply);
        // The user may have been taken out of the file after the check. Those who removed the user then did not find this client.
        passwords.close_if_changed(table, user);
    }
}

impl From<TokenSourceError> for SourceError {
    fn from(error: TokenSourceError) -> Self {
        match error {
            TokenSourceError::Keys(error) => Self::Tokens(error),
            TokenSourceError::Thread(error) => Self::Thread(error),
        }
    }
}

impl From<HookError> for SourceError {
    fn from(error: HookError) -> Self {
        match error {
            HookError::Service(error) => Self::Service(error),
            HookError::Random(error) => Self::Random(error),
            HookError::Thread(error) => Self::Thread(error),
        }
    }
}

/// A Client Identifier that nobody can guess.
fn new_client_id() -> Result<Box<str>, SourceError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(SourceError::Random)?;
    Ok(format!("goldcrest-{}", HEXLOWER.encode(&random)).into())
}

/// A random key for the fingerprints of credentials.
fn new_key() -> Result<hmac::Key, SourceError> {
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *key).map_err(SourceError::Random)?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &*key))
}

/// Warns if a check takes a large part of the memory that there is.
fn warn_of_memory(passwords: &PasswordFile, memory: &MemoryCeiling) {
    let (needed, max) = (passwords.table().most_memory(), memory.bytes());
    if needed > max / 4 {
        let (needed, max) = (needed >> 20, max >> 20);
        tracing::warn!(
            "a check of a password of {} takes {needed} of {max} MiB: users are refused (0x89) when that is not free; random tokens need none",
            passwords.path().display()
        );
    }
}
