//! The thread that reads files anew when they have changed.
//!
//! It looks at the files again and again instead of asking the system for changes: a file that is exchanged by a rename, or by a link to another folder, as
//! Kubernetes does, is no change of the file that was opened.

use super::{Gateway, StartError};
use crate::config::{FromFiles, Refresh};
use crate::net::{Certificates, ListenerSetup};
use crate::shard::Mailboxes;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

/// How often the files are looked at.
const PAUSE: Duration = Duration::from_secs(5);

/// The running thread, which ends when this value is dropped.
#[derive(Debug)]
pub(super) struct FileWatch {
    ask: Arc<SyncSender<()>>,
}

/// Asks a gateway, as long as it is there, to read its files anew.
#[derive(Clone, Debug)]
pub(crate) struct FileReload(Weak<SyncSender<()>>);

impl FileReload {
    /// Returns at once.
    pub(crate) fn ask(&self) {
        if let Some(ask) = self.0.upgrade() {
            // If the channel is full the thread has been asked, and has not begun.
            let _ = ask.try_send(());
        }
    }
}

impl FileWatch {
    /// Starts the thread, for all of a gateway that was made of files. `None` if nothing was.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn start(gateway: &Gateway, setups: &[Arc<ListenerSetup>]) -> Result<Option<Self>, StartError> {
        let mut watched: Vec<Arc<dyn FromFiles>> = Vec::new();
        if let Some(certificates) = Certificates::of(setups) {
            if let Some(admin) = &gateway.admin {
                admin.tell_of_certificates(certificates.clone());
            }
            let mailboxes = gateway.mailboxes.0.clone();
            watched.push(Arc::new(CertificatesInUse { certificates, mailboxes }));
        }
        if let (Some(admin), Some(report)) = (&gateway.admin, gateway.rules.report()) {
            admin.tell_of_permissions(report);
        }
        if let Some(authenticator) = &gateway.authenticator {
            if let Some(admin) = &gateway.admin {
                admin.tell_of_refusals(authenticator.refusals().clone());
            }
            watched.extend(authenticator.files());
        }
        watched.extend(gateway.rules.file.iter().map(|rules| rules.clone() as Arc<dyn FromFiles>));
        if watched.is_empty() {
            return Ok(None);
        }
        if let Some(admin) = &gateway.admin {
            admin.tell_of_files(watched.clone());
        }
        let (ask, asked) = sync_channel(1);
        let thread = thread::Builder::new().name("files".to_owned());
        thread.spawn(move || watch(&watched, &asked)).map_err(StartError::Thread)?;
        Ok(Some(Self { ask: Arc::new(ask) }))
    }
}

fn watch(watched: &[Arc<dyn FromFiles>], asked: &Receiver<()>) {
    loop {
        let which = match asked.recv_timeout(PAUSE) {
            Ok(()) => Refresh::All,
            Err(RecvTimeoutError::Timeout) => Refresh::Changed,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        for files in watched {
            files.refresh(which);
        }
    }
}

/// The certificates of all listeners, and the shards whose clients may have shown one that is revoked.
struct CertificatesInUse {
    certificates: Certificates,
    mailboxes: Arc<Mailboxes>,
}

impl FromFiles for CertificatesInUse {
    fn refresh(&self, which: Refresh) {
        for revoked in self.certificates.refresh(which) {
            self.mailboxes.revoke(&Arc::new(revoked));
        }
    }

    fn faults(&self) -> Vec<String> {
        self.certificates.faults()
    }
}

impl Gateway {
    /// Reads all files anew that the gateway was started with, besides its configuration, soon and without being waited for: certificates, keys, CAs,
    /// lists of revoked certificates, the password file, keys for tokens, what is needed to ask a web service, and the file of permissions. Files that belong
    /// together are taken over together, or not at all; then the log says why, and `/ready`. Connections that are open stay open, but those whose certificates are revoked and those of users that are gone or have other
    /// passwords. Without this call too the files are looked at each five seconds.
    pub fn reload_files(&self) {
        if let Some(reload) = self.file_reload() {
            reload.ask();
        }
    }

    /// `None` if the gateway was started without such files.
    pub(crate) fn file_reload(&self) -> Option<FileReload> {
        self.listening.files.as_ref().map(|watch| FileReload(Arc::downgrade(&watch.ask)))
    }
}
