//! Notifications to systemd over the socket in `NOTIFY_SOCKET` (`sd_notify(3)`): READY=1 when all nodes of the process are
//! ready, STOPPING=1 when it shuts down.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tracing::warn;

use crate::process::threads;

const VARIABLE: &str = "NOTIFY_SOCKET";
/// The time for a supervisor that does not read to accept the message.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
const STOPPING_TIMEOUT: Duration = Duration::from_millis(100);

/// The supervisor, if there is one.
pub(crate) struct Supervisor {
    address: Option<SocketAddr>,
    /// The number of nodes that are not ready yet.
    waiting: AtomicUsize,
}

impl Supervisor {
    /// The supervisor in the environment, for a process with this number of nodes.
    pub(crate) fn from_environment(nodes: usize) -> Supervisor {
        Supervisor::at(env::var_os(VARIABLE).unwrap_or_default().as_os_str(), nodes)
    }

    /// `socket` is a path, or `@` and an abstract name, or empty.
    fn at(socket: &OsStr, nodes: usize) -> Supervisor {
        let address = match socket.as_bytes() {
            [] => None,
            [b'@', name @ ..] => Some(SocketAddr::from_abstract_name(name)),
            [b'/', ..] => Some(SocketAddr::from_pathname(socket)),
            _ => Some(Err(io::Error::from(io::ErrorKind::InvalidInput))),
        };
        let address = address.transpose().unwrap_or_else(|error| {
            warn!(value = %socket.display(), %error, "NOTIFY_SOCKET ignored, expected a path or @name");
            None
        });
        Supervisor { address, waiting: AtomicUsize::new(nodes) }
    }

    /// To be called once by each node, when it is ready. Does not wait.
    pub(crate) fn ready(&self) {
        if self.waiting.fetch_sub(1, Ordering::SeqCst) != 1 {
            return;
        }
        let Some(address) = self.address.clone() else { return };
        let sending = move || notify(&address, "READY=1", READY_TIMEOUT);
        if let Err(error) = threads::spawn("gometa-notify", sending) {
            warn!(state = "READY=1", %error, "systemd not notified");
        }
    }

    /// To be called when the shutdown begins. Waits for [`STOPPING_TIMEOUT`] at most.
    pub(crate) fn stopping(&self) {
        if let Some(address) = &self.address {
            notify(address, "STOPPING=1", STOPPING_TIMEOUT);
        }
    }
}

fn notify(address: &SocketAddr, state: &str, timeout: Duration) {
    let sent = UnixDatagram::unbound().and_then(|socket| {
        socket.set_write_timeout(Some(timeout))?;
        socket.send_to_addr(state.as_bytes(), address)
    });
    if let Err(error) = sent {
        warn!(state, %error, "systemd not notified");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_ready_when_its_last_node_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let supervisor = Supervisor::at(path.as_os_str(), 2);
        supervisor.ready();
        supervisor.stopping();
        supervisor.ready();
        let mut bytes = [0; 64];
        for expected in ["STOPPING=1", "READY=1"] {
            let length = socket.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..length], expected.as_bytes());
        }
    }

    #[test]
    fn without_a_socket_nothing_is_sent() {
        for socket in ["", "relative", "vsock:2:1234"] {
            let supervisor = Supervisor::at(OsStr::new(socket), 1);
            assert!(supervisor.address.is_none(), "{socket}");
            supervisor.ready();
            supervisor.stopping();
        }
    }
}
