//! Proxies in front of the nodes' ports for clients, which can withhold answers to calls. Connections, sessions and
//! keepalives work meanwhile.
//!
//! A write whose answer is withheld has been applied without the client's knowledge; killing the node then is the case
//! for which writes are executed exactly once.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

use crate::ensemble::loopback_address;

/// The bytes of the length prefix of a frame.
const PREFIX_BYTES: usize = 4;
/// The number of ServerFrame's field `response`.
const RESPONSE: u64 = 2;
/// The number of Response's field `session_opened`.
const SESSION_OPENED: u64 = 11;

/// The mode of one node's connections.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Mode {
    /// Whether the node's answers to calls are withheld.
    withheld: bool,
    /// A counter whose change closes every connection, and drops withheld answers.
    cuts: u64,
}

/// The answers of all nodes while they are withheld.
#[derive(Default)]
struct Answers {
    /// How many more of them pass.
    passes: AtomicU64,
    /// How many of them were withheld.
    withheld: watch::Sender<u64>,
}

impl Answers {
    /// Whether the next answer is withheld.
    fn withhold_next(&self) -> bool {
        let passes = |passes: u64| passes.checked_sub(1);
        let withhold = self.passes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, passes).is_err();
        if withhold {
            self.withheld.send_modify(|withheld| *withheld += 1);
        }
        withhold
    }
}

/// Proxies, one for each node. Dropping them closes them.
pub struct Proxy {
    modes: Vec<watch::Sender<Mode>>,
    answers: Arc<Answers>,
    addresses: Vec<SocketAddr>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Starts proxies to these addresses.
    pub async fn of(targets: &[SocketAddr]) -> Proxy {
        let mut proxy = Proxy {
            modes: Vec::new(),
            answers: Arc::default(),
            addresses: Vec::new(),
            _tasks: JoinSet::new(),
        };
        // On another address than the nodes, whose ports are free until they start.
        let ip = loopback_address();
        for target in targets {
            let opened = async {
                let listener = TcpListener::bind((ip, 0)).await?;
                let address = listener.local_addr()?;
                io::Result::Ok((listener, address))
            };
            let (listener, address) =
                opened.await.unwrap_or_else(|error| panic!("no port for a proxy: {error}"));
            let (mode, seen) = watch::channel(Mode::default());
            proxy.modes.push(mode);
            proxy.addresses.push(address);
            proxy._tasks.spawn(serve(listener, *target, seen, proxy.answers.clone()));
        }
        proxy
    }

    /// Returns the proxies' addresses in the nodes' order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Withholds the answers of all nodes but for the next ones, as many as `passes`.
    pub fn withhold(&self, passes: u64) {
        self.answers.passes.store(passes, Ordering::Relaxed);
        self.answers.withheld.send_replace(0);
        self.modes.iter().for_each(|mode| mode.send_modify(|mode| mode.withheld = true));
    }

    /// Waits until an answer has been withheld since the last [`withhold`](Self::withhold).
    pub async fn until_withheld(&self) {
        let mut withheld = self.answers.withheld.subscribe();
        // The sender lives as long as the proxy.
        drop(withheld.wait_for(|withheld| *withheld > 0).await);
    }

    /// Releases all answers.
    pub fn release(&self) {
        self.modes.iter().for_each(|mode| mode.send_modify(|mode| mode.withheld = false));
    }

    /// Closes every connection to a node, and drops withheld answers.
    pub fn cut(&self, node: usize) {
        self.modes[node].send_modify(|mode| mode.cuts += 1);
    }
}

async fn serve(
    listener: TcpListener,
    target: SocketAddr,
    seen: watch::Receiver<Mode>,
    answers: Arc<Answers>,
) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else { continue };
        let mut cut = seen.clone();
        let (seen, cuts) = (seen.clone(), cut.borrow_and_update().cuts);
        let answers = answers.clone();
        connections.spawn(async move {
            tokio::select! {
                _ = carry(stream, target, seen, &answers) => {}
                _ = cut.wait_for(|mode| mode.cuts != cuts) => {}
            }
        });
    }
}

async fn carry(
    stream: TcpStream,
    target: SocketAddr,
    seen: watch::Receiver<Mode>,
    answers: &Answers,
) -> io::Result<()> {
    // The node is down.
    let onward = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    onward.set_nodelay(true)?;
    let ((near_in, near_out), (far_in, far_out)) = (stream.into_split(), onward.into_split());
    // The end of one side closes the other.
    tokio::select! {
        ended = pass(near_in, far_out) => ended,
        ended = gate(far_in, near_out, seen, answers) => ended,
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}

/// Forwards a node's frames, except answers to calls while they are withheld. Answers may be reordered: clients
/// match them by their ids.
async fn gate(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut seen: watch::Receiver<Mode>,
    answers: &Answers,
) -> io::Result<()> {
    let (mut read, mut withheld) = (Vec::new(), Vec::new());
    let cuts = seen.borrow().cuts;
    loop {
        tokio::select! {
            length = from.read_buf(&mut read) => if length? == 0 {
                return to.shutdown().await;
            },
            changed = seen.changed() => if changed.is_err() {
                return Ok(());
            },
        }
        let mode = *seen.borrow_and_update();
        if mode.cuts != cuts {
            // Otherwise answers that are released just after a cut would reach the client.
            return Ok(());
        }
        let withhold = mode.withheld;
        while let Some(frame) = take_frame(&mut read) {
            match withhold && answers_a_call(&frame[PREFIX_BYTES..]) && answers.withhold_next() {
                true => withheld.push(frame),
                false => to.write_all(&frame).await?,
            }
        }
        if !withhold {
            for frame in withheld.drain(..) {
                to.write_all(&frame).await?;
            }
        }
    }
}

/// Removes the first complete frame with its prefix.
fn take_frame(read: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = read.first_chunk::<PREFIX_BYTES>().map(|prefix| u32::from_be_bytes(*prefix) as usize)?;
    let rest = (read.len() >= PREFIX_BYTES + length).then(|| read.split_off(PREFIX_BYTES + length))?;
    Some(std::mem::replace(read, rest))
}

/// Whether a ServerFrame is the answer to a call: a response other than an opened session.
fn answers_a_call(frame: &[u8]) -> bool {
    let mut fields = Fields(frame);
    let Some((RESPONSE, response)) = fields.next() else { return false };
    Fields(response).all(|(number, _)| number != SESSION_OPENED)
}

/// The fields of a protobuf message: numbers, and the bytes of length-delimited fields.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.0.split_off_first()?;
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Some(value);
            }
        }
        None
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<(u64, &'a [u8])> {
        let tag = self.varint()?;
        let bytes = match tag & 7 {
            0 => self.varint().map(|_| &[][..])?,
            1 => self.0.split_off(..8)?,
            5 => self.0.split_off(..4)?,
            _ => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.0.split_off(..length)?
            }
        };
        Some((tag >> 3, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_calls_are_recognised() {
        // Welcome; Pong 5; Response {id 1, revision 300, session_opened {session 7}}.
        for frame in [
            &b"\x0a\x02\x08\x01"[..],
            b"\x1a\x02\x08\x05",
            b"\x12\x10\x08\x01\x10\xac\x02\x5a\x09\x09\x07\0\0\0\0\0\0\0",
        ] {
            assert!(!answers_a_call(frame), "{frame:x?}");
        }
        // Response {id 1, written {revision 2}}; Response {id 1, error {}}.
        for frame in [&b"\x12\x06\x08\x01\x62\x02\x08\x02"[..], b"\x12\x04\x08\x01\x52\x00"] {
            assert!(answers_a_call(frame), "{frame:x?}");
        }
    }

    #[test]
    fn frames_are_taken_whole() {
        let mut read = b"\0\0\0\x02ab\0\0\0\x01".to_vec();
        assert_eq!(take_frame(&mut read).unwrap(), b"\0\0\0\x02ab");
        assert_eq!(take_frame(&mut read), None);
        read.push(b'c');
        assert_eq!(take_frame(&mut read).unwrap(), b"\0\0\0\x01c");
        assert_eq!(take_frame(&mut read), None);
    }
}
