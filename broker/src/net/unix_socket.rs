//! Sockets in the file system, for clients on this machine.

use super::listen_socket::BACKLOG;
use crate::config::{ListenerAddress, UnixAddress};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{self, File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// A socket on its way from being bound to listening.
#[derive(Debug)]
pub(crate) struct UnixSocket {
    /// The place of the listener in the configuration.
    pub(super) index: usize,
    address: ListenerAddress,
    socket: Socket,
}

/// The path of a socket, which is removed when this value is dropped, unless it is that of another socket by then.
#[derive(Debug)]
pub(crate) struct SocketPath {
    path: PathBuf,
    /// The device and the number of the file.
    file: (u64, u64),
}

impl SocketPath {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        if file_at(&self.path).is_ok_and(|file| file == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn file_at(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

impl UnixSocket {
    /// Binds a socket to a path, with the permissions that it is to have. Nobody can connect yet. A socket that a gateway has left there, and that nobody
    /// listens on, is removed first.
    ///
    /// # Errors
    /// Somebody listens at the path, something else stands there, or the system does not allow the socket.
    pub(crate) fn open(index: usize, address: &UnixAddress) -> io::Result<(Self, SocketPath)> {
        let path = &address.path;
        let group = address.group.as_deref().map(group_id).transpose()?;
        remove_stale(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let guard = SocketPath { path: path.clone(), file: file_at(path)? };
        // The socket does not listen yet, so nobody gets in before it has the permissions.
        if group.is_some() {
            chown(path, None, group)?;
        }
        fs::set_permissions(path, Permissions::from_mode(address.mode))?;
        socket.set_nonblocking(true)?;
        Ok((Self { index, address: address.clone().into(), socket }, guard))
    }

    /// A socket that listens already.
    pub(super) fn listening(index: usize, address: ListenerAddress, listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { index, address, socket: listener.into() })
    }

    /// Makes the system accept connections from now on.
    pub(super) fn listen(&self) -> Result<(), (ListenerAddress, io::Error)> {
        self.socket.listen(BACKLOG).map_err(|error| (self.address.clone(), error))
    }

    pub(super) fn into_listener(self) -> UnixListener {
        self.socket.into()
    }
}

/// Removes a socket at `path` that no process has. What is no socket stays, and binding fails for it.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        _ => return Ok(()),
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Without waiting: where the queue of a socket is full, somebody listens.
    probe.set_nonblocking(true)?;
    let is_refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if !probe.connect(&SockAddr::unix(path)?).is_err_and(is_refused) {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
    }
    if is_bound(path) {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process is about to listen there"));
    }
    tracing::info!("removed the socket {}, which nobody listened on", path.display());
    fs::remove_file(path)
}

/// Whether a process has a socket with this path. A gateway that is starting does not listen yet.
fn is_bound(path: &Path) -> bool {
    let end = [b" ", path.as_os_str().as_bytes()].concat();
    fs::read("/proc/net/unix").is_ok_and(|all| all.split(|byte| *byte == b'\n').any(|line| line.ends_with(&end)))
}

/// The number of a group of the system, which is given by its name or number.
fn group_id(group: &str) -> io::Result<u32> {
    /// The file is short on all systems.
    const MOST: u64 = 16 << 20;
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let mut known = String::new();
    File::open("/etc/group")?.take(MOST).read_to_string(&mut known)?;
    // name:password:number:members
    let number = known.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok())?
    });
    let unknown =
        || io::Error::new(io::ErrorKind::NotFound, format!("/etc/group has no group {group}; a number will do"));
    number.ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;
    use std::os::unix::net::UnixStream;

    fn address_in(folder: &Folder) -> UnixAddress {
        UnixAddress::new(folder.path().join("mqtt.sock"))
    }

    #[test]
    fn a_socket_has_its_permissions_and_is_removed_with_its_owner() {
        let folder = Folder::made("mode");
        let address = UnixAddress { mode: 0o640, group: Some("0".to_owned()), ..address_in(&folder) };
        let (socket, path) = UnixSocket::open(0, &address).unwrap();
        assert_eq!(fs::metadata(&address.path).unwrap().mode() & 0o7777, 0o640);
        let refused = UnixStream::connect(&address.path).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "it does not listen yet");
        socket.listen().unwrap();
        UnixStream::connect(&address.path).unwrap();
        drop(path);
        assert!(!address.path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let folder = Folder::made("stale");
        let address = address_in(&folder);
        drop(UnixListener::bind(&address.path).unwrap());
        let (socket, path) = UnixSocket::open(0, &address).unwrap();
        let is_taken = || UnixSocket::open(0, &address).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
        assert!(is_taken(), "it does not listen yet, and its gateway is starting");
        socket.listen().unwrap();
        assert!(is_taken());
        UnixStream::connect(&address.path).unwrap();
        // A socket of somebody else at the same path stays.
        fs::remove_file(&address.path).unwrap();
        let _other = UnixListener::bind(&address.path).unwrap();
        drop(path);
        assert!(address.path.exists());
    }

    #[test]
    fn a_file_that_is_no_socket_is_never_removed() {
        let folder = Folder::made("file");
        let address = address_in(&folder);
        fs::write(&address.path, "precious").unwrap();
        assert_eq!(UnixSocket::open(0, &address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read_to_string(&address.path).unwrap(), "precious");
    }

    #[test]
    fn a_group_is_found_by_name_and_number_and_an_unknown_one_is_an_error() {
        assert_eq!(group_id("root").unwrap(), 0);
        assert_eq!(group_id("7").unwrap(), 7);
        let error = group_id("no-such-group").unwrap_err().to_string();
        assert!(error.contains("/etc/group has no group no-such-group"), "{error}");
    }
}
