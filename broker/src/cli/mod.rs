//! The command line of `goldcrest`. Without a subcommand the program serves clients.
//!
//! One description, read by clap, gives the parser, `--help`, the completions and the manual pages.

mod args;
mod budget;
mod client;
mod generate;
mod greeting;
mod heap;
mod mistake;
mod passwd;
mod serve;
mod store;

use crate::config::Config;
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

/// The exit code for a command line that makes no sense.
const USAGE: u8 = 2;

/// An MQTT broker for edge and IoT devices; without a command it serves clients
#[derive(Debug, Parser)]
#[command(name = "goldcrest", version, max_term_width = 120, disable_help_subcommand = true)]
#[command(args_conflicts_with_subcommands = true, after_help = EXIT_CODES)]
struct CommandLine {
    #[command(flatten)]
    serve: serve::ServeOptions,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXIT_CODES: &str = "Exit codes: 0 after a stop by SIGTERM or Ctrl-C, 1 after an error or a second signal, 2 for a command line \
    that makes no sense; goldcrest store has 3 for a store that is damaged.";

#[derive(Debug, Subcommand)]
enum Command {
    Sub(client::SubscriberOptions),
    Pub(client::PublisherOptions),
    Store(store::StoreOptions),
    Passwd(passwd::PasswordOptions),
    Budget(budget::BudgetOptions),
    Completions(generate::Completions),
    Manual(generate::Manual),
}

/// Why the program ends before it does what the command line asks.
#[derive(Debug)]
enum Stop {
    /// The command line asks for this text, and for nothing else.
    Print(String),
    /// The command line makes no sense.
    Mistake(String),
    Failure(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Runs the command that this process was started with.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let done = match read(&args).and_then(run) {
        Ok(code) => Ok(code),
        Err(Stop::Print(text)) => print(&text).map(|()| ExitCode::SUCCESS).map_err(Failure::from),
        Err(Stop::Mistake(mistake)) => {
            complain(&format!("goldcrest: {mistake}\nTry {} --help.\n", described(&args).1));
            Ok(ExitCode::from(USAGE))
        }
        Err(Stop::Failure(failure)) => Err(failure),
    };
    done.unwrap_or_else(|failure| {
        complain(&format!("goldcrest: {failure}\n"));
        ExitCode::FAILURE
    })
}

/// Does what the command line says.
fn run(line: CommandLine) -> Result<ExitCode, Stop> {
    match line.command {
        None => {
            line.serve.check().map_err(Stop::Mistake)?;
            serve::serve(line.serve)?;
        }
        Some(Command::Sub(options)) => client::subscribe(&options)?,
        Some(Command::Pub(options)) => client::publish(&options)?,
        Some(Command::Store(options)) => return Ok(options.checked().map_err(Stop::Mistake)?.run()?),
        Some(Command::Passwd(options)) => return Ok(options.run()?),
        Some(Command::Budget(options)) => {
            print(&budget::text_of(options).map_err(Stop::Mistake)?).map_err(Failure::from)?;
        }
        Some(Command::Completions(options)) => options.run(command())?,
        Some(Command::Manual(options)) => options.run(command())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The description of the whole command line.
fn command() -> clap::Command {
    /// Lets an option have any value: the word after an option that takes a value always is that value, even if a message begins
    /// with a hyphen.
    fn with_any_value(command: clap::Command) -> clap::Command {
        let is_option = |arg: &clap::Arg| !arg.is_positional() && arg.get_action().takes_values();
        let arg = |arg: clap::Arg| if is_option(&arg) { arg.allow_hyphen_values(true) } else { arg };
        command.mut_args(arg).mut_subcommands(with_any_value)
    }
    with_any_value(CommandLine::command())
}

fn read(args: &[OsString]) -> Result<CommandLine, Stop> {
    let matches = command().try_get_matches_from(args);
    let error = match matches.and_then(|matches| CommandLine::from_arg_matches(&matches)) {
        Ok(line) => return Ok(line),
        Err(error) => error,
    };
    Err(match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            Stop::Print(format!("{}\n", error.render().to_string().trim_end()))
        }
        _ => Stop::Mistake(mistake::in_one_line(&error, &described(args).0)),
    })
}

/// The description of the subcommand that `args` name, and how the user types that subcommand, like `goldcrest store check`.
fn described(args: &[OsString]) -> (clap::Command, String) {
    let mut command = command();
    command.build();
    let mut path = command.get_name().to_owned();
    for arg in args.iter().skip(1) {
        let Some(subcommand) = arg.to_str().and_then(|word| command.find_subcommand(word)) else { break };
        path = format!("{path} {}", subcommand.get_name());
        command = subcommand.clone();
    }
    (command, path)
}

/// Reads the configuration. If reading takes more than a second, standard error says so: the file may be a pipe that nobody writes
/// to.
fn read_config(path: &Path) -> Result<Config, crate::ConfigError> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let (done, is_done) = sync_channel::<()>(0);
    let name = path.display().to_string();
    std::thread::spawn(move || {
        if is_done.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            complain(&format!("goldcrest: waits for the configuration: nobody has written {name} to its end yet\n"));
        }
    });
    let config = Config::from_file(path);
    drop(done);
    config
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long the process waits at its end for somebody to read what it has written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Writes to standard error.
fn complain(text: &str) {
    crate::output::log::write(text);
    crate::output::log::flush(LAST_WORDS);
}

const NO_DATA_DIR: &str = "there is no home directory to keep sessions and messages in; \
                           --data-dir DIR says where, --memory-only keeps nothing across restarts";

/// Prints to standard output. If the reader of a pipe has gone, that is no failure.
fn print(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write standard output: {error}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the command line `goldcrest` with `args` after it.
    pub(super) fn read(args: &[&str]) -> Result<CommandLine, Stop> {
        let args: Vec<OsString> =
            std::iter::once("goldcrest").chain(args.iter().copied()).map(OsString::from).collect();
        super::read(&args)
    }

    /// The error message for a command line with a mistake.
    pub(super) fn mistake(args: &[&str]) -> String {
        let checked = read(args).and_then(|line| match line.command {
            None => line.serve.check().map_err(Stop::Mistake),
            Some(Command::Budget(options)) => budget::text_of(options).map(drop).map_err(Stop::Mistake),
            Some(Command::Store(options)) => options.checked().map(drop).map_err(Stop::Mistake),
            Some(_) => Ok(()),
        });
        match checked {
            Err(Stop::Mistake(mistake)) => mistake,
            other => panic!("there is no mistake in {args:?}: {other:?}"),
        }
    }

    /// clap checks its descriptions for contradictions.
    #[test]
    fn the_description_of_the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn help_of_each_command_is_no_wider_than_a_screen_and_begins_with_what_it_does() {
        for args in [
            &["--help"][..],
            &["sub", "--help"],
            &["pub", "--help"],
            &["store", "--help"],
            &["budget", "--help"],
            &["passwd", "--help"],
        ] {
            let Err(Stop::Print(help)) = read(args) else { panic!("{args:?} is no help") };
            assert!(help.contains("\n\nUsage: goldcrest"), "{help}");
            assert!(help.lines().all(|line| line.chars().count() <= 120), "{help}");
        }
    }
}
