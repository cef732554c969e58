//! The requests of administrators that come by MQTT, and the answers.
//!
//! A client in the process of the gateway receives the requests on a thread of its own, since passwords are hashed and a file is written for
//! them. It does one after the other. Those that wait meanwhile are bounded as the queue of any client is.

use super::client::{LocalClient, LocalClientError};
use super::security::SecurityOfShards;
use crate::access::{Answered, REQUEST_TOPIC, RESPONSE_TOPIC};
use crate::net::{Admission, MemoryStream, memory_pair};
use crate::shard::{LocalConnection, Mailboxes};
use goldcrest_core::codec::QoS;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// A gateway whose client can't connect to it in this time does not start.
const START_TIME: Duration = Duration::from_secs(10);
/// After a fault the client tries to connect again after this time.
const PAUSE: Duration = Duration::from_secs(1);

/// The running thread, which ends when this value is dropped.
#[derive(Debug)]
pub(super) struct ControlTopics {
    _running: oneshot::Sender<Infallible>,
}

/// What the thread works with.
struct ControlClient {
    security: Arc<SecurityOfShards>,
    mailboxes: Arc<Mailboxes>,
    admission: Arc<Admission>,
    lost: u64,
}

impl ControlTopics {
    /// Starts the thread, and waits until requests are received.
    ///
    /// # Errors
    /// The system refuses a thread, or the client can't connect.
    pub(super) fn start(
        security: Arc<SecurityOfShards>,
        mailboxes: Arc<Mailboxes>,
        admission: Arc<Admission>,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (running, stopped) = oneshot::channel();
        let (ready, is_ready) = sync_channel(1);
        let mut client = ControlClient { security, mailboxes, admission, lost: 0 };
        thread::Builder::new().name("control-topics".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    // A client that is closed because the gateway stops has nothing to tell.
                    biased;
                    _ = stopped => {}
                    never = client.serve(&ready) => match never {},
                }
            });
        })?;
        match is_ready.recv_timeout(START_TIME) {
            Ok(()) => Ok(Self { _running: running }),
            Err(RecvTimeoutError::Timeout) => Err(io::Error::other("the gateway's own client could not connect")),
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the thread for requests panicked")),
        }
    }
}

impl ControlClient {
    async fn serve(&mut self, ready: &SyncSender<()>) -> Infallible {
        loop {
            let error = match self.connected().await {
                Ok(mut client) => {
                    // Full if it was ready before.
                    let _ = ready.try_send(());
                    let Err(error) = self.serve_connected(&mut client).await;
                    error
                }
                Err(error) => error,
            };
            tracing::error!("requests to {REQUEST_TOPIC} wait for a new connection: {error}");
            sleep(PAUSE).await;
        }
    }

    async fn connected(&self) -> Result<LocalClient, LocalClientError> {
        let connect = async {
            let stream = connect(&self.mailboxes, &self.admission, 0).map_err(LocalClientError::NoRoom)?;
            let mut client = LocalClient::open(stream, self.security.client_id()).await?;
            client.subscribe(REQUEST_TOPIC, QoS::ExactlyOnce).await?;
            Ok(client)
        };
        timeout(START_TIME, connect).await.unwrap_or(Err(LocalClientError::Closed(None)))
    }

    async fn serve_connected(&mut self, client: &mut LocalClient) -> Result<Infallible, LocalClientError> {
        loop {
            let request = client.next().await?;
            let Answered { payload, effects } = self.security.answer(request.payload).await;
            let published = client.publish(RESPONSE_TOPIC, &payload, QoS::AtMostOnce, false).await;
            // Whether or not the answer could be sent: the change is made.
            self.security.close_soon(effects);
            match published {
                Err(LocalClientError::TooLarge(_, most)) => {
                    let error = format!("The answer is longer than {most} bytes: ask for a part, by count and offset");
                    let refusal = Answered::refusal(error).payload;
                    client.publish(RESPONSE_TOPIC, &refusal, QoS::AtMostOnce, false).await?;
                }
                published => published?,
            }
            let lost = client.lost();
            if lost > self.lost {
                tracing::warn!(lost = lost - self.lost, "requests were lost, because earlier ones were not done yet");
            }
            self.lost = lost;
        }
    }
}

/// Connects a client in this process to a shard.
///
/// # Errors
/// There are as many connections as there may be.
pub(super) fn connect(mailboxes: &Mailboxes, admission: &Arc<Admission>, shard: u16) -> io::Result<MemoryStream> {
    let Some(permit) = admission.permit() else {
        return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "too many connections are open"));
    };
    let (ours, theirs) = memory_pair();
    mailboxes.connect(shard, LocalConnection { stream: Box::new(ours), permit });
    Ok(theirs)
}
