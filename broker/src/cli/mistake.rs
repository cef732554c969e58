//! Errors about a command line, each as one line that names the wrong option or word.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Error};
use std::error::Error as _;

/// Describes in one line the `error` in a command line of `command`.
pub(super) fn in_one_line(error: &Error, command: &Command) -> String {
    let value = one(error, ContextKind::InvalidValue).unwrap_or_default();
    let option = one(error, ContextKind::InvalidArg).map(|shown| name(command, shown)).unwrap_or_default();
    let suggested = suggestion(error);
    match error.kind() {
        ErrorKind::ValueValidation if value.is_empty() => {
            format!("the value of {option} is empty: {}", wanted(error))
        }
        ErrorKind::ValueValidation => format!("cannot parse argument {value:?} of {option}: {}", wanted(error)),
        ErrorKind::InvalidValue if value.is_empty() => format!("{option} needs a value, which is missing"),
        ErrorKind::InvalidValue => {
            let values = listed(error, ContextKind::ValidValue, "or");
            format!("cannot parse argument {value:?} of {option}: {values} is wanted{suggested}")
        }
        ErrorKind::UnknownArgument if !option.starts_with('-') => format!("{option:?} is one word too many"),
        ErrorKind::UnknownArgument => format!("{option} is no option{suggested}"),
        ErrorKind::InvalidSubcommand => {
            let word = one(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            let serves = if command.is_subcommand_required_set() { "" } else { ", and without one it serves" };
            format!("{word:?} is no subcommand; there are {}{serves}{suggested}", subcommands(command, "and"))
        }
        ErrorKind::MissingSubcommand => format!("{} is wanted", subcommands(command, "or")),
        ErrorKind::MissingRequiredArgument => missing(error, command),
        ErrorKind::ArgumentConflict => conflict(error, command, &option),
        _ => error.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

/// The values that the option accepts, as the parser of the value describes them.
fn wanted(error: &Error) -> String {
    error.source().map(ToString::to_string).unwrap_or_default()
}

fn missing(error: &Error, command: &Command) -> String {
    let describe = |shown: &String| match find(command, shown) {
        Some(arg) => {
            let help = arg.get_help().map(|help| format!(": {help}")).unwrap_or_default();
            let value = arg.get_value_names().unwrap_or_default().first().map(ToString::to_string).unwrap_or_default();
            let name = if arg.is_positional() { value } else { format!("{} {value}", name_of(arg)) };
            format!("{name} is missing{help}")
        }
        None => format!("{shown} is missing"),
    };
    many(error, ContextKind::InvalidArg).iter().map(describe).collect::<Vec<_>>().join("; ")
}

fn conflict(error: &Error, command: &Command, option: &str) -> String {
    let mut others = many(error, ContextKind::PriorArg);
    others.extend(one(error, ContextKind::PriorArg).map(str::to_owned));
    let others: Vec<String> = others.iter().map(|shown| name(command, shown)).collect();
    if others == [option] {
        return format!("{option} is given more than once, and takes one value");
    }
    let subcommand = one(error, ContextKind::InvalidSubcommand);
    let one = subcommand.map_or_else(|| option.to_owned(), |word| format!("the subcommand {word}"));
    format!("{one} cannot be used with {}", joined(&others, "and"))
}

/// A similar word that the user perhaps meant, as the end of a sentence; empty if no word is similar.
fn suggestion(error: &Error) -> String {
    let kinds = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue];
    let suggested = kinds
        .iter()
        .find_map(|kind| one(error, *kind).map(str::to_owned).or_else(|| many(error, *kind).into_iter().next()));
    suggested.map(|suggested| format!("; did you mean {suggested}?")).unwrap_or_default()
}

fn subcommands(command: &Command, last: &str) -> String {
    joined(&command.get_subcommands().map(|it| it.get_name().to_owned()).collect::<Vec<_>>(), last)
}

fn listed(error: &Error, kind: ContextKind, last: &str) -> String {
    joined(&many(error, kind), last)
}

/// The words as a list in a sentence, like `a, b and c`.
fn joined(words: &[String], last: &str) -> String {
    match words {
        [] => String::new(),
        [word] => word.clone(),
        [words @ .., end] => format!("{} {last} {end}", words.join(", ")),
    }
}

fn one(error: &Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text),
        _ => None,
    }
}

fn many(error: &Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

/// The option that clap shows as `shown`, like `--port <PORT>`.
fn find<'a>(command: &'a Command, shown: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| arg.to_string() == shown)
}

fn name(command: &Command, shown: &str) -> String {
    find(command, shown).map_or_else(|| shown.to_owned(), name_of)
}

/// The names of an option, as `--help` has them: `-p, --port`.
fn name_of(arg: &Arg) -> String {
    match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        (None, Some(long)) => format!("--{long}"),
        (Some(short), None) => format!("-{short}"),
        (None, None) => arg.to_string(),
    }
}
