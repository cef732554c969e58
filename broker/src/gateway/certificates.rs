//! The thread that reads certificates anew when their files have changed.
//!
//! It looks at the files again and again instead of asking the system for changes: a file that is exchanged by a rename, or by a link to another folder, as
//! Kubernetes does, is no change of the file that was opened.

use super::{Gateway, StartError};
use crate::net::{Certificates, Refresh};
use crate::shard::Mailboxes;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

/// How often the files are looked at.
const PAUSE: Duration = Duration::from_secs(5);

/// The running thread, which ends when this value is dropped.
#[derive(Debug)]
pub(super) struct CertificateWatch {
    ask: Arc<SyncSender<()>>,
}

/// Asks a gateway, as long as it is there, to read its certificates anew.
#[derive(Clone, Debug)]
pub(crate) struct CertificateReload(Weak<SyncSender<()>>);

impl CertificateReload {
    /// Returns at once.
    pub(crate) fn ask(&self) {
        if let Some(ask) = self.0.upgrade() {
            // If the channel is full the thread has been asked, and has not begun.
            let _ = ask.try_send(());
        }
    }
}

impl CertificateWatch {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn start(certificates: Certificates, mailboxes: Arc<Mailboxes>) -> Result<Self, StartError> {
        let (ask, asked) = sync_channel(1);
        let thread = thread::Builder::new().name("certificates".to_owned());
        thread.spawn(move || watch(&certificates, &mailboxes, &asked)).map_err(StartError::Thread)?;
        Ok(Self { ask: Arc::new(ask) })
    }
}

fn watch(certificates: &Certificates, mailboxes: &Mailboxes, asked: &Receiver<()>) {
    loop {
        let which = match asked.recv_timeout(PAUSE) {
            Ok(()) => Refresh::All,
            Err(RecvTimeoutError::Timeout) => Refresh::Changed,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        for revoked in certificates.refresh(which) {
            mailboxes.revoke(&Arc::new(revoked));
        }
    }
}

impl Gateway {
    /// Reads the files of all listeners with TLS anew, soon and without being waited for: certificates, keys, CAs and lists of revoked certificates. The
    /// files of a listener are taken over together, or not at all; then the log says why, and `/ready`. Connections that are open stay open, but those whose certificates are revoked. Without
    /// this call too the files are looked at each five seconds.
    pub fn reload_certificates(&self) {
        if let Some(reload) = self.certificate_reload() {
            reload.ask();
        }
    }

    /// `None` if no listener has TLS.
    pub(crate) fn certificate_reload(&self) -> Option<CertificateReload> {
        self.listening.certificates.as_ref().map(|watch| CertificateReload(Arc::downgrade(&watch.ask)))
    }
}
