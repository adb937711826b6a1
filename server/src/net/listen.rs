//! Resolves a node's own addresses and opens its three ports.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::mpsc::{RecvTimeoutError, sync_channel},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tracing::warn;

use crate::{
    config::{Address, ServerConfig},
    process::threads,
};

/// The time after which a host name counts as unresolvable.
const RESOLVE_TIMEOUT: Duration = Duration::from_millis(1_500);
/// The number of connections that the system queues until they are accepted.
const BACKLOG: i32 = 1_024;

/// The sockets of a node.
pub(crate) struct Sockets {
    /// UDP.
    pub(crate) election: std::net::UdpSocket,
    /// For nodes.
    pub(crate) message: std::net::TcpListener,
    /// For clients.
    pub(crate) request: std::net::TcpListener,
}

/// Opens a node's three ports. An error is one line that names the address and the remedy.
pub(crate) fn open(config: &ServerConfig) -> Result<Sockets, String> {
    let [election, message, request] = resolve_all(config)?;
    let open = |key, protocol, resolved, address: &Address| {
        socket(resolved, protocol).map_err(|error| explain(key, protocol, address, &error, &config.source))
    };
    Ok(Sockets {
        election: open("ElectionAddr", Protocol::UDP, election, &config.bind.election)?.into(),
        message: open("MessageAddr", Protocol::TCP, message, &config.bind.message)?.into(),
        request: open("RequestAddr", Protocol::TCP, request, &config.bind.request)?.into(),
    })
}

/// Resolves the addresses to listen on. `-check` uses it, too.
pub(crate) fn resolve_all(config: &ServerConfig) -> Result<[SocketAddr; 3], String> {
    let bind = &config.bind;
    Ok([
        resolve("ElectionAddr", &bind.election, &config.source)?,
        resolve("MessageAddr", &bind.message, &config.source)?,
        resolve("RequestAddr", &bind.request, &config.source)?,
    ])
}

fn resolve(key: &str, address: &Address, source: &str) -> Result<SocketAddr, String> {
    if let Ok(ip) = address.host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, address.port));
    }
    let (sender, receiver) = sync_channel(1);
    let (host, port) = (address.host.clone(), address.port);
    let lookup = move || {
        let found = (host.as_str(), port).to_socket_addrs().map(|found| prefer(found, None));
        // After a timeout the receiver is gone.
        drop(sender.send(found));
    };
    let why = match threads::spawn("gometa-resolve", lookup) {
        Err(error) => error.to_string(),
        Ok(_) => match receiver.recv_timeout(RESOLVE_TIMEOUT) {
            Ok(Ok(Some(found))) => return Ok(found),
            Ok(Ok(None)) => "it has no address".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(RecvTimeoutError::Timeout) => "the name server does not answer".to_owned(),
            Err(RecvTimeoutError::Disconnected) => "the lookup failed".to_owned(),
        },
    };
    Err(format!(
        "cannot resolve {key} {}: {why}; correct the host name in {source}, or give an IP address",
        address.text
    ))
}

/// Selects one of a name's addresses: of the same family as `like`, then IPv4 (`localhost` is 127.0.0.1 on every
/// machine), then the first.
pub(crate) fn prefer(
    found: impl Iterator<Item = SocketAddr>,
    like: Option<SocketAddr>,
) -> Option<SocketAddr> {
    let found: Vec<SocketAddr> = found.collect();
    let wanted = |address: &&SocketAddr| like.is_none_or(|like| like.is_ipv4() == address.is_ipv4());
    let ipv4 = |address: &&SocketAddr| address.is_ipv4();
    let pick = |of: &dyn Fn(&&SocketAddr) -> bool| found.iter().find(|address| of(address)).copied();
    pick(&|address| wanted(address) && ipv4(address))
        .or_else(|| pick(&wanted))
        .or_else(|| pick(&ipv4))
        .or_else(|| found.first().copied())
}

fn socket(address: SocketAddr, protocol: Protocol) -> io::Result<Socket> {
    let stream = protocol == Protocol::TCP;
    let kind = if stream { Type::STREAM } else { Type::DGRAM };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if stream {
        // Without it, connections of a killed process in TIME_WAIT would block the port for a minute. A listening socket
        // still blocks it.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    if stream {
        socket.listen(BACKLOG)?;
    }
    Ok(socket)
}

fn explain(key: &str, protocol: Protocol, address: &Address, error: &io::Error, source: &str) -> String {
    let address = &address.text;
    let protocol = if protocol == Protocol::TCP { "TCP" } else { "UDP" };
    match error.kind() {
        ErrorKind::AddrInUse => format!(
            "{key} {address} ({protocol}) is taken by another process: stop that one, or configure another port in {source}"
        ),
        ErrorKind::AddrNotAvailable => format!(
            "{key} {address} is not an address of this machine: correct it in {source}, or put the address to listen on in Bind"
        ),
        ErrorKind::PermissionDenied => {
            format!("no permission to listen on {key} {address}: configure a port above 1023 in {source}")
        }
        _ => format!(
            "cannot listen on {key} {address} ({protocol}): {error}; configure another address in {source}"
        ),
    }
}

/// Logs one warning that names all ports that are reachable from other machines.
pub(crate) fn warn_if_exposed(sockets: &Sockets) {
    let addresses =
        [sockets.election.local_addr(), sockets.message.local_addr(), sockets.request.local_addr()];
    let exposed: Vec<String> = addresses
        .into_iter()
        .flatten()
        .filter(|address| !address.ip().is_loopback())
        .map(|address| address.to_string())
        .collect();
    if !exposed.is_empty() {
        warn!(addresses = exposed.join(", "), "ports reachable without encryption or authentication");
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn free_port() -> u16 {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    fn config_with(ports: [u16; 3]) -> ServerConfig {
        let mut config = ServerConfig::on_this_machine("test", 0, 1, PathBuf::new());
        for (address, port) in [&mut config.bind.election, &mut config.bind.message, &mut config.bind.request]
            .into_iter()
            .zip(ports)
        {
            *address = Address { text: format!("127.0.0.1:{port}"), host: "127.0.0.1".to_owned(), port };
        }
        config
    }

    #[test]
    fn taken_ports_are_named() {
        let ports = [free_port(), free_port(), free_port()];
        let first = open(&config_with(ports)).unwrap();
        let error = open(&config_with(ports)).err().unwrap();
        assert_eq!(
            error,
            format!(
                "ElectionAddr 127.0.0.1:{} (UDP) is taken by another process: stop that one, or configure another \
                 port in test",
                ports[0]
            )
        );
        drop(first.election);
        let error = open(&config_with(ports)).err().unwrap();
        assert!(error.starts_with(&format!("MessageAddr 127.0.0.1:{} (TCP) is taken", ports[1])), "{error}");
        drop(first.message);
        let error = open(&config_with(ports)).err().unwrap();
        assert!(error.starts_with(&format!("RequestAddr 127.0.0.1:{} (TCP) is taken", ports[2])), "{error}");
    }

    #[test]
    fn an_address_of_another_machine_is_named() {
        let mut config = config_with([free_port(), free_port(), free_port()]);
        config.bind.message = Address { text: "192.0.2.1:5002".into(), host: "192.0.2.1".into(), port: 5002 };
        assert_eq!(
            open(&config).err().unwrap(),
            "MessageAddr 192.0.2.1:5002 is not an address of this machine: correct it in test, or put the address to \
             listen on in Bind"
        );
    }

    #[test]
    fn localhost_is_ipv4() {
        let address = Address { text: "localhost:5001".into(), host: "localhost".into(), port: 5001 };
        assert_eq!(
            resolve("ElectionAddr", &address, "node.json").unwrap(),
            "127.0.0.1:5001".parse().unwrap()
        );
        let both = ["[::1]:1".parse().unwrap(), "127.0.0.1:1".parse().unwrap()];
        let v6: SocketAddr = "[::]:0".parse().unwrap();
        assert_eq!(prefer(both.into_iter(), Some(v6)), Some(both[0]));
        assert_eq!(prefer(both.into_iter(), None), Some(both[1]));
    }
}
