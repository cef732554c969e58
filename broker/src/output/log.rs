//! Log lines on standard error, which no thread waits for, and the escaping of text from clients in them.

use crate::output::BackgroundWriter;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Writes log lines to standard error from now on: the lines that `filter` lets pass; without a filter those that `RUST_LOG`
/// lets pass; without either those from the level info up. A second call changes nothing.
///
/// # Errors
/// A filter is neither a level nor a list of directives.
pub(crate) fn init(filter: Option<&str>) -> Result<(), String> {
    let (filter, whence) =
        match (filter, std::env::var_os("RUST_LOG").filter(|filter| !filter.to_string_lossy().trim().is_empty())) {
            (Some(filter), _) => (filter.to_owned(), "--log"),
            (None, Some(filter)) => (filter.to_string_lossy().into_owned(), "the environment variable RUST_LOG"),
            (None, None) => ("info".to_owned(), ""),
        };
    let targets = parse_filter(&filter).ok_or_else(|| {
        format!("{filter:?} is no log level, in {whence}; allowed: {}, each target with its level", LEVELS)
    })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(|| Line).with_ansi(false).with_target(false);
    // This fails if a subscriber exists already, as in tests that start several gateways.
    let _ = tracing_subscriber::registry().with(targets).with(lines).try_init();
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let backtrace = Backtrace::capture();
        let shown = backtrace.status() == BacktraceStatus::Captured;
        let backtrace = if shown { format!("\n{backtrace}") } else { String::new() };
        write(&format!("thread '{}' {panic}{backtrace}\n", thread.name().unwrap_or("without a name")));
        flush(Duration::from_millis(200));
    }));
    Ok(())
}

/// Writes text to standard error, behind the log lines that wait to be written, and does not wait.
pub(crate) fn write(text: &str) {
    if let Some(writer) = writer() {
        writer.write(text.as_bytes());
    }
}

/// Waits until all that was logged is written, or no longer than `patience`.
pub(crate) fn flush(patience: Duration) {
    if let Some(writer) = WRITER.get().and_then(Option::as_ref) {
        writer.flush(patience);
    }
}

/// How many log lines were not written, because the reader of standard error was too slow or the device was full.
pub(crate) fn lost_lines() -> u64 {
    WRITER.get().and_then(Option::as_ref).map_or(0, BackgroundWriter::lost)
}

/// The writer for standard error.
static WRITER: OnceLock<Option<BackgroundWriter>> = OnceLock::new();

fn writer() -> Option<&'static BackgroundWriter> {
    WRITER.get_or_init(|| BackgroundWriter::open("log", io::stderr()).ok()).as_ref()
}

/// Collects one log line, which is written whole by one call.
struct Line;

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(writer) = writer() {
            writer.write(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The filters that [`parse_filter`] accepts, in words.
pub(crate) const LEVELS: &str =
    "off, error, warn, info, debug or trace, or a list like \"info,goldcrest::shard=debug\"";

/// Reads a level or a list of directives like `info,goldcrest::shard=debug`. Targets that the list does not name are logged from
/// info up.
pub(crate) fn parse_filter(filter: &str) -> Option<Targets> {
    // Without this check an empty text would pass as a level, and a bare word that is no level as the name of a target.
    let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let parts = || filter.split(',').map(str::trim).filter(|part| !part.is_empty());
    let directive = |part: &str| match part.split_once('=').map(|(target, level)| (target.trim(), level.trim())) {
        Some((target, level)) => (!target.is_empty() && is_level(level)).then(|| format!("{target}={level}")),
        None => is_level(part).then(|| part.to_owned()),
    };
    let directives = parts().map(directive).collect::<Option<Vec<_>>>().filter(|directives| !directives.is_empty())?;
    let targets: Targets = directives.join(",").parse().ok()?;
    Some(if parts().any(is_level) { targets } else { targets.with_default(LevelFilter::INFO) })
}

/// Text from a client as it may stand in a log line: control characters and invisible characters are escaped, and a text that is
/// too long is cut off.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 128;
        let mut chars = self.0.chars();
        for c in chars.by_ref().take(MOST) {
            match c {
                // Not escaped, so that a topic or name in any language stays readable. Quotation marks do no harm.
                '\'' | '"' => fmt::Write::write_char(f, c)?,
                _ => write!(f, "{}", c.escape_debug())?,
            }
        }
        if chars.next().is_some() { f.write_str("…") } else { Ok(()) }
    }
}

/// Lets one log line of its kind pass each second and counts the others, so that clients can't fill the log.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<Throttled>);

#[derive(Debug, Default)]
struct Throttled {
    last: Option<Instant>,
    suppressed: u64,
}

impl Throttle {
    const PAUSE: Duration = Duration::from_secs(1);

    /// `None` if no line may be written now; otherwise how many lines were held back since the last one.
    pub(crate) fn pass(&self) -> Option<u64> {
        let mut throttled = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if throttled.last.is_some_and(|last| last.elapsed() < Self::PAUSE) {
            throttled.suppressed += 1;
            return None;
        }
        throttled.last = Some(Instant::now());
        Some(std::mem::take(&mut throttled.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_in_a_log_line_are_escaped() {
        let escaped = Escaped("a\r\nINFO faked\u{1b}[31m\u{0}\u{85}\u{202e}\u{2028}é'\"\\").to_string();
        assert!(!escaped.chars().any(char::is_control), "{escaped}");
        assert!(!escaped.contains(['\u{202e}', '\u{2028}']), "{escaped}");
        assert!(escaped.starts_with("a\\r\\nINFO faked\\u{1b}[31m\\0\\u{85}\\u{202e}\\u{2028}é'\"\\\\"), "{escaped}");
    }

    #[test]
    fn long_text_in_a_log_line_is_cut_off() {
        assert_eq!(Escaped(&"ü".repeat(128)).to_string(), "ü".repeat(128));
        assert_eq!(Escaped(&"ü".repeat(65_535)).to_string(), format!("{}…", "ü".repeat(128)));
    }

    #[test]
    fn a_log_filter_is_a_level_or_a_list_of_directives() {
        for good in [
            "info",
            "OFF",
            "debug",
            "warn,goldcrest=trace",
            "goldcrest::shard=debug",
            "info,",
            " warn , hyper = debug ",
        ] {
            assert!(parse_filter(good).is_some(), "{good}");
        }
        for bad in ["", "loud", "info,loud", "goldcrest=loud", "=", "=info", "goldcrest=", "info,goldcrest=", ",", " "]
        {
            assert!(parse_filter(bad).is_none(), "{bad}");
        }
    }

    /// A filter for one target is not meant to silence all others.
    #[test]
    fn a_log_filter_for_one_target_does_not_silence_others() {
        use tracing::Level;
        let one = parse_filter("hyper=debug").unwrap();
        assert!(one.would_enable("hyper::proto", &Level::DEBUG));
        assert!(one.would_enable("goldcrest", &Level::INFO) && !one.would_enable("goldcrest", &Level::DEBUG));
        let both = parse_filter("error,hyper=debug").unwrap();
        assert!(!both.would_enable("goldcrest", &Level::INFO));
        assert!(!parse_filter("off").unwrap().would_enable("goldcrest", &Level::ERROR));
    }

    #[test]
    fn a_throttle_counts_the_log_lines_it_holds_back() {
        let throttle = Throttle::default();
        assert_eq!(throttle.pass(), Some(0));
        assert_eq!(throttle.pass(), None);
        assert_eq!(throttle.pass(), None);
        throttle.0.lock().unwrap().last = Instant::now().checked_sub(Throttle::PAUSE);
        assert_eq!(throttle.pass(), Some(2));
    }
}
