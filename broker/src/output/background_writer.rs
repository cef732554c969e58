//! Text for standard error and standard output, which may be a pipe without a reader or a full device. A thread writes the
//! text, and no other thread waits for that thread.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// The most lines that wait to be written.
const LINES: usize = 1024;

/// A file and the thread that writes it.
#[derive(Debug)]
pub(crate) struct BackgroundWriter {
    sender: SyncSender<Item>,
    lost: Arc<Lost>,
}

/// Counts of lines that were not written.
#[derive(Debug, Default)]
struct Lost {
    in_all: AtomicU64,
    /// How many of these lines no note in the file has reported yet.
    untold: AtomicU64,
}

enum Item {
    /// A line, and how many are missing before it.
    Line { dropped: u64, line: Vec<u8> },
    /// A request to answer on this channel once all earlier lines are written.
    Flush(SyncSender<()>),
}

impl BackgroundWriter {
    /// Writes to `fd` from now on.
    ///
    /// # Errors
    /// The system gives no thread or no file descriptor for the writer.
    pub(crate) fn open(name: &str, fd: impl AsFd) -> io::Result<Self> {
        // Bypasses the buffers and locks of the standard library, because another thread that writes to the same stream
        // would wait for them.
        let file = File::from(fd.as_fd().try_clone_to_owned()?);
        Self::with(name, file, LINES)
    }

    fn with(name: &str, file: impl Write + Send + 'static, lines: usize) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(lines);
        let lost = Arc::new(Lost::default());
        let shared = lost.clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || write_all(file, &receiver, &shared))?;
        Ok(Self { sender, lost })
    }

    /// Queues `line` to be written, or drops it if the queue is full. A note with the number of dropped lines stands before
    /// the next line that is written, or at the end.
    pub(crate) fn write(&self, line: &[u8]) {
        let dropped = self.lost.untold.swap(0, Ordering::Relaxed);
        if self.sender.try_send(Item::Line { dropped, line: line.to_vec() }).is_err() {
            self.lost.untold.fetch_add(dropped + 1, Ordering::Relaxed);
            self.lost.in_all.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until all earlier lines are written, or no longer than `patience`.
    pub(crate) fn flush(&self, patience: Duration) {
        const PAUSE: Duration = Duration::from_millis(5);
        let until = Instant::now() + patience;
        let (written, is_written) = sync_channel(1);
        let mut item = Item::Flush(written);
        while let Err(full) = self.sender.try_send(item) {
            if Instant::now() >= until {
                return;
            }
            let (TrySendError::Full(back) | TrySendError::Disconnected(back)) = full;
            item = back;
            thread::sleep(PAUSE);
        }
        let _ = is_written.recv_timeout(until.saturating_duration_since(Instant::now()));
    }

    /// How many lines were not written.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.in_all.load(Ordering::Relaxed)
    }
}

fn notice(dropped: u64) -> String {
    let now = humantime::format_rfc3339_micros(SystemTime::now());
    format!(
        "{now}  WARN {dropped} log lines are missing here: they could not be written, or nobody read those before in time\n"
    )
}

fn write_all(mut file: impl Write, items: &Receiver<Item>, lost: &Lost) {
    let tell = |file: &mut _, dropped: u64| {
        if dropped > 0 && write_patiently(file, notice(dropped).as_bytes()).is_err() {
            lost.untold.fetch_add(dropped, Ordering::Relaxed);
        }
    };
    for item in items {
        match item {
            Item::Line { dropped, line } => {
                tell(&mut file, dropped);
                if write_patiently(&mut file, &line).is_err() {
                    lost.untold.fetch_add(1, Ordering::Relaxed);
                    lost.in_all.fetch_add(1, Ordering::Relaxed);
                }
            }
            Item::Flush(written) => {
                tell(&mut file, lost.untold.swap(0, Ordering::Relaxed));
                let _ = written.send(());
            }
        }
    }
}

/// As [`Write::write_all`], but also works on a file that another process has made non-blocking.
fn write_patiently(file: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc::Sender;
    use std::sync::{Mutex, mpsc};

    /// A file that accepts a write only when the test lets it.
    struct Gate {
        opens: Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.opens.recv().map_err(io::Error::other)?;
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated(lines: usize) -> (BackgroundWriter, Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let ((open, opens), written) = (mpsc::channel(), Arc::default());
        let gate = Gate { opens, written: Arc::clone(&written) };
        (BackgroundWriter::with("writer", gate, lines).unwrap(), open, written)
    }

    #[test]
    fn writing_a_line_to_an_unread_pipe_does_not_block() {
        let (writer, open, written) = gated(2);
        // At most one line is with the thread, and two wait in the queue.
        (0..10).for_each(|n| writer.write(format!("line {n}\n").as_bytes()));
        let lost = writer.lost();
        assert!((7..=8).contains(&lost), "{lost}");
        writer.flush(Duration::from_millis(10));
        (0..10).for_each(|_| open.send(()).unwrap());
        writer.flush(Duration::from_secs(10));
        writer.write(b"after\n");
        writer.flush(Duration::from_secs(10));
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with("line 0\nline 1\n"), "{text}");
        assert!(text.contains(&format!(" WARN {lost} log lines are missing here")), "{text}");
        assert!(text.ends_with("in time\nafter\n"), "{text}");
        assert_eq!(writer.lost(), lost);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_as_lost() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let writer = BackgroundWriter::open("writer", full).unwrap();
        (0..3).for_each(|_| writer.write(b"line\n"));
        writer.flush(Duration::from_secs(10));
        assert_eq!(writer.lost(), 3);
    }

    /// A device that is full for a while.
    struct Device {
        is_full: Arc<AtomicBool>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Device {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.is_full.load(Ordering::Relaxed) {
                return Err(ErrorKind::StorageFull.into());
            }
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_number_of_missing_lines_is_written_once_the_device_has_room_again() {
        let (is_full, written) = (Arc::new(AtomicBool::new(true)), Arc::default());
        let device = Device { is_full: is_full.clone(), written: Arc::clone(&written) };
        let writer = BackgroundWriter::with("writer", device, 8).unwrap();
        (0..3).for_each(|_| writer.write(b"line\n"));
        writer.flush(Duration::from_secs(10));
        is_full.store(false, Ordering::Relaxed);
        writer.write(b"after\n");
        writer.flush(Duration::from_secs(10));
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(text.contains(" WARN 3 log lines are missing here") && text.ends_with("\nafter\n"), "{text}");
        assert_eq!((text.lines().count(), writer.lost()), (2, 3));
    }

    /// No later line comes that could report them.
    #[test]
    fn missing_lines_at_the_end_are_reported_at_the_end() {
        let (writer, open, written) = gated(2);
        (0..10).for_each(|_| writer.write(b"line\n"));
        (0..10).for_each(|_| open.send(()).unwrap());
        writer.flush(Duration::from_secs(10));
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let lost = writer.lost();
        assert!(lost > 0 && text.contains(&format!(" WARN {lost} log lines are missing here")), "{text}");
    }
}
