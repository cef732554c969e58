//! The `goldcrest` process and its system: signals, pipes without readers, full devices, fewer cores.

use crate::support::folder::Folder;
use crate::support::server::{Server, goldcrest, run, text};
use crate::support::wait_until;
use goldcrest::{Access, Config, Gateway, StartError};
use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The most that is waited for something.
const PATIENCE: Duration = Duration::from_secs(30);

/// CONNECT of MQTT 5.0.
const CONNECT: [u8; 15] = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 0, 0, 0];

/// Whether the gateway serves a new client.
fn is_served(address: SocketAddr) -> bool {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    client.write_all(&CONNECT).unwrap();
    client.read_exact(&mut [0; 4]).is_ok()
}

/// A bug of the past: shards wrote to the pipe themselves and stood still once it was full.
#[test]
fn a_log_without_a_reader_makes_no_client_wait() {
    // More lines than the pipe and the queue of lines before it have room for.
    const CLIENTS: usize = 3000;
    let mut server = Server::start(&["--shards", "2", "--log", "debug"]);
    for n in 0..CLIENTS {
        assert!(is_served(server.address), "client {n}");
    }
    let log = BufReader::new(server.child.stderr.take().unwrap());
    let has_note = Arc::new(AtomicBool::new(false));
    let sees_note = has_note.clone();
    let reading = std::thread::spawn(move || {
        const NOTE: &str =
            " log lines are missing here: they could not be written, or nobody read those before in time";
        let mut behind_note = Vec::new();
        for line in log.lines().map(Result::unwrap) {
            if sees_note.load(Ordering::Relaxed) {
                behind_note.push(line);
            } else if line.ends_with(NOTE) {
                sees_note.store(true, Ordering::Relaxed);
            }
        }
        behind_note
    });
    // Now that the test reads, there is room for further lines, with a note about the missing ones before the first.
    wait_until(PATIENCE, "there is a note", || {
        assert!(is_served(server.address));
        has_note.load(Ordering::Relaxed)
    });
    server.signal("TERM");
    assert_eq!(server.wait().1, Some(0));
    // Lines about connections that have just ended may follow.
    assert!(reading.join().unwrap().iter().any(|line| line.contains("stopping")), "its last words are there");
}

/// The end of the process does not wait for a reader of the log.
#[test]
fn a_log_without_a_reader_does_not_keep_the_gateway_from_stopping() {
    let server = Server::start(&["--shards", "2", "--log", "debug"]);
    for n in 0..3000 {
        assert!(is_served(server.address), "client {n}");
    }
    server.signal("TERM");
    let since = Instant::now();
    assert_eq!(server.wait().1, Some(0));
    assert!(since.elapsed() < Duration::from_secs(10));
}

#[test]
fn full_devices_and_closed_output_streams_do_no_harm() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let mut command = goldcrest(&["--memory-only", "--log", "debug"]);
    let server = Server::run(command.stderr(full()));
    (0..50).for_each(|_| assert!(is_served(server.address)));
    server.signal("TERM");
    assert_eq!(server.wait().1, Some(0));

    let mut closed = Command::new("sh");
    closed.args(["-c", "exec \"$0\" \"$@\" 2>&-", env!("CARGO_BIN_EXE_goldcrest"), "--memory-only", "--log", "debug"]);
    let server = Server::run(closed.stdin(Stdio::null()).stdout(Stdio::piped()));
    (0..50).for_each(|_| assert!(is_served(server.address)));
    server.signal("TERM");
    assert_eq!(server.wait().1, Some(0));

    // Errors end with their own exit codes, though nothing can be printed.
    for (args, code) in [(vec!["--shards", "0"], 2), (vec!["--config", "/does/not/exist"], 1), (vec!["sub"], 2)] {
        assert_eq!(goldcrest(&args).stderr(full()).status().unwrap().code(), Some(code), "{args:?}");
    }
}

/// A pipe that is full because it is not read. Dropping the reader closes it.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b' '; 4096]).is_ok() {}
    while writer.write(b" ").is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

#[test]
fn an_error_without_a_reader_ends_the_command_with_its_exit_code() {
    let folder = Folder::made("unread");
    let nothing = folder.path().to_str().unwrap();
    for (args, code) in [
        (vec!["--shards", "0"], 2),
        (vec!["--config", "/does/not/exist"], 1),
        (vec!["--memory-only", "--listen", "192.0.2.1:0", "--log", "loud"], 1),
        (vec!["sub"], 2),
        (vec!["pub", "-t", "a", "-m", "m", "-h", "127.0.0.1", "-p", "1"], 1),
        (vec!["budget", "--sessions", "0"], 2),
        (vec!["store", "check", "--data-dir", nothing], 1),
    ] {
        let (_reader, writer) = full_pipe();
        let mut child = goldcrest(&args).stderr(writer).spawn().unwrap();
        wait_until(PATIENCE, &format!("{args:?} has ended"), || child.try_wait().unwrap().is_some());
        assert_eq!(child.wait().unwrap().code(), Some(code), "{args:?}");
    }
}

/// A bug of the past: the main thread stood still, and no signal was handled any more.
#[test]
fn a_greeting_without_a_reader_makes_no_client_wait() {
    let (_reader, writer) = full_pipe();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = goldcrest(&["--memory-only", "--listen", &address.to_string()]);
    let mut child = command.stdout(writer).stderr(Stdio::null()).spawn().unwrap();
    wait_until(PATIENCE, "it serves", || TcpStream::connect(address).is_ok());
    assert!(is_served(address));
    let pid = rustix::process::Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    wait_until(PATIENCE, "it stopped", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn commands_succeed_if_their_reader_stops_and_fail_on_a_full_device() {
    for args in [
        &["--help"][..],
        &["--version"],
        &["sub", "--help"],
        &["pub", "--help"],
        &["budget"],
        &["budget", "--help"],
        &["store", "--help"],
        &["completions", "bash"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = goldcrest(args).stdout(writer).spawn().unwrap().wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{args:?}");
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = goldcrest(args).stdout(full).spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(text(&output.stderr).starts_with("goldcrest: cannot write standard output: No space"), "{args:?}");
    }
}

/// A bug of the past: the process stood still without a word about the reason.
#[test]
fn waiting_for_a_configuration_from_a_pipe_is_reported() {
    let folder = Folder::made("fifo");
    let fifo = folder.path().join("gateway.toml");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut child = goldcrest(&["--memory-only", "--config", fifo.to_str().unwrap()]).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        let mut said = String::new();
        log.read_line(&mut said).unwrap();
        let _ = tell.send(std::mem::take(&mut said));
        log.read_to_string(&mut said).unwrap();
        said
    });
    let said = told.recv_timeout(Duration::from_secs(30));
    if said.is_err() {
        child.kill().unwrap();
    }
    let words =
        format!("goldcrest: waits for the configuration: nobody has written {} to its end yet\n", fifo.display());
    assert_eq!(said, Ok(words));
    std::fs::write(&fifo, "shards = 0").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let said = reading.join().unwrap();
    assert!(said.contains("gateway.toml:1: shards: 0 is not allowed"), "{said}");
}

#[test]
fn the_error_for_an_empty_path_names_its_option() {
    for args in [
        &["--config", ""][..],
        &["--data-dir", ""],
        &["budget", "--config="],
        &["store", "check", "--data-dir", ""],
        &["store", "stats", "--config", ""],
    ] {
        let output = run(args);
        let option = args.iter().find(|arg| arg.starts_with("--")).unwrap().trim_end_matches('=');
        let said = text(&output.stderr);
        assert!(said.starts_with(&format!("goldcrest: the value of {option} is empty: a path is wanted\n")), "{said}");
        assert_eq!(output.status.code(), Some(2));
    }
    assert_eq!(run(&["store", "backup", ""]).status.code(), Some(2));
}

#[test]
fn a_wrong_rust_log_is_reported_and_one_for_a_library_silences_no_other() {
    let output = goldcrest(&["--memory-only", "--listen", "127.0.0.1:0"]).env("RUST_LOG", "rumqttd").output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("\"rumqttd\"") && said.contains("RUST_LOG") && said.contains("debug or trace"), "{said}");
    let mut server = Server::run(goldcrest(&["--memory-only"]).env("RUST_LOG", "hyper=debug"));
    let mut log = server.child.stderr.take().unwrap();
    server.signal("TERM");
    assert_eq!(server.wait().1, Some(0));
    let mut logged = String::new();
    log.read_to_string(&mut logged).unwrap();
    assert!(logged.contains("INFO stopping"), "{logged}");
}

/// Closing a terminal, logrotate and `systemctl reload` send SIGHUP; users of Mosquitto may send SIGUSR1.
#[test]
fn signals_that_do_not_ask_for_the_end_do_not_end_the_gateway() {
    let mut server = Server::start(&[]);
    let mut log = server.child.stderr.take().unwrap();
    for _ in 0..3 {
        for signal in ["HUP", "USR1", "USR2"] {
            server.signal(signal);
            assert!(is_served(server.address), "after SIG{signal}");
        }
    }
    server.signal("TERM");
    assert_eq!(server.wait().1, Some(0));
    let mut logged = String::new();
    log.read_to_string(&mut logged).unwrap();
    for signal in ["SIGHUP", "SIGUSR1", "SIGUSR2"] {
        assert_eq!(logged.matches(&format!("{signal} is ignored")).count(), 1, "{logged}");
    }
}

/// A bug of the past: a gateway that could use fewer cores today rewrote all of its store, and at the next start rewrote it
/// back.
#[test]
fn a_store_keeps_its_number_of_shards_until_another_is_configured() {
    let folder = Folder::made("shards");
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    let shards = || {
        let said = text(&run(&["store", "check", "--data-dir", data]).stdout);
        said.split_once(" shards").unwrap().0.rsplit_once(' ').unwrap().1.parse::<u16>().unwrap()
    };
    let start = |args: &[&str]| {
        let mut server = Server::run(&mut goldcrest(&[args, &["--data-dir", data]].concat()));
        let mut log = server.child.stderr.take().unwrap();
        // Leaves time for messages under way between shards to arrive, which usually suffices.
        std::thread::sleep(Duration::from_millis(200));
        server.signal("TERM");
        assert_eq!(server.wait().1, Some(0));
        let mut logged = String::new();
        log.read_to_string(&mut logged).unwrap();
        logged
    };
    // A number that the test's machine would not choose by itself.
    let server = Server::run(&mut goldcrest(&["--shards", "37", "--data-dir", data]));
    assert!(run(&["pub", "-p", &server.port(), "-t", "state", "-m", "on", "-r", "-q", "1"]).status.success());
    drop(server);
    assert_eq!(shards(), 37);
    let logged = start(&[]);
    assert_eq!(shards(), 37);
    assert!(logged.contains("shards: 37, as the store has been made for, and not "), "{logged}");
    // The default is as many shards as there are cores, minus one.
    let advised = (std::thread::available_parallelism().unwrap().get() as u16 - 1).max(1);
    let mut starts = 0;
    while shards() != advised {
        start(&["--shards", "auto"]);
        starts += 1;
        assert!(starts < 10, "the number is never changed");
    }
    let logged = start(&[]);
    assert!(!logged.contains("as the store has been made for"), "{logged}");
}

#[test]
fn a_start_that_is_given_up_leaves_the_store_unchanged() {
    let folder = Folder::made("given-up");
    let local = || goldcrest::Listener::new("127.0.0.1:0".parse().unwrap());
    let config = |shards| Config {
        listeners: vec![local()],
        shards,
        data_dir: Some(folder.path().join("data")),
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let gateway = Gateway::start(&config(2)).unwrap();
    let port = gateway.addresses()[0].port().to_string();
    assert!(run(&["pub", "-p", &port, "-t", "state", "-m", "on", "-r", "-q", "1"]).status.success());
    runtime.block_on(gateway.shut_down());
    // With 2 shards the store would only be read; with 3 it would be rewritten.
    for shards in [2, 3] {
        let gives_up = Arc::new(AtomicBool::new(true));
        assert!(matches!(Gateway::start_unless(&config(shards), Access::new(), &gives_up), Err(StartError::GivenUp)));
        let said = text(&run(&["store", "check", "--data-dir", &format!("{}/data", folder.path().display())]).stdout);
        assert!(said.contains("of 2 shards") && said.ends_with("sound\n"), "{said}");
    }
    let gateway = Gateway::start(&config(2)).unwrap();
    let port = gateway.addresses()[0].port().to_string();
    assert_eq!(text(&run(&["sub", "-p", &port, "-t", "state", "-C", "1"]).stdout), "on\n");
    runtime.block_on(gateway.shut_down());
}
