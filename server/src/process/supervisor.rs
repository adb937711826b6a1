//! What systemd learns of the process, over the socket that `NOTIFY_SOCKET` names (`sd_notify(3)`): READY=1 when all
//! nodes of the process are ready, STOPPING=1 when it ends.

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
/// How long a message may wait for room at a supervisor that does not read.
const READY_WAIT_MAX: Duration = Duration::from_secs(10);
const STOPPING_WAIT_MAX: Duration = Duration::from_millis(100);

/// The supervisor, if there is one.
pub(crate) struct Supervisor {
    address: Option<SocketAddr>,
    /// Nodes that are not ready yet.
    waiting: AtomicUsize,
}

impl Supervisor {
    /// The supervisor that the environment names, for a process of so many nodes.
    pub(crate) fn of_environment(nodes: usize) -> Supervisor {
        Supervisor::at(env::var_os(VARIABLE).unwrap_or_default().as_os_str(), nodes)
    }

    /// A socket's path, or `@` and an abstract name; empty: none.
    fn at(socket: &OsStr, nodes: usize) -> Supervisor {
        let address = match socket.as_bytes() {
            [] => None,
            [b'@', name @ ..] => Some(SocketAddr::from_abstract_name(name)),
            [b'/', ..] => Some(SocketAddr::from_pathname(socket)),
            _ => Some(Err(io::Error::from(io::ErrorKind::InvalidInput))),
        };
        let address = address.transpose().unwrap_or_else(|error| {
            warn!("{VARIABLE}={} is ignored: {error}; expected a path or @name", socket.display());
            None
        });
        Supervisor { address, waiting: AtomicUsize::new(nodes) }
    }

    /// Called once by each node, when it is ready. Does not wait.
    pub(crate) fn ready(&self) {
        if self.waiting.fetch_sub(1, Ordering::SeqCst) != 1 {
            return;
        }
        let Some(address) = self.address.clone() else { return };
        let notify = move || report(&address, "READY=1", READY_WAIT_MAX);
        if let Err(error) = threads::spawn("gometa-notify", notify) {
            warn!("systemd is not notified that this process is ready: {error}");
        }
    }

    /// Called when the process begins to end. Waits for a moment at most.
    pub(crate) fn stopping(&self) {
        if let Some(address) = &self.address {
            report(address, "STOPPING=1", STOPPING_WAIT_MAX);
        }
    }
}

fn report(address: &SocketAddr, state: &str, wait_max: Duration) {
    let sent = UnixDatagram::unbound().and_then(|socket| {
        socket.set_write_timeout(Some(wait_max))?;
        socket.send_to_addr(state.as_bytes(), address)
    });
    if let Err(error) = sent {
        warn!("systemd is not notified of {state}: {error}; look at {VARIABLE}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_node_that_is_ready_makes_the_process_ready() {
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
