//! The directory for sessions and messages, if neither the configuration nor the command line names one.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// `$STATE_DIRECTORY` where systemd sets it, else `goldcrest` in `$XDG_STATE_HOME` or in `~/.local/state`.
pub(crate) fn default_data_dir() -> Option<PathBuf> {
    choose(|name| env::var_os(name), env::home_dir())
}

/// Ignores a path that is not absolute, as the XDG Base Directory Specification says.
fn choose(variable: impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    // With several StateDirectory= systemd separates the paths by colons.
    let state = variable("STATE_DIRECTORY").and_then(|state| env::split_paths(&state).next());
    if let Some(state) = state.filter(|state| state.is_absolute()) {
        return Some(state);
    }
    let xdg = variable("XDG_STATE_HOME").map(PathBuf::from).filter(|xdg| xdg.is_absolute());
    let states = xdg.or_else(|| Some(home.filter(|home| home.is_absolute())?.join(".local/state")))?;
    Some(states.join("goldcrest"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(variables: &[(&str, &str)], home: Option<&str>) -> Option<String> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        choose(find, home.map(PathBuf::from)).map(|path| path.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_directory_of_systemd_comes_before_that_of_xdg_and_the_home_directory() {
        let all = [("STATE_DIRECTORY", "/var/lib/gc:/var/lib/other"), ("XDG_STATE_HOME", "/xdg")];
        assert_eq!(chosen(&all, Some("/home/ada")).as_deref(), Some("/var/lib/gc"));
        assert_eq!(chosen(&all[1..], Some("/home/ada")).as_deref(), Some("/xdg/goldcrest"));
        assert_eq!(chosen(&[], Some("/home/ada")).as_deref(), Some("/home/ada/.local/state/goldcrest"));
        assert_eq!(chosen(&[], None), None);
    }

    #[test]
    fn variables_with_an_empty_or_relative_path_count_as_unset() {
        for unset in ["", "state"] {
            let variables = [("STATE_DIRECTORY", unset), ("XDG_STATE_HOME", unset)];
            assert_eq!(chosen(&variables, Some("/h")).as_deref(), Some("/h/.local/state/goldcrest"));
            assert_eq!(chosen(&variables, Some(unset)), None);
        }
    }
}
