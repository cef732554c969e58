//! `goldcrest passwd`, and a gateway that reads its file.

use crate::support::server::{Server, goldcrest, text};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a command with this standard input.
fn passwd(args: &[&str], input: &str) -> Output {
    let mut child = goldcrest(&[&["passwd"], args].concat()).stdin(Stdio::piped()).spawn().unwrap();
    // A command that refuses at once does not read it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn done(args: &[&str], input: &str) -> String {
    let output = passwd(args, input);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn refused(args: &[&str], input: &str) -> String {
    let output = passwd(args, input);
    assert!(!output.status.success() && output.stdout.is_empty(), "{args:?}");
    text(&output.stderr)
}

#[test]
fn users_are_added_changed_checked_and_deleted() {
    let folder = Folder(std::env::temp_dir().join(format!("goldcrest-passwd-{}", std::process::id())));
    std::fs::create_dir(&folder.0).unwrap();
    let path = folder.0.join("passwords");
    let file = path.to_str().unwrap();
    assert_eq!(done(&["add", file, "ann"], "correct horse\r\nmore\n"), "");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(refused(&["add", file, "ann"], "x\n").contains("has a user \"ann\""));
    assert!(refused(&["add", file, "ben"], "\n").contains("a password is wanted"));
    assert!(refused(&["add", file, "ben"], &"x".repeat(4097)).contains("at most 4096 bytes"));
    let token = done(&["add", "--token", file, "pump"], "");
    assert!(token.starts_with("gct_") && token.len() == 37, "{token}");
    assert_eq!(done(&["check", file], ""), "ann argon2id\npump token\n");
    done(&["check", file, "ann"], "correct horse");
    done(&["check", file, "pump"], &token);
    assert!(refused(&["check", file, "ann"], "correct house\n").contains("not the password of \"ann\""));
    assert!(refused(&["check", file, "ben"], "x\n").contains("has no user \"ben\""));
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(!written.contains("horse") && !written.contains(token.trim_end()), "{written}");

    // The gateway takes both, and the clients of goldcrest can't say a password yet: those of MQTT do it here.
    let server = Server::run(goldcrest(&["--memory-only", "--config", &config(&folder, file)]).env("RUST_LOG", "info"));
    let connack = |user: &str, password: &str| connack(&server, user, password);
    assert_eq!((connack("ann", "correct horse"), connack("pump", token.trim_end())), (0, 0));
    assert_eq!((connack("ann", "correct house"), connack("ben", "correct horse")), (4, 4));
    done(&["change", file, "ann"], "battery staple\n");
    done(&["delete", file, "pump"], "");
    assert!(refused(&["delete", file, "pump"], "").contains("has no user \"pump\""));
    server.signal("HUP");
    let since = std::time::Instant::now();
    while connack("ann", "battery staple") != 0 {
        assert!(since.elapsed().as_secs() < 10, "the file is read anew");
    }
    assert_eq!((connack("ann", "correct horse"), connack("pump", token.trim_end())), (4, 4));
    server.signal("TERM");
    let mut server = server;
    let mut log = String::new();
    std::io::Read::read_to_string(&mut server.child.stderr.take().unwrap(), &mut log).unwrap();
    assert!(log.contains("refused a client: user ann: the password is wrong client=a address=127.0.0.1:"), "{log}");
    for secret in ["horse", "staple", token.trim_end(), "$argon2id$", "$token$"] {
        assert!(!log.contains(secret), "{log}");
    }
}

/// Writes a configuration that names the password file.
fn config(folder: &Folder, file: &str) -> String {
    let path = folder.0.join("goldcrest.toml");
    std::fs::write(&path, format!("[authentication]\npassword_file = {file:?}\nban_after = 0\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The return code of CONNACK for a client of MQTT 3.1.1.
fn connack(server: &Server, user: &str, password: &str) -> u8 {
    use crate::support::connect_packet;
    use goldcrest_core::codec::{Connect, Packet, Version};
    let mut bytes = Vec::new();
    let connect = Connect {
        version: Version::V3_1_1,
        user_name: Some(user),
        password: Some(password.as_bytes()),
        ..connect_packet("a")
    };
    Packet::Connect(connect).encode(Version::V3_1_1, &mut bytes);
    let mut stream = std::net::TcpStream::connect(server.address).unwrap();
    stream.write_all(&bytes).unwrap();
    let mut ack = [0; 4];
    std::io::Read::read_exact(&mut stream, &mut ack).unwrap();
    ack[3]
}
