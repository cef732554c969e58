//! `goldcrest completions` and `goldcrest manual`: files that a package installs beside the program. The files are made from the same
//! description of the command line as the parser.

use super::args::path;
use super::{Failure, print};
use clap::{Args, Command};
use clap_complete::Shell;
use std::path::PathBuf;

/// Print what a shell needs to complete commands and options
#[derive(Clone, Debug, Args)]
pub(super) struct Completions {
    /// The shell that reads it
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self, mut command: Command) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "goldcrest", &mut script);
        Ok(print(&String::from_utf8_lossy(&script))?)
    }
}

/// Write the manual pages, goldcrest.1 and one for each command
#[derive(Clone, Debug, Args)]
pub(super) struct Manual {
    /// The directory to write them to, which has to be there
    #[arg(value_name = "DIR", value_parser = path())]
    directory: PathBuf,
}

impl Manual {
    pub(super) fn run(&self, command: Command) -> Result<(), Failure> {
        let pages = clap_mangen::generate_to(command, &self.directory);
        pages.map_err(|error| format!("cannot write to {}: {error}", self.directory.display()).into())
    }
}
