//! TCP connections, as the rest of the server uses them. TLS will be added here: no other module names the runtime's
//! own stream type.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, Shutdown, SocketAddr},
    time::Duration,
};

use bytes::BytesMut;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tracing::warn;

/// The delay after a failed accept, which is most likely due to the limit of open files.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// A listening socket.
pub(crate) struct Listener(TcpListener);

impl Listener {
    /// Wraps a non-blocking socket. Must be called within the runtime.
    pub(crate) fn from_std(listener: std::net::TcpListener) -> io::Result<Listener> {
        TcpListener::from_std(listener).map(Listener)
    }

    /// Returns the next connection. Failures are logged and retried.
    pub(crate) async fn accept(&self) -> Stream {
        loop {
            match self.0.accept().await.map(|(stream, _)| Stream::new(stream)) {
                Ok(Ok(stream)) => return stream,
                // The connection is already closed.
                Ok(Err(_)) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    warn!(%error, "cannot accept connection, will be retried");
                    sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
    }
}

/// A connection. Small writes are sent at once, and a connection whose other end vanished is closed by the system
/// within half a minute.
pub(crate) struct Stream(TcpStream);

impl Stream {
    /// Connects to "host:port".
    pub(crate) async fn connect(address: &str) -> io::Result<Stream> {
        Stream::new(TcpStream::connect(address).await?)
    }

    fn new(stream: TcpStream) -> io::Result<Stream> {
        stream.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(10))
            .with_interval(Duration::from_secs(5))
            .with_retries(3);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        Ok(Stream(stream))
    }

    /// The other end's address, with its port.
    pub(crate) fn peer_address(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }

    /// The other end's address.
    pub(crate) fn peer_ip(&self) -> io::Result<IpAddr> {
        Ok(self.0.peer_addr()?.ip().to_canonical())
    }

    /// Bounds the bytes that the system buffers before they are sent. Does nothing where the system has no such option.
    pub(crate) fn limit_unsent(&self, bytes: u32) {
        #[cfg(target_os = "linux")]
        drop(SockRef::from(&self.0).set_tcp_notsent_lowat(bytes));
        #[cfg(not(target_os = "linux"))]
        let _ = bytes;
    }

    /// Waits until a read may succeed.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.0.readable().await
    }

    /// Waits until a write may succeed.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.0.writable().await
    }

    /// Reads without waiting; 0 at the end of the stream.
    pub(crate) fn try_read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(bytes)
    }

    /// Reads without waiting into the spare capacity of `buffer`; 0 at the end of the stream.
    pub(crate) fn try_read_buf(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        self.0.try_read_buf(buffer)
    }

    /// Writes without waiting.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    /// Waits for bytes and appends up to `size` of them to `buffer`; 0 at the end of the stream.
    pub(crate) async fn read(&self, buffer: &mut BytesMut, size: usize) -> io::Result<usize> {
        loop {
            self.readable().await?;
            buffer.reserve(size);
            match self.try_read_buf(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }

    /// Writes all bytes.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.writable().await?;
            match self.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes the system discard unsent bytes, and reset the connection, when the stream is dropped.
    pub(crate) fn reset_on_drop(&self) {
        drop(SockRef::from(&self.0).set_linger(Some(Duration::ZERO)));
    }

    /// Ends the outgoing direction and discards what arrives, at most `bytes_max`, until the other end closes the
    /// connection or the time is over. A socket dropped with unread bytes in it would reset the connection, and the
    /// last bytes written would be lost.
    pub(crate) async fn close_gracefully(&self, time_max: Duration, bytes_max: usize) {
        if SockRef::from(&self.0).shutdown(Shutdown::Write).is_err() {
            return;
        }
        let drain = async {
            let (mut scratch, mut read) = ([0; 4096], 0);
            while read < bytes_max {
                self.readable().await?;
                match self.try_read(&mut scratch) {
                    Ok(0) => break,
                    Ok(count) => read += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            io::Result::Ok(())
        };
        drop(timeout(time_max, drain).await);
    }
}
