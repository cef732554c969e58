//! Asks the service on a thread of its own.

use super::answer_cache::{AnswerCache, QuestionDigest};
use super::breaker::Breaker;
use super::dialect::{NoAnswerReason, ServiceAnswer, body_of, read_answer};
use super::endpoint::{ServiceError, WatchedEndpoint};
use super::{HookAnswer, HookQuestion};
use crate::access::authentication::wall_clock::since_1970;
use crate::config::{FromFiles, HttpHookConfig};
use crate::output::log::Escaped;
use ring::hmac;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use zeroize::Zeroizing;

/// The most questions that wait for an answer.
const MOST_WAITING: usize = 256;
/// Threads that look up names of hosts.
const RESOLVERS: usize = 2;

/// Asks a service about clients. The thread ends when this is dropped, and questions that wait are dropped with it.
pub(crate) struct HttpHook {
    questions: UnboundedSender<WaitingQuestion>,
    waiting: Arc<AtomicUsize>,
    service: Arc<AskedService>,
}

/// A question, and where its answer goes.
struct WaitingQuestion {
    body: Zeroizing<Vec<u8>>,
    done: Box<dyn FnOnce(HookAnswer) + Send>,
    counted: CountedQuestion,
}

/// Counts a question for as long as it waits.
struct CountedQuestion(Arc<AtomicUsize>);

impl Drop for CountedQuestion {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a service can't be asked.
#[derive(Debug)]
pub(crate) enum HookError {
    Service(ServiceError),
    Random(getrandom::Error),
    Thread(io::Error),
}

impl HttpHook {
    /// Reads what the configuration names, and starts the thread. No question is sent yet.
    ///
    /// # Errors
    /// A file can't be used, or the system refuses a thread or random numbers.
    pub(crate) fn start(config: &HttpHookConfig) -> Result<Self, HookError> {
        let endpoint = Arc::new(WatchedEndpoint::read(config).map_err(HookError::Service)?);
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key).map_err(HookError::Random)?;
        let state = HookState {
            breaker: Breaker::default(),
            answers: AnswerCache::new(hmac::Key::new(hmac::HMAC_SHA256, &*key)),
        };
        let service = Arc::new(AskedService { config: config.clone(), endpoint, state: Mutex::new(state) });
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(RESOLVERS).build().map_err(HookError::Thread)?;
        let (questions, asked) = unbounded_channel();
        let thread = thread::Builder::new().name("http-hook".to_owned());
        let of_thread = service.clone();
        let run = move || {
            runtime.block_on(answer_all(asked, of_thread));
            // A look-up of a name can't be stopped, and nobody waits for it.
            runtime.shutdown_background();
        };
        thread.spawn(run).map_err(HookError::Thread)?;
        Ok(Self { questions, waiting: Arc::default(), service })
    }

    /// Asks about a client. `done` is called once, soon or after the time limit at the latest, on this thread or another one. Returns at once.
    pub(crate) fn ask(&self, question: &HookQuestion, done: impl FnOnce(HookAnswer) + Send + 'static) {
        let Some(body) = body_of(&self.service.config, question) else { return done(HookAnswer::No) };
        let counted = CountedQuestion(self.waiting.clone());
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MOST_WAITING {
            drop(counted);
            return done(HookAnswer::Busy);
        }
        let waiting = WaitingQuestion { body, done: Box::new(done), counted };
        if let Err(waiting) = self.questions.send(waiting) {
            (waiting.0.done)(HookAnswer::Unavailable);
        }
    }

    /// What was made of files.
    pub(crate) fn files(&self) -> Arc<dyn FromFiles> {
        self.service.endpoint.clone()
    }
}

impl fmt::Debug for HttpHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpHook")
    }
}

async fn answer_all(mut asked: UnboundedReceiver<WaitingQuestion>, service: Arc<AskedService>) {
    while let Some(waiting) = asked.recv().await {
        let service = service.clone();
        tokio::spawn(async move {
            let WaitingQuestion { body, done, counted } = waiting;
            let answer = service.answer(body).await;
            drop(counted);
            done(answer);
        });
    }
}

/// The service, and what is known of it.
struct AskedService {
    config: HttpHookConfig,
    endpoint: Arc<WatchedEndpoint>,
    state: Mutex<HookState>,
}

struct HookState {
    breaker: Breaker,
    answers: AnswerCache,
}

impl AskedService {
    async fn answer(&self, body: Zeroizing<Vec<u8>>) -> HookAnswer {
        let now = Instant::now();
        let digest = {
            let mut state = self.state();
            let digest = state.answers.digest(&body);
            if let Some(lasts) = state.answers.find(digest, Duration::from_secs(self.config.cache_s.into()), now) {
                return HookAnswer::Yes { lasts };
            }
            if !state.breaker.may_ask(now) {
                return self.without_service(&state, digest, now);
            }
            digest
        };
        let endpoint = self.endpoint.endpoint();
        let limit = Duration::from_millis(self.config.timeout_ms.into());
        let answer = match timeout(limit, endpoint.ask(&self.config, body)).await {
            Ok(Ok((status, body))) => read_answer(self.config.dialect, status, &body).map_err(in_words),
            Ok(Err(error)) => Err(with_causes(&*error)),
            Err(_) => Err(format!("there was no answer within {} ms", self.config.timeout_ms)),
        };
        self.settle(answer, digest)
    }

    /// Notes what came of a question.
    fn settle(&self, answer: Result<ServiceAnswer, String>, digest: QuestionDigest) -> HookAnswer {
        let now = Instant::now();
        let mut state = self.state();
        let answer = match answer {
            Ok(answer) => answer,
            Err(why) => {
                if state.breaker.failed(now) {
                    tracing::error!("{} does not answer, and users of it are refused: {why}", self.url());
                } else {
                    tracing::debug!("{} does not answer: {why}", self.url());
                }
                return self.without_service(&state, digest, now);
            }
        };
        if state.breaker.answered() {
            tracing::info!("{} answers again", self.url());
        }
        let lasts = match answer {
            ServiceAnswer::No => {
                state.answers.forget(digest);
                return HookAnswer::No;
            }
            ServiceAnswer::Yes { expires: None } => None,
            ServiceAnswer::Yes { expires: Some(expires) } => match since_1970(SystemTime::now()) {
                None => return HookAnswer::Unavailable,
                Some(now) if expires <= now => return HookAnswer::No,
                Some(now) => Some(expires - now),
            },
        };
        state.answers.note(digest, lasts, now);
        HookAnswer::Yes { lasts }
    }

    /// The answer while the service gives none.
    fn without_service(&self, state: &HookState, digest: QuestionDigest, now: Instant) -> HookAnswer {
        match state.answers.find(digest, Duration::from_secs(self.config.stale_ok_s.into()), now) {
            Some(lasts) => HookAnswer::Yes { lasts },
            None => HookAnswer::Unavailable,
        }
    }

    fn url(&self) -> Escaped<'_> {
        Escaped(&self.config.url)
    }

    fn state(&self) -> MutexGuard<'_, HookState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn in_words(reason: NoAnswerReason) -> String {
    match reason {
        NoAnswerReason::Status(status) => format!("it answers with the status {status}"),
        NoAnswerReason::Body => "its answer is not one of the configured dialect".to_owned(),
        NoAnswerReason::Acl => "its answer has rights of the client (acl), which are not applied".to_owned(),
    }
}

/// An error with all that caused it: the outermost one of hyper says only in which step it was.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
