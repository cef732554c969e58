//! Reads the configuration file as text, and says in words if the file is not UTF-8 text.

use super::ConfigError;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The most bytes of the configuration.
const MOST: usize = 1 << 20;

pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    read_text(path, MOST)
}

/// Reads a file of at most so many bytes. A device like /dev/zero never ends.
///
/// # Errors
/// The file can't be read, is too long, or is no text.
pub(crate) fn read_text(path: &Path, most: usize) -> Result<String, ConfigError> {
    let mistake = |line, message: String| ConfigError { file: path.to_owned(), line, key: String::new(), message };
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    let bytes = read().map_err(|error| match error.kind() {
        std::io::ErrorKind::IsADirectory => mistake(0, "it is a directory; a TOML file is wanted".to_owned()),
        std::io::ErrorKind::PermissionDenied => {
            let user = rustix::process::geteuid().as_raw();
            mistake(0, format!("{error}: the user who runs this, {user}, has to be allowed to read it"))
        }
        _ => mistake(0, error.to_string()),
    })?;
    if bytes.len() > most {
        return Err(mistake(0, format!("it has more than {most} bytes: it is no configuration")));
    }
    if bytes.starts_with(&[0xff, 0xfe, 0, 0]) || bytes.starts_with(&[0, 0, 0xfe, 0xff]) {
        return Err(mistake(0, "it is in UTF-32; TOML is UTF-8: save it as that".to_owned()));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(mistake(0, "it is in UTF-16; TOML is UTF-8: save it as that".to_owned()));
    }
    let line_of = |at: usize| 1 + bytes[..at].iter().filter(|&&byte| byte == b'\n').count();
    if let Some(at) = bytes.iter().position(|&byte| byte == 0) {
        let message = "it has a byte 0, as UTF-16 does; TOML is UTF-8: save it as that";
        return Err(mistake(line_of(at), message.to_owned()));
    }
    let whole = std::str::from_utf8(&bytes).map(str::to_owned);
    whole.map_err(|error| {
        mistake(line_of(error.valid_up_to()), "it is not UTF-8 here, as TOML is: save it as that".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use std::os::unix::ffi::OsStrExt;

    /// Reads a configuration from a file with these bytes, and returns one of its values.
    fn config(bytes: &[u8]) -> Result<u16, String> {
        let unique = std::thread::current().name().unwrap().replace("::", "-");
        let path = std::env::temp_dir().join(format!("goldcrest-{unique}-{}.toml", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        let read = Config::from_file(&path).map(|config| config.shards);
        std::fs::remove_file(&path).unwrap();
        let name = String::from_utf8(path.as_os_str().as_bytes().to_vec()).unwrap();
        read.map_err(|error| error.to_string().replace(&name, "FILE"))
    }

    #[test]
    fn configuration_files_written_on_windows_are_read() {
        assert_eq!(config(b"\xef\xbb\xbf# comment\r\nshards = 3\r\n[limits]\r\ninflight = 7\r\n"), Ok(3));
        assert_eq!(config(b"\xef\xbb\xbfshards = 3"), Ok(3));
        let mistake = config(b"\xef\xbb\xbfshards = 3\r\n[limits]\r\ninflight = 0\r\n").unwrap_err();
        assert!(mistake.starts_with("FILE:3: limits.inflight: 0 is not allowed"), "{mistake}");
    }

    #[test]
    fn a_file_that_is_not_utf_8_is_reported_in_words() {
        let utf_16 =
            |bytes: fn(u16) -> [u8; 2]| "\u{feff}shards = 3\n".encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        for bytes in [utf_16(u16::to_le_bytes), utf_16(u16::to_be_bytes)] {
            assert_eq!(config(&bytes).unwrap_err(), "FILE: it is in UTF-16; TOML is UTF-8: save it as that");
            let without_mark = config(&bytes[2..]).unwrap_err();
            assert!(without_mark.starts_with("FILE:1: it has a byte 0, as UTF-16 does"), "{without_mark}");
        }
        let utf_32: Vec<u8> = "\u{feff}shards = 3\n".chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
        assert_eq!(config(&utf_32).unwrap_err(), "FILE: it is in UTF-32; TOML is UTF-8: save it as that");
        let latin_1 = config(b"shards = 3\ndata_dir = \"/caf\xe9\"\n").unwrap_err();
        assert!(latin_1.starts_with("FILE:2: it is not UTF-8 here"), "{latin_1}");
    }

    #[test]
    fn a_path_that_is_not_a_file_is_reported_in_words() {
        let mistake = |path: &str| Config::from_file(Path::new(path)).unwrap_err().to_string();
        assert_eq!(mistake("/"), "/: it is a directory; a TOML file is wanted");
        assert!(mistake("/dev/zero").starts_with("/dev/zero: it has more than"));
        assert!(mistake("/does/not/exist").starts_with("/does/not/exist: No such file"));
    }
}
