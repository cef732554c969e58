//! Passwords from a terminal, which does not show them, or from standard input.

use super::Failure;
use rustix::io::{Errno, read};
use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use zeroize::Zeroizing;

/// The longest password, in bytes, as long as the gateway takes.
const MOST: usize = 4096;

/// Reads a password.
///
/// # Errors
/// It can't be read, or is empty or too long.
pub(super) fn password() -> Result<Zeroizing<Vec<u8>>, Failure> {
    ask("Password: ")
}

/// Reads a new password: twice at a terminal, where nobody sees what is typed.
///
/// # Errors
/// As [`password`]; or the two differ.
pub(super) fn new_password() -> Result<Zeroizing<Vec<u8>>, Failure> {
    let password = ask("New password: ")?;
    if isatty(std::io::stdin()) && ask("The same again: ")? != password {
        return Err("the two passwords differ; nothing has changed".into());
    }
    Ok(password)
}

fn ask(question: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let _silence = Silence::begin(question)?;
    let password = line()?;
    match password.len() {
        0 => Err("a password is wanted, and there is none".into()),
        len if len > MOST => Err(format!("a password has at most {MOST} bytes").into()),
        _ => Ok(password),
    }
}

/// Reads a line of standard input, without its end and without a buffer that would keep it.
fn line() -> Result<Zeroizing<Vec<u8>>, Failure> {
    // Room for all of it: a list that grows would leave its beginning behind.
    let mut line = Zeroizing::new(Vec::with_capacity(MOST + 2));
    while line.len() <= MOST + 1 {
        let mut byte = [0];
        match read(std::io::stdin().as_fd(), &mut byte) {
            Ok(0) => break,
            Ok(_) if byte == *b"\n" => break,
            Ok(_) => line.push(byte[0]),
            Err(Errno::INTR) => {}
            Err(error) => return Err(format!("cannot read standard input: {error}").into()),
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

/// A terminal that does not show what is typed, as long as this is there.
struct Silence(Option<Termios>);

impl Silence {
    /// Asks `question` if standard input is a terminal; does nothing otherwise.
    fn begin(question: &str) -> Result<Self, Failure> {
        let stdin = std::io::stdin();
        if !isatty(&stdin) {
            return Ok(Self(None));
        }
        let fault = |error: Errno| format!("cannot ask at this terminal: {error}");
        let before = tcgetattr(&stdin).map_err(fault)?;
        let mut silent = before.clone();
        silent.local_modes -= LocalModes::ECHO;
        silent.local_modes |= LocalModes::ECHONL;
        tcsetattr(&stdin, OptionalActions::Flush, &silent).map_err(fault)?;
        let silence = Self(Some(before));
        let mut terminal = std::io::stderr();
        terminal.write_all(question.as_bytes()).and_then(|()| terminal.flush())?;
        Ok(silence)
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, before);
        }
    }
}
