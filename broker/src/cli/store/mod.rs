//! `goldcrest store`: commands for operators that work on the store on disk.

mod dump;
mod record_line;
mod stats;

use super::args::path;
use super::{Failure, NO_DATA_DIR, print, read_config};
use crate::config::default_data_dir;
use crate::shard::describe_damage;
use clap::{Args, Subcommand};
use goldcrest_store::{self as store, Examined, Report};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The exit code for a store that is damaged.
const DAMAGED: u8 = 3;

/// Check, repair, dump, back up and restore the store in which the gateway keeps sessions and messages
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(arg_required_else_help = false, after_help = NOTES)]
pub(super) struct StoreOptions {
    #[command(flatten)]
    place: StorePlace,
    #[command(subcommand)]
    action: Action,
}

const NOTES: &str = "Only repair and restore need that the gateway is stopped. A backup has all that was acknowledged before it \
    began. In a dump times are what the clock of the machine shows then if it goes right, and null is never; a payload that is no text is \
    in payload_base64.";

/// Where the store is. The options may stand before the command and after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
struct StorePlace {
    /// Where the store is [default: as for the gateway]
    #[arg(long, value_name = "DIR", value_parser = path())]
    data_dir: Option<PathBuf>,
    /// The configuration of the gateway, which may say where
    #[arg(long, value_name = "FILE", value_parser = path())]
    config: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
enum Action {
    /// Read all of the store and write nothing; exit code 0: sound, 3: damaged or incomplete
    Check(StorePlace),
    /// Print how much is in the store
    Stats(StorePlace),
    /// Print each record as one line of JSON
    Dump(StorePlace),
    /// Copy the store to the directory TO, which is made if it is not there, and else has to be empty
    Backup {
        /// The directory to copy to
        #[arg(value_name = "TO", value_parser = path())]
        to: PathBuf,
        #[command(flatten)]
        place: StorePlace,
    },
    /// Copy a backup to where the gateway keeps its store: nothing may be there
    Restore {
        /// The directory with the backup
        #[arg(value_name = "FROM", value_parser = path())]
        from: PathBuf,
        #[command(flatten)]
        place: StorePlace,
    },
    /// Set damaged bytes aside in files damaged-*, cut off a torn end, and say what is lost
    Repair(StorePlace),
}

impl Action {
    fn place(&mut self) -> &mut StorePlace {
        match self {
            Self::Check(place) | Self::Stats(place) | Self::Dump(place) | Self::Repair(place) => place,
            Self::Backup { place, .. } | Self::Restore { place, .. } => place,
        }
    }
}

impl StoreOptions {
    /// Merges the options after the command into those before it.
    ///
    /// # Errors
    /// The same option stands before the command and after it.
    pub(super) fn checked(mut self) -> Result<Self, String> {
        let StorePlace { data_dir, config } = std::mem::take(self.action.place());
        let once = |name: &str, before: &mut Option<PathBuf>, after: Option<PathBuf>| match (&before, after) {
            (Some(_), Some(_)) => Err(format!("{name} is given more than once, and takes one value")),
            (_, None) => Ok(()),
            (None, after) => {
                *before = after;
                Ok(())
            }
        };
        once("--data-dir", &mut self.place.data_dir, data_dir)?;
        once("--config", &mut self.place.config, config)?;
        Ok(self)
    }

    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let StorePlace { data_dir, config } = self.place;
        let config = config.as_deref().map(read_config).transpose()?;
        let path = data_dir.or_else(|| config?.data_dir).or_else(default_data_dir).ok_or(NO_DATA_DIR)?;
        let in_path = |error: store::OpenError| failure(&path, &error);
        match self.action {
            Action::Check(_) => {
                let report = examine(&path)?.report;
                print(&describe(&report))?;
                return Ok(if report.damage.is_none() { ExitCode::SUCCESS } else { DAMAGED.into() });
            }
            Action::Stats(_) => print(&stats::table(&examine(&path)?)?)?,
            Action::Dump(_) => dump::write(&examine(&path)?)?,
            Action::Backup { to, .. } => {
                let report = store::back_up(&path, &to).map_err(|error| copy_failure(&error, &path, &to))?;
                print(&format!("copied to {}\n{}", to.display(), describe(&report)))?;
            }
            Action::Restore { from, .. } => {
                let report = store::restore(&from, &path).map_err(|error| copy_failure(&error, &from, &path))?;
                print(&format!("restored to {}\n{}", path.display(), describe(&report)))?;
            }
            Action::Repair(_) => print(&describe_repair(&store::repair(&path).map_err(in_path)?))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads a store. A directory without a store is an error: otherwise a wrong directory would seem sound.
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

/// What was found in the store, in a few lines.
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
    use super::super::Command;
    use super::super::tests::read;
    use super::*;

    fn options(args: &[&str]) -> StoreOptions {
        match read(&[&["store"], args].concat()).expect("the command line is right").command {
            Some(Command::Store(options)) => options.checked().expect("no option is given twice"),
            other => panic!("{other:?}"),
        }
    }

    fn mistake(args: &[&str]) -> String {
        super::super::tests::mistake(&[&["store"], args].concat())
    }

    #[test]
    fn options_may_stand_before_the_command_and_after_it() {
        let place = StorePlace { data_dir: Some("d".into()), config: Some("c".into()) };
        let action = Action::Backup { to: "b".into(), place: StorePlace::default() };
        let expected = StoreOptions { place, action };
        assert_eq!(options(&["backup", "b", "--data-dir", "d", "--config", "c"]), expected);
        assert_eq!(options(&["--data-dir", "d", "backup", "--config=c", "b"]), expected);
        assert_eq!(options(&["--config", "c", "--data-dir", "d", "backup", "b"]), expected);
        for args in [&["--data-dir", "d", "check", "--data-dir", "d"][..], &["check", "--data-dir=d", "--data-dir=d"]] {
            assert_eq!(mistake(args), "--data-dir is given more than once, and takes one value");
        }
    }

    #[test]
    fn mistakes_in_store_commands_say_what_is_wanted() {
        assert_eq!(mistake(&[]), "check, stats, dump, backup, restore or repair is wanted");
        assert!(
            mistake(&["chekc"]).contains("\"chekc\" is no subcommand")
                && mistake(&["chekc"]).ends_with("did you mean check?")
        );
        assert_eq!(mistake(&["restore"]), "FROM is missing: The directory with the backup");
        assert!(mistake(&["check", "d"]).contains("one word too many"));
    }
}
