//! `goldcrest passwd`: the users of a password file.
//!
//! ```text
//! edit    a password file that is being changed
//! prompt  passwords from a terminal or from standard input
//! ```

mod edit;
mod prompt;

use self::edit::Editing;
use super::args::{any, path, text};
use super::{Failure, print};
use crate::access::{PasswordHash, PasswordLine, check_name, lines, read_text};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use zeroize::Zeroizing;

/// Add, change, delete and check users and their passwords in a file
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "No password is taken from the command line, where other users of the machine could see it: it is asked for at the terminal, or read \
    from standard input up to the end of its first line. The gateway reads a file that has changed within five seconds."
)]
pub(super) struct PasswordOptions {
    #[command(subcommand)]
    command: PasswordCommand,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum PasswordCommand {
    /// Add a user; makes the file if it is not there
    Add(SetOptions),
    /// Give a user another password
    Change(SetOptions),
    /// Delete a user
    Delete(UserOptions),
    /// Check a file and list its users, or check the password of one user
    Check(CheckOptions),
}

#[derive(Clone, Debug, clap::Args)]
struct UserOptions {
    /// The password file
    #[arg(value_name = "FILE", value_parser = path())]
    file: PathBuf,
    /// The name of the user
    #[arg(value_name = "USER", value_parser = text(user_name))]
    user: String,
}

#[derive(Clone, Debug, clap::Args)]
struct SetOptions {
    #[command(flatten)]
    of: UserOptions,
    /// Make a random token for a device and print it, instead of asking for a password: it is checked much faster
    #[arg(long, overrides_with = "token")]
    token: bool,
}

#[derive(Clone, Debug, clap::Args)]
struct CheckOptions {
    /// The password file
    #[arg(value_name = "FILE", value_parser = path())]
    file: PathBuf,
    /// The user whose password is checked
    #[arg(value_name = "USER", value_parser = text(any))]
    user: Option<String>,
}

fn user_name(name: &str) -> Result<String, String> {
    check_name(name).map(|()| name.to_owned())
}

impl PasswordOptions {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        match self.command {
            PasswordCommand::Add(SetOptions { of: UserOptions { file, user }, token }) => {
                // Asked before a password is typed in vain.
                if file.exists() && Editing::open(&file)?.has(&user) {
                    return Err(format!(
                        "{} has a user {user:?}; goldcrest passwd change gives another password",
                        file.display()
                    )
                    .into());
                }
                let (shown, hash) = new_proof(token)?;
                let mut editing = Editing::open_or_make(&file)?;
                if !editing.add(&user, &hash) {
                    return Err(format!("somebody has added {user:?} to {} meanwhile", file.display()).into());
                }
                editing.save()?;
                show(shown)
            }
            PasswordCommand::Change(SetOptions { of: UserOptions { file, user }, token }) => {
                if !Editing::open(&file)?.has(&user) {
                    return Err(no_user(&file, &user));
                }
                let (shown, hash) = new_proof(token)?;
                let mut editing = Editing::open(&file)?;
                if !editing.change(&user, &hash) {
                    return Err(no_user(&file, &user));
                }
                editing.save()?;
                show(shown)
            }
            PasswordCommand::Delete(UserOptions { file, user }) => {
                let mut editing = Editing::open(&file)?;
                if !editing.delete(&user) {
                    return Err(no_user(&file, &user));
                }
                editing.save()?;
                Ok(ExitCode::SUCCESS)
            }
            PasswordCommand::Check(CheckOptions { file, user: None }) => list(&file),
            PasswordCommand::Check(CheckOptions { file, user: Some(user) }) => check(&file, &user),
        }
    }
}

fn no_user(file: &Path, user: &str) -> Failure {
    format!("{} has no user {user:?}", file.display()).into()
}

/// The hash of a new password, or of a new token, and the token.
fn new_proof(is_token: bool) -> Result<(Option<Zeroizing<String>>, PasswordHash), Failure> {
    if is_token {
        let (token, hash) = PasswordHash::new_token()?;
        return Ok((Some(token), hash));
    }
    Ok((None, PasswordHash::of_password(&prompt::new_password()?)?))
}

fn show(token: Option<Zeroizing<String>>) -> Result<ExitCode, Failure> {
    if let Some(token) = token {
        print(&Zeroizing::new(format!("{}\n", *token)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists the users with the kinds of their hashes.
fn list(file: &Path) -> Result<ExitCode, Failure> {
    let text = read_text(file)?;
    let mut users = String::new();
    for line in lines(file, &text) {
        if let PasswordLine::User { name, hash } = line? {
            users += &format!("{name} {}\n", hash.kind());
        }
    }
    print(&users)?;
    Ok(ExitCode::SUCCESS)
}

/// Says whether a password is that of the user.
fn check(file: &Path, user: &str) -> Result<ExitCode, Failure> {
    let text = read_text(file)?;
    let mut found = None;
    for line in lines(file, &text) {
        match line? {
            PasswordLine::User { name, hash } if name == user => found = Some(hash),
            _ => {}
        }
    }
    let hash = found.ok_or_else(|| no_user(file, user))?;
    if !hash.verify(&prompt::password()?) {
        return Err(format!("this is not the password of {user:?}").into());
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::super::tests::mistake;

    #[test]
    fn mistakes_in_options_for_passwords_say_what_is_wanted() {
        assert!(mistake(&["passwd", "add", "f", "a:b"]).contains("can't be a user"));
        assert!(mistake(&["passwd", "add", "f"]).contains("USER"));
        assert!(mistake(&["passwd", "add", "f", "ann", "secret"]).contains("secret"));
        assert!(mistake(&["passwd", "ad", "f", "ann"]).contains("did you mean add?"));
    }
}
