//! The `goldcrest` command as its users see it.

use crate::support::server::{Server, goldcrest, run, text};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

#[test]
fn goldcrest_prints_where_it_listens_and_stops_in_order() {
    for signal in ["TERM", "INT"] {
        let data_dir = std::env::temp_dir().join(format!("goldcrest-command-{}-{signal}", std::process::id()));
        let data_dir = data_dir.to_str().unwrap();
        let server = Server::run(&mut goldcrest(&["--data-dir", data_dir]));
        let port = server.port();
        let mut subscriber = goldcrest(&["sub", "-p", &port, "-t", "a"]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        server.signal(signal);
        let (said, code) = server.wait();
        assert_eq!(code, Some(0));
        assert!(said.contains(&format!("messages are kept in {data_dir}\n")), "{said}");
        std::fs::remove_dir_all(data_dir).unwrap();
        assert!(said.contains(&format!("mosquitto_pub -h 127.0.0.1 -p {port} -t")), "{said}");
        assert_eq!(subscriber.wait().unwrap().code(), Some(1));
        let mut complaint = String::new();
        subscriber.stderr.unwrap().read_to_string(&mut complaint).unwrap();
        assert!(complaint.contains("Server shutting down (0x8B)"), "{complaint}");
        assert!(!std::path::Path::new("/does/not/exist").exists());
    }
}

#[test]
fn by_default_goldcrest_keeps_messages_on_disk_for_one_process_at_a_time() {
    let state = std::env::temp_dir().join(format!("goldcrest-state-{}", std::process::id()));
    let start = || Server::run(goldcrest(&["--shards", "1"]).env("XDG_STATE_HOME", &state));
    let server = start();
    let data_dir = state.join("goldcrest");
    assert!(data_dir.is_dir());
    assert!(run(&["pub", "-p", &server.port(), "-t", "state", "-m", "on", "-r", "-q", "1"]).status.success());
    let second = goldcrest(&["--listen", "127.0.0.1:0"]).env("XDG_STATE_HOME", &state).output().unwrap();
    assert_eq!(
        text(&second.stderr),
        format!(
            "goldcrest: cannot use the store in {}: another process uses the store; --data-dir DIR takes another \
             directory, --memory-only keeps nothing across restarts\n",
            data_dir.display()
        )
    );
    server.signal("KILL");
    let (said, _) = server.wait();
    assert!(said.contains(&format!("messages are kept in {}\n", data_dir.display())), "{said}");
    let server = start();
    let printed = run(&["sub", "-p", &server.port(), "-t", "state", "-C", "1"]);
    assert_eq!((text(&printed.stdout).as_str(), printed.status.code()), ("on\n", Some(0)));
    drop(server);
    std::fs::remove_dir_all(state).unwrap();
}

#[test]
fn memory_only_warns_that_messages_can_be_lost() {
    let mut server = Server::start(&[]);
    let mut log = server.child.stderr.take().unwrap();
    server.signal("TERM");
    let (said, _) = server.wait();
    assert!(said.contains("messages are kept in memory alone, and gone after a stop"), "{said}");
    let mut logged = String::new();
    log.read_to_string(&mut logged).unwrap();
    assert!(logged.contains("WARN") && logged.contains("memory only: a stop or a crash loses"), "{logged}");
}

#[test]
fn a_second_signal_ends_goldcrest_at_once() {
    let server = Server::start(&[]);
    let mut silent = std::net::TcpStream::connect(server.address).unwrap();
    // Without the second signal the command would wait for this connected client, which neither reads its DISCONNECT nor closes.
    silent.write_all(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 0, 0, 0]).unwrap();
    silent.read_exact(&mut [0; 4]).unwrap();
    let since = Instant::now();
    server.signal("TERM");
    std::thread::sleep(Duration::from_millis(200));
    server.signal("TERM");
    let (_, code) = server.wait();
    assert_eq!(code, Some(1));
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
}

#[test]
fn goldcrest_sub_prints_messages_of_goldcrest_pub() {
    let server = Server::start(&["--shards", "2"]);
    let port = server.port();
    for (version, qos) in [("3.1", "0"), ("3.1.1", "1"), ("5", "2")] {
        let sub = ["sub", "-p", &port, "-t", "demo/+", "-t", "other", "-v", "-C", "4", "-q", qos, "--mqtt", version];
        let mut subscriber = goldcrest(&sub).spawn().unwrap();
        let mut lines_of_sub = BufReader::new(subscriber.stdout.take().unwrap());
        std::thread::sleep(Duration::from_millis(500));
        let published = run(&["pub", "-p", &port, "-t", "demo/room", "-m", "21.5", "-q", qos, "--mqtt", version]);
        assert!(published.status.success(), "{}", text(&published.stderr));
        // Messages of two clients on two shards have no order, unless the second client waits for the effect of the first. So this waits for the
        // first line.
        let mut printed = String::new();
        lines_of_sub.read_line(&mut printed).unwrap();
        let mut lines =
            goldcrest(&["pub", "-p", &port, "-t", "other", "-q", qos]).stdin(Stdio::piped()).spawn().unwrap();
        lines.stdin.take().unwrap().write_all(b"one\n\ntwo").unwrap();
        assert!(lines.wait().unwrap().success());
        lines_of_sub.read_to_string(&mut printed).unwrap();
        let ended = subscriber.wait_with_output().unwrap();
        assert!(ended.status.success(), "{}", text(&ended.stderr));
        assert_eq!(printed, "demo/room 21.5\nother one\nother \nother two\n");
    }
}

#[test]
fn goldcrest_sub_gets_a_retained_message_of_goldcrest_pub() {
    let server = Server::start(&[]);
    let port = server.port();
    assert!(run(&["pub", "-p", &port, "-t", "state", "-m", "on", "-r", "-q", "1"]).status.success());
    let printed = run(&["sub", "-p", &port, "-t", "state", "-C", "1"]);
    assert_eq!((text(&printed.stdout).as_str(), printed.status.code()), ("on\n", Some(0)));
}

#[test]
fn mistakes_on_the_command_line_are_reported_in_one_line_with_an_exit_code() {
    let server = Server::start(&[]);
    let address = server.address.to_string();
    let free = "127.0.0.1:0";
    let elsewhere = env!("CARGO_MANIFEST_DIR");
    let no_store = format!("goldcrest: {elsewhere}: there is no store in it");
    let in_use = format!("goldcrest: cannot listen on {address}: Address already in use");
    for (args, code, complaint) in [
        (vec!["--listen", &address], 1, in_use.as_str()),
        (vec!["--listen", "0.0.0.0:0"], 1, "goldcrest: will not listen on 0.0.0.0:0: nobody is asked who they are"),
        (vec!["--listen", "nowhere"], 2, "goldcrest: cannot parse argument \"nowhere\""),
        (vec!["--listen", free, "--log", "loud"], 1, "goldcrest: \"loud\" is no log level"),
        (vec!["--listen", free], 1, "goldcrest: cannot use the store in /dev/null/goldcrest: the directory: "),
        (vec!["--memory-only", "--data-dir", "d"], 2, "goldcrest: --memory-only keeps nothing in --data-dir"),
        (vec!["--config", "/does/not/exist.toml"], 1, "goldcrest: /does/not/exist.toml: No such file"),
        (
            vec!["pub", "-t", "a", "-m", "b", "-h", "127.0.0.1", "-p", "1"],
            1,
            "goldcrest: cannot connect to 127.0.0.1:1",
        ),
        (vec!["pub", "-t", "#", "-m", "b"], 2, "goldcrest: cannot parse argument \"#\""),
        (vec!["sub"], 2, "goldcrest: -t, --topic FILTER is missing: A Topic Filter"),
        (vec!["pub", "-t", "a", "-t", "b", "-m", "m"], 2, "goldcrest: -t, --topic is given more than once"),
        (vec!["--listen", free, "--shards", "1", "--shards", "2"], 2, "goldcrest: --shards is given more than once"),
        (vec!["--log", "info", "--log", "warn"], 2, "goldcrest: --log is given more than once"),
        (vec!["store", "stats", "--data-dir", "a", "--data-dir", "b"], 2, "goldcrest: --data-dir is given more"),
        // A wrong directory must not count as sound.
        (vec!["store", "check", "--data-dir", elsewhere], 1, &no_store),
        (vec!["store", "stats", "--data-dir", elsewhere], 1, &no_store),
        (vec!["store", "dump", "--data-dir", elsewhere], 1, &no_store),
        (vec!["budget", "--sessions", "1", "--sessions", "2"], 2, "goldcrest: --sessions is given more than once"),
    ] {
        let output = run(&args);
        let said = text(&output.stderr);
        assert!(said.starts_with(complaint), "{args:?}: {said}");
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert_eq!(said.lines().count(), if code == 2 { 2 } else { 1 }, "{said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn clients_beyond_the_limit_of_descriptors_are_closed_and_later_ones_are_served() {
    let server = Server::start(&[]);
    let pid = rustix::process::Pid::from_raw(server.child.id().try_into().unwrap());
    let few = rustix::process::Rlimit { current: Some(40), maximum: Some(40) };
    rustix::process::prlimit(pid, rustix::process::Resource::Nofile, few).unwrap();
    let connect = || {
        let mut client = std::net::TcpStream::connect(server.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let written = client.write_all(&[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 0]);
        // A served client gets a CONNACK, a refused one an end or a reset; a time-out would be neither.
        let answer = written.and_then(|()| client.read(&mut [0; 4]));
        assert!(!matches!(&answer, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock), "no answer");
        (answer.is_ok_and(|read| read == 4)).then_some(client)
    };
    let served: Vec<_> = (0..60).filter_map(|_| connect()).collect();
    assert!((10..40).contains(&served.len()), "{} were served", served.len());
    drop(served);
    std::thread::sleep(Duration::from_millis(300));
    assert!(connect().is_some());
}

#[test]
fn help_and_version_are_printed() {
    assert!(text(&run(&["--help"]).stdout).contains("--allow-anonymous"));
    assert!(text(&run(&["sub", "--help"]).stdout).contains("goldcrest sub -t FILTER"));
    assert!(text(&run(&["pub", "--help"]).stdout).contains("--retain"));
    assert_eq!(text(&run(&["--version"]).stdout), format!("goldcrest {}\n", env!("CARGO_PKG_VERSION")));
}

/// The files that a package installs beside the program.
#[test]
fn completions_and_manual_pages_know_all_commands_and_options() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = run(&["completions", shell]);
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
        let script = text(&output.stdout);
        for word in ["allow-anonymous", "restore", "message-bytes", "retain", "completions"] {
            assert!(script.contains(word), "{shell}: {word}: {script}");
        }
    }
    assert_eq!(run(&["completions", "tcsh"]).status.code(), Some(2));

    let folder = std::env::temp_dir().join(format!("goldcrest-manual-{}", std::process::id()));
    let missing = run(&["manual", folder.to_str().unwrap()]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("goldcrest-manual"), "{}", text(&missing.stderr));
    std::fs::create_dir(&folder).unwrap();
    assert!(run(&["manual", folder.to_str().unwrap()]).status.success());
    for (page, word) in [
        ("goldcrest", r"\-\-allow\-anonymous"),
        ("goldcrest-sub", r"\-\-topic"),
        ("goldcrest-pub", r"\-\-retain"),
        ("goldcrest-store", r"goldcrest\-store\-repair(1)"),
        ("goldcrest-store-backup", r"\-\-data\-dir"),
        ("goldcrest-budget", r"\-\-topic\-levels"),
    ] {
        let page = std::fs::read_to_string(folder.join(format!("{page}.1"))).unwrap();
        assert!(page.contains(word) && page.contains("\n.SH SYNOPSIS\n"), "{word}: {page}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn store_commands_check_copy_restore_and_repair_a_store() {
    let folder = std::env::temp_dir().join(format!("goldcrest-store-{}", std::process::id()));
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (data, backup, restored) = (path("data"), path("backup"), path("restored"));
    let store = |command: &[&str], data_dir: &str| run(&[&["store"], command, &["--data-dir", data_dir]].concat());
    let said = |output: &Output| (text(&output.stdout), text(&output.stderr), output.status.code());

    let server = Server::run(&mut goldcrest(&["--shards", "2", "--data-dir", &data]));
    for (topic, payload) in [("state/a", "on"), ("state/b", "say \"hi\"")] {
        assert!(run(&["pub", "-p", &server.port(), "-t", topic, "-m", payload, "-r", "-q", "1"]).status.success());
    }
    // All of these commands run while the gateway runs.
    let (out, _, code) = said(&store(&["check"], &data));
    assert!(out.ends_with("sound\n"), "{out}");
    assert_eq!(code, Some(0));
    let (out, _, _) = said(&store(&["dump"], &data));
    assert!(out.contains("\"topic\":\"state/b\"") && out.contains("\"payload\":\"say \\\"hi\\\"\""), "{out}");
    let (out, _, _) = said(&store(&["stats"], &data));
    assert!(out.contains("segments  ") && out.contains("Retained               2"), "{out}");
    let (out, err, code) = said(&store(&["backup", &backup], &data));
    assert_eq!((err.as_str(), code), ("", Some(0)), "{out}");
    let (_, err, code) = said(&store(&["repair"], &data));
    assert_eq!((err, code), (format!("goldcrest: {data}: another process uses the store\n"), Some(1)));
    drop(server);

    let (_, err, code) = said(&store(&["restore", &backup], &data));
    assert_eq!((err, code), (format!("goldcrest: {data}: it is not empty; nothing was changed\n"), Some(1)));
    assert_eq!(store(&["restore", &backup], &restored).status.code(), Some(0));
    let server = Server::run(&mut goldcrest(&["--shards", "2", "--data-dir", &restored]));
    let printed = run(&["sub", "-p", &server.port(), "-t", "state/#", "-C", "2"]);
    assert_eq!(text(&printed.stdout).lines().count(), 2);
    drop(server);

    // A flipped bit in a body is reported, and the rest is kept.
    let segment = std::fs::read_dir(&restored).unwrap().map(|entry| entry.unwrap().path()).find_map(|path| {
        let bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(8).position(|window| window == b"say \"hi\"")?;
        Some((path, at, bytes))
    });
    let (file, at, mut bytes) = segment.unwrap();
    bytes[at] ^= 1;
    std::fs::write(file, bytes).unwrap();
    let (out, _, code) = said(&store(&["check"], &restored));
    assert!(out.contains("damaged: 1 places") && out.contains("1 records of kind Message"), "{out}");
    assert_eq!(code, Some(3));
    let (out, _, code) = said(&store(&["repair"], &restored));
    assert!(out.contains("1 records of kind Message") && out.contains("damaged-*"), "{out}");
    assert_eq!(code, Some(0));
    assert_eq!(store(&["check"], &restored).status.code(), Some(0));

    let (_, err, code) = said(&store(&["check"], &path("nowhere")));
    assert!(err.contains("nowhere: the directory: No such file"), "{err}");
    assert_eq!((err.lines().count(), code), (1, Some(1)));
    std::fs::remove_dir_all(folder).unwrap();
}

/// Moves the files of a store with 60 acknowledged messages away, one at a time. A bug of the past: `store check` said "sound", the start said
/// nothing, and messages were gone.
#[test]
fn store_check_reports_each_missing_file_of_a_store() {
    let folder = std::env::temp_dir().join(format!("goldcrest-missing-{}", std::process::id()));
    let data = folder.join("data");
    let data_dir = data.to_str().unwrap();
    let server = Server::run(&mut goldcrest(&["--shards", "1", "--data-dir", data_dir]));
    for number in 0..60 {
        let (topic, payload) = (format!("state/{number}"), "x".repeat(900_000));
        let args = ["pub", "-p", &server.port(), "-t", &topic, "-r", "-q", "1"];
        let mut publisher = goldcrest(&args).stdin(Stdio::piped()).spawn().unwrap();
        publisher.stdin.take().unwrap().write_all(payload.as_bytes()).unwrap();
        assert!(publisher.wait().unwrap().success());
    }
    drop(server);
    let check = || run(&["store", "check", "--data-dir", data_dir]);
    assert_eq!(check().status.code(), Some(0), "{}", text(&check().stdout));
    let names = || {
        let entries = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.filter(|name| name.ends_with(".segment")).collect();
        names.sort();
        names
    };
    let all = names();
    assert!(all.len() > 4, "{all:?}");
    let mut empty = Vec::new();
    for name in &all {
        std::fs::rename(data.join(name), folder.join(name)).unwrap();
        let checked = check();
        let said = text(&checked.stdout);
        match checked.status.code() {
            Some(3) => assert!(said.contains(name.as_str()), "without {name}: {said}"),
            _ => empty.push(name),
        }
        std::fs::rename(folder.join(name), data.join(name)).unwrap();
    }
    // The last files were prepared but not begun: without them nothing is lost.
    assert!(empty.len() <= 3 && all.ends_with(&empty.into_iter().cloned().collect::<Vec<_>>()), "{all:?}");
    // The start reports the missing file, serves the remaining messages, and sets aside files that do not belong to this store.
    std::fs::rename(data.join(&all[1]), data.join("ffffffff.segment")).unwrap();
    std::fs::write(data.join("fffffff0.segment"), "not of this store").unwrap();
    assert_eq!(check().status.code(), Some(3));
    std::fs::remove_file(data.join("ffffffff.segment")).unwrap();
    let mut server = Server::run(&mut goldcrest(&["--shards", "1", "--data-dir", data_dir]));
    let printed = run(&["sub", "-p", &server.port(), "-t", "state/#", "-C", "10"]);
    assert_eq!(text(&printed.stdout).lines().count(), 10);
    let mut log = server.child.stderr.take().unwrap();
    server.signal("TERM");
    server.wait();
    let mut logged = String::new();
    log.read_to_string(&mut logged).unwrap();
    let told = logged.lines().find(|line| line.contains("ERROR") && line.contains("the store is damaged")).unwrap();
    assert!(told.contains(&all[1]) && told.contains("fffffff0.segment"), "{told}");
    assert!(data.join("fffffff0.segment.foreign").exists());
    assert_eq!(check().status.code(), Some(0), "{}", text(&check().stdout));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_store_of_an_older_format_is_refused_and_left_unchanged() {
    let folder = std::env::temp_dir().join(format!("goldcrest-older-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let mut header = [0; 64];
    header[..8].copy_from_slice(b"GCRSTLOG");
    header[8] = 1;
    let crc = crc32fast::hash(&header[..12]);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(folder.join("00000001.segment"), header).unwrap();
    let output = run(&["--listen", "127.0.0.1:0", "--data-dir", folder.to_str().unwrap()]);
    let said = text(&output.stderr);
    assert!(said.contains("00000001.segment has format 1") && said.contains("nothing was changed"), "{said}");
    assert_eq!(std::fs::read(folder.join("00000001.segment")).unwrap(), header);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_store_of_a_newer_format_is_refused_without_a_hint_to_another_directory() {
    let folder = std::env::temp_dir().join(format!("goldcrest-newer-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let mut header = [0; 64];
    header[..8].copy_from_slice(b"GCRSTLOG");
    header[8] = 3;
    let crc = crc32fast::hash(&header[..12]);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(folder.join("00000001.segment"), header).unwrap();
    let data_dir = folder.to_str().unwrap();
    let output = run(&["--listen", "127.0.0.1:0", "--data-dir", data_dir]);
    let said = text(&output.stderr);
    let complaint = said.lines().find(|line| line.starts_with("goldcrest: ")).unwrap();
    assert!(complaint.ends_with("a newer one wrote it; nothing was changed"), "{said}");
    assert!(said.contains("chmod 700"), "others may enter it: {said}");
    assert_eq!(std::fs::read(folder.join("00000001.segment")).unwrap(), header);
    std::fs::remove_dir_all(folder).unwrap();
}
