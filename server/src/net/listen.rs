//! Names to addresses, addresses to sockets, and how to part from a connection.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Shutdown, SocketAddr, ToSocketAddrs},
    sync::mpsc::{RecvTimeoutError, sync_channel},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tracing::warn;

use crate::{
    config::{Address, ServerConfig},
    process::threads,
};

/// A name that is not resolved after this long is taken for unresolvable.
const RESOLVE_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Connections that the system holds until they are accepted.
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
    let (bind, source) = (&config.bind, &config.source);
    Ok(Sockets {
        election: socket(election, Type::DGRAM)
            .map(Into::into)
            .map_err(|error| explain("ElectionAddr", "UDP", &bind.election, &error, source))?,
        message: socket(message, Type::STREAM)
            .map(Into::into)
            .map_err(|error| explain("MessageAddr", "TCP", &bind.message, &error, source))?,
        request: socket(request, Type::STREAM)
            .map(Into::into)
            .map_err(|error| explain("RequestAddr", "TCP", &bind.request, &error, source))?,
    })
}

/// Resolves what a node is to listen on; also what `-check` looks at.
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
        // Nobody listens any more if it took too long.
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

/// The address to use of those a name has: of the wanted family, else IPv4 (so that `localhost` is 127.0.0.1
/// everywhere), else the first.
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

fn socket(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let stream = kind == Type::STREAM;
    let protocol = if stream { Protocol::TCP } else { Protocol::UDP };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if stream {
        // Connections of a process that was killed linger for a minute, and must not keep the port from its
        // successor. A listening socket keeps it all the same.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    if stream {
        socket.listen(BACKLOG)?;
    }
    Ok(socket)
}

fn explain(key: &str, protocol: &str, address: &Address, error: &io::Error, source: &str) -> String {
    let address = &address.text;
    match error.kind() {
        ErrorKind::AddrInUse => format!(
            "{key} {address} ({protocol}) is taken by another process: stop that one, or configure another port in {source}"
        ),
        ErrorKind::AddrNotAvailable => format!(
            "{key} {address} is no address of this machine: correct it in {source}, or put the address to listen on in Bind"
        ),
        ErrorKind::PermissionDenied => {
            format!("no permission to listen on {key} {address}: configure a port above 1023 in {source}")
        }
        _ => format!(
            "cannot listen on {key} {address} ({protocol}): {error}; configure another address in {source}"
        ),
    }
}

/// One warning for all ports that others than this machine can reach.
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
        warn!(
            "listens on {} without encryption or passwords: whoever reaches these ports can read and change \
             everything; let only trusted machines reach them",
            exposed.join(", ")
        );
    }
}

/// Makes a connection fit for its use: small messages leave at once, and one whose other end is gone without a
/// word, or behind a cut, ends within half a minute though nothing is sent on it.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// The next connection. Failures (most likely: too many open files) are logged and waited out.
pub(crate) async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if prepare(&stream).is_ok() {
                    return stream;
                }
            }
            // The other end was faster.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => {
                warn!("cannot accept a connection: {error}; trying again in a moment");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Lets the other end read what was written: closing a socket with unread bytes in it would reset the
/// connection, and what was written last would be lost on the way.
pub(crate) async fn linger(stream: &TcpStream, at_most: Duration, bytes_max: usize) {
    if SockRef::from(stream).shutdown(Shutdown::Write).is_err() {
        return;
    }
    let drain = async {
        let (mut scratch, mut read) = ([0; 4096], 0);
        while read < bytes_max {
            stream.readable().await?;
            match stream.try_read(&mut scratch) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        io::Result::Ok(())
    };
    drop(tokio::time::timeout(at_most, drain).await);
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
            "MessageAddr 192.0.2.1:5002 is no address of this machine: correct it in test, or put the address to \
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
