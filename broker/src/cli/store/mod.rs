//! `goldcrest store`: what is on disk, for those who look after it.

mod dump;
mod record_line;
mod stats;

use crate::cli::args::{name_of, once, path};
use crate::cli::{Failure, NO_DATA_DIR, print, read_config};
use crate::config::default_data_dir;
use crate::shard::describe_damage;
use goldcrest_store::{self as store, Examined, Report};
use lexopt::prelude::{Long, Short, Value};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
Looks after the store in which the gateway keeps sessions and messages

Usage: goldcrest store check [OPTIONS]           read all of it and write nothing; exit code 0: sound, 3: damaged or incomplete
       goldcrest store stats [OPTIONS]           print how much is in it
       goldcrest store dump [OPTIONS]            print each record as one line of JSON
       goldcrest store backup TO [OPTIONS]       copy it to the directory TO, which is made, or is empty
       goldcrest store restore FROM [OPTIONS]    copy a backup to where the gateway keeps its store: nothing may be there
       goldcrest store repair [OPTIONS]          copy what is damaged to files damaged-*, cut off what is torn, say what is lost

Options:
      --data-dir DIR       where the store is [default: as for the gateway]
      --config FILE        the configuration of the gateway, which may say where
  -h, --help               print this

Only repair and restore need that the gateway is stopped. A backup has all that was acknowledged before it began. In a dump
times are what the clock of the machine shows then if it goes right, and null is never; a payload that is no text is in payload_base64.
";

/// The exit code for a store that is damaged.
const DAMAGED: u8 = 3;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    action: Action,
    data_dir: Option<PathBuf>,
    config: Option<PathBuf>,
}

#[derive(Debug, PartialEq, Eq)]
enum Action {
    Help,
    Check,
    Stats,
    Dump,
    Backup(PathBuf),
    Restore(PathBuf),
    Repair,
}

pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Command, lexopt::Error> {
    let (mut data_dir, mut config, mut words) = (None, None, Vec::new());
    while let Some(arg) = parser.next()? {
        let name = name_of(&arg);
        match arg {
            Long("data-dir") => once(&mut data_dir, &name, path(&mut parser, &name)?)?,
            Long("config") => once(&mut config, &name, path(&mut parser, &name)?)?,
            Short('h') | Long("help") => return Ok(Command { action: Action::Help, data_dir, config }),
            Value(word) if word.is_empty() => return Err("a word is empty: a directory is wanted".into()),
            Value(word) => words.push(word),
            _ => return Err(arg.unexpected()),
        }
    }
    let mut words = words.into_iter();
    let Some(name) = words.next() else { return Err("check, stats, dump, backup, restore or repair is wanted".into()) };
    let mut directory = |what: &str| words.next().map(PathBuf::from).ok_or_else(|| format!("{what} is missing"));
    let action = match name.to_str() {
        Some("check") => Action::Check,
        Some("stats") => Action::Stats,
        Some("dump") => Action::Dump,
        Some("backup") => Action::Backup(directory("the directory to copy to")?),
        Some("restore") => Action::Restore(directory("the directory with the backup")?),
        Some("repair") => Action::Repair,
        _ => return Err(format!("{name:?} is none of check, stats, dump, backup, restore and repair").into()),
    };
    match words.next() {
        Some(word) => Err(format!("{word:?} is one word too many").into()),
        None => Ok(Command { action, data_dir, config }),
    }
}

impl Command {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        if self.action == Action::Help {
            print(HELP)?;
            return Ok(ExitCode::SUCCESS);
        }
        let config = self.config.as_deref().map(read_config).transpose()?;
        let path = self.data_dir.or_else(|| config?.data_dir).or_else(default_data_dir).ok_or(NO_DATA_DIR)?;
        let in_path = |error: store::OpenError| failure(&path, &error);
        match self.action {
            Action::Check => {
                let report = examine(&path)?.report;
                print(&describe(&report))?;
                return Ok(if report.damage.is_none() { ExitCode::SUCCESS } else { DAMAGED.into() });
            }
            Action::Stats => print(&stats::table(&examine(&path)?)?)?,
            Action::Dump => dump::write(&examine(&path)?)?,
            Action::Backup(to) => {
                let report = store::back_up(&path, &to).map_err(|error| copy_failure(&error, &path, &to))?;
                print(&format!("copied to {}\n{}", to.display(), describe(&report)))?;
            }
            Action::Restore(from) => {
                let report = store::restore(&from, &path).map_err(|error| copy_failure(&error, &from, &path))?;
                print(&format!("restored to {}\n{}", path.display(), describe(&report)))?;
            }
            Action::Repair => print(&describe_repair(&store::repair(&path).map_err(in_path)?))?,
            Action::Help => {}
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads a store. Where there is none, a wrong directory would seem sound.
fn examine(path: &Path) -> Result<Examined, Failure> {
    let store = Examined::open(path).map_err(|error| failure(path, &error))?;
    let is_none = store.report.segments == 0 && store.report.damage.is_none();
    if is_none { Err(failure(path, &store::CopyError::Nothing)) } else { Ok(store) }
}

fn failure(path: &Path, error: &dyn std::error::Error) -> Failure {
    format!("{}: {error}", path.display()).into()
}

fn copy_failure(error: &store::CopyError, from: &Path, to: &Path) -> Failure {
    use store::CopyError::{From, NotEmpty, Nothing, To};
    match error {
        Nothing | From(_) => failure(from, error),
        NotEmpty | To(_) => failure(to, error),
    }
}

/// What was found, in a line or a few.
fn describe(report: &Report) -> String {
    let Report { segments, records, torn_bytes, damage, shards, .. } = report;
    let mut text = format!("{records} records in {segments} segments, of {shards} shards\n");
    if *torn_bytes > 0 {
        text += "its end is not whole, as after a loss of power: a start cuts that off, and nothing acknowledged is in it\n";
    }
    if damage.is_none() {
        text += "sound\n";
    } else {
        let _ = writeln!(text, "damaged: {}", describe_damage(damage));
    }
    text
}

fn describe_repair(report: &Report) -> String {
    let mut text = String::new();
    if report.torn_bytes > 0 {
        text += "the end was torn, as by a loss of power, and was cut off\n";
    }
    if !report.damage.is_none() {
        let _ = writeln!(
            text,
            "{}\nwhat is damaged was copied to files damaged-*, what is foreign is in files *.foreign; nothing else is lost",
            describe_damage(&report.damage)
        );
    }
    if text.is_empty() {
        text += "sound: nothing was to be repaired\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Action, String> {
        parse(lexopt::Parser::from_args(args)).map(|command| command.action).map_err(|error| error.to_string())
    }

    #[test]
    fn mistakes_say_what_is_wanted() {
        assert_eq!(parsed(&["backup", "b", "--data-dir", "d"]), Ok(Action::Backup("b".into())));
        assert_eq!(parsed(&["--help"]), Ok(Action::Help));
        assert!(parsed(&[]).unwrap_err().contains("check, stats, dump"));
        assert!(parsed(&["chekc"]).unwrap_err().contains("chekc"));
        assert!(parsed(&["restore"]).unwrap_err().contains("the directory with the backup is missing"));
        assert!(parsed(&["check", "d"]).unwrap_err().contains("one word too many"));
    }
}
