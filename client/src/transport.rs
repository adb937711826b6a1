//! The byte stream to a node: plain TCP so far. TLS will change this file alone.

use std::io;

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, tcp},
};

/// The receiving half of a stream.
pub(crate) struct Receiver(tcp::OwnedReadHalf);

/// The sending half of a stream.
pub(crate) struct Sender(tcp::OwnedWriteHalf);

/// Resolves `address`, `host:port`, and connects.
pub(crate) async fn connect(address: &str) -> io::Result<(Receiver, Sender)> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (input, output) = stream.into_split();
    Ok((Receiver(input), Sender(output)))
}

impl Receiver {
    /// Appends received bytes to `buffer`. Returns their number, 0 at the end of the stream.
    pub(crate) async fn receive(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        self.0.read_buf(buffer).await
    }
}

impl Sender {
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await
    }
}

/// The reason of an IO error in the usual words, without the system's number.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::BrokenPipe => "the node closed the connection".to_owned(),
        _ => error.to_string(),
    }
}
