//! ZooKeeper's protocol over TCP: the few requests that the load needs, pipelined on one connection.
//!
//! All requests that wait are sent in one write. Replies come in the order of the requests.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Notify, oneshot},
    task::JoinSet,
};

use crate::data::{Values, key_name};

/// The directory of the keys, whose names begin with it.
const PARENT: &str = "/bench";
/// The keys that one transaction creates.
const PRELOAD_KEYS: usize = 100;
/// The concurrent transactions of one client while keys are created.
const PRELOAD_IN_FLIGHT: usize = 4;
/// In milliseconds; the server allows at most 20 ticks of 2 s.
const SESSION_TIMEOUT_MS: i32 = 40_000;
/// The longest reply that is expected.
const REPLY_MAX: usize = 4 << 20;
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

const CREATE: i32 = 1;
const GET_DATA: i32 = 4;
const SET_DATA: i32 = 5;
const SYNC: i32 = 9;
const CHECK: i32 = 13;
const MULTI: i32 = 14;
const CLOSE: i32 = -11;
/// The error of a create for a node that exists.
const NODE_EXISTS: i32 = -110;

/// The body of a reply, or the number of ZooKeeper's error.
type Reply = Result<Bytes, i32>;

pub(crate) struct Client {
    shared: Arc<Shared>,
    /// Reader and writer, which end with the client.
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Wakes the writer.
    queued: Notify,
}

#[derive(Default)]
struct Queue {
    /// Requests that are not sent yet.
    out: BytesMut,
    /// The calls without a reply, in the order of their requests.
    waiting: VecDeque<(i32, oneshot::Sender<Reply>)>,
    last_xid: i32,
    /// Whether the connection is lost.
    lost: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails all calls, and all later ones.
    fn lose(&self) {
        let mut queue = self.lock();
        queue.lost = true;
        queue.waiting.clear();
    }
}

impl Queue {
    /// Appends a request; its reply is sent to the receiver, which is closed if the connection is lost.
    fn push(&mut self, operation: i32, body: impl FnOnce(&mut BytesMut)) -> oneshot::Receiver<Reply> {
        let (sender, receiver) = oneshot::channel();
        if !self.lost {
            self.last_xid = self.last_xid.wrapping_add(1).max(1);
            let xid = self.last_xid;
            framed(&mut self.out, |out| {
                out.put_i32(xid);
                out.put_i32(operation);
                body(out);
            });
            self.waiting.push_back((xid, sender));
        }
        receiver
    }
}

/// Writes a message with its length before it.
fn framed(out: &mut BytesMut, message: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_i32(0);
    message(out);
    let length = i32::try_from(out.len() - start - 4).expect("messages are short");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn put_buffer(out: &mut BytesMut, bytes: &[u8]) {
    out.put_i32(i32::try_from(bytes.len()).expect("buffers are short"));
    out.put_slice(bytes);
}

fn put_path(out: &mut BytesMut, key: u32) {
    put_buffer(out, path(key).as_bytes());
}

fn path(key: u32) -> String {
    format!("/{}", key_name(key))
}

/// The body of a create: persistent, with all permissions for all clients.
fn put_create(out: &mut BytesMut, path: &str, value: &[u8]) {
    put_buffer(out, path.as_bytes());
    put_buffer(out, value);
    out.put_i32(1);
    // All permissions.
    out.put_i32(31);
    put_buffer(out, b"world");
    put_buffer(out, b"anyone");
    out.put_i32(0);
}

/// Takes one message without its length off the beginning, if it is complete.
fn take_frame(input: &mut BytesMut) -> Result<Option<Bytes>> {
    let Some(length) = input.first_chunk::<4>() else { return Ok(None) };
    let length = usize::try_from(i32::from_be_bytes(*length)).ok().filter(|length| *length <= REPLY_MAX);
    let length = length.context("a reply with an impossible length")?;
    if input.len() < 4 + length {
        return Ok(None);
    }
    input.advance(4);
    Ok(Some(input.split_to(length).freeze()))
}

/// Splits a reply into its xid, its error (0 for none) and its body.
fn parse_reply(mut frame: Bytes) -> Result<(i32, i32, Bytes)> {
    ensure!(frame.len() >= 16, "a reply of {} bytes", frame.len());
    let xid = frame.get_i32();
    let _zxid = frame.get_i64();
    let error = frame.get_i32();
    Ok((xid, error, frame))
}

async fn read_frame(stream: &mut (impl AsyncReadExt + Unpin), input: &mut BytesMut) -> Result<Bytes> {
    loop {
        if let Some(frame) = take_frame(input)? {
            return Ok(frame);
        }
        if stream.read_buf(input).await? == 0 {
            bail!("the node has closed the connection");
        }
    }
}

/// Sends what is queued.
async fn write(shared: &Shared, mut stream: OwnedWriteHalf) {
    let mut sending = BytesMut::new();
    loop {
        std::mem::swap(&mut sending, &mut shared.lock().out);
        if sending.is_empty() {
            shared.queued.notified().await;
            continue;
        }
        if stream.write_all(&sending).await.is_err() {
            return shared.lose();
        }
        sending.clear();
    }
}

/// Passes replies to the calls that wait for them.
async fn read(shared: &Shared, mut stream: OwnedReadHalf, mut input: BytesMut) {
    while let Ok(frame) = read_frame(&mut stream, &mut input).await {
        let Ok((xid, error, body)) = parse_reply(frame) else { break };
        let waiting = shared.lock().waiting.pop_front();
        match waiting {
            Some((expected, sender)) if expected == xid => {
                // The call may have been dropped.
                let _ = sender.send(if error == 0 { Ok(body) } else { Err(error) });
            }
            _ => break,
        }
    }
    shared.lose();
}

/// Waits for a reply.
async fn reply(receiver: oneshot::Receiver<Reply>) -> Result<Bytes> {
    match receiver.await.context("the connection is lost")? {
        Ok(body) => Ok(body),
        Err(error) => bail!("ZooKeeper's error {error}"),
    }
}

impl Client {
    /// Connects to one node and opens a session.
    pub(super) async fn connect(address: &str) -> Result<Client> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut out = BytesMut::new();
        framed(&mut out, |out| {
            // Protocol version, last zxid seen, timeout, no session before this one, no password, not read-only.
            out.put_i32(0);
            out.put_i64(0);
            out.put_i32(SESSION_TIMEOUT_MS);
            out.put_i64(0);
            put_buffer(out, &[0; 16]);
            out.put_u8(0);
        });
        stream.write_all(&out).await?;
        let mut input = BytesMut::new();
        let mut granted = read_frame(&mut stream, &mut input).await?;
        ensure!(granted.len() >= 16, "no session was opened");
        granted.advance(4);
        ensure!(granted.get_i32() > 0, "the node serves no sessions yet");
        let shared = Arc::new(Shared::default());
        let (reading, writing) = stream.into_split();
        let mut tasks = JoinSet::new();
        let (reader, writer) = (shared.clone(), shared.clone());
        tasks.spawn(async move { read(&reader, reading, input).await });
        tasks.spawn(async move { write(&writer, writing).await });
        Ok(Client { shared, _tasks: tasks })
    }

    fn push(&self, operation: i32, body: impl FnOnce(&mut BytesMut)) -> oneshot::Receiver<Reply> {
        let receiver = self.shared.lock().push(operation, body);
        self.shared.queued.notify_one();
        receiver
    }

    pub(super) async fn set(&self, key: u32, value: Bytes) -> Result<()> {
        let set = self.push(SET_DATA, |out| {
            put_path(out, key);
            put_buffer(out, &value);
            // Any version.
            out.put_i32(-1);
        });
        reply(set).await?;
        Ok(())
    }

    /// Returns the length of the value. A linearizable read is a sync and a read, sent together: the node executes the
    /// requests of a session in order.
    pub(super) async fn get(&self, key: u32, local: bool) -> Result<usize> {
        let get = |out: &mut BytesMut| {
            put_path(out, key);
            // No watch.
            out.put_u8(0);
        };
        let body = if local {
            reply(self.push(GET_DATA, get)).await?
        } else {
            let (sync, get) = {
                let mut queue = self.shared.lock();
                (queue.push(SYNC, |out| put_path(out, key)), queue.push(GET_DATA, get))
            };
            self.shared.queued.notify_one();
            reply(sync).await?;
            reply(get).await?
        };
        let length = body.first_chunk().map(|length| i32::from_be_bytes(*length));
        length.and_then(|length| usize::try_from(length).ok()).context("a reply without a value")
    }

    pub(super) async fn set_both(&self, keys: [u32; 2], value: Bytes) -> Result<()> {
        let set = self.push(MULTI, |out| {
            for key in keys {
                put_multi_header(out, CHECK, false);
                put_path(out, key);
                // Any version.
                out.put_i32(-1);
            }
            for key in keys {
                put_multi_header(out, SET_DATA, false);
                put_path(out, key);
                put_buffer(out, &value);
                out.put_i32(-1);
            }
            put_multi_header(out, -1, true);
        });
        reply(set).await?;
        Ok(())
    }

    pub(super) async fn create(&self, keys: Range<u32>, values: &Arc<Values>) -> Result<()> {
        let parent = self.push(CREATE, |out| put_create(out, PARENT, b"")).await;
        match parent.context("the connection is lost")? {
            Ok(_) | Err(NODE_EXISTS) => {}
            Err(error) => bail!("{PARENT} cannot be created: ZooKeeper's error {error}"),
        }
        let keys: Vec<u32> = keys.collect();
        let mut waiting = VecDeque::new();
        for keys in keys.chunks(PRELOAD_KEYS) {
            if waiting.len() >= PRELOAD_IN_FLIGHT
                && let Some(oldest) = waiting.pop_front()
            {
                reply(oldest).await?;
            }
            waiting.push_back(self.push(MULTI, |out| {
                for key in keys {
                    put_multi_header(out, CREATE, false);
                    put_create(out, &path(*key), &values.at((*key).into()));
                }
                put_multi_header(out, -1, true);
            }));
        }
        for receiver in waiting {
            reply(receiver).await?;
        }
        Ok(())
    }

    /// Ends the session.
    pub(super) async fn close(self) {
        let closed = self.push(CLOSE, |_| ());
        // Otherwise the session ends by its timeout.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closed).await;
    }
}

fn put_multi_header(out: &mut BytesMut, operation: i32, done: bool) {
    out.put_i32(operation);
    out.put_u8(done.into());
    out.put_i32(-1);
}

/// What the node at `address` answers to the command `srvr`: its version and its mode, among others.
pub(crate) async fn describe(address: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"srvr").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Whether the node leads.
pub(super) async fn leads(address: &str) -> Result<bool> {
    Ok(describe(address).await?.lines().any(|line| line == "Mode: leader"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_carry_their_length_and_increasing_xids() {
        let mut queue = Queue::default();
        let _first = queue.push(SYNC, |out| put_path(out, 7));
        let _second = queue.push(CLOSE, |_| ());
        let path = path(7);
        let first = take_frame(&mut queue.out).expect("valid").expect("complete");
        assert_eq!(first.len(), 4 + 4 + 4 + path.len());
        assert_eq!((&first[..4], &first[12..]), (&1_i32.to_be_bytes()[..], path.as_bytes()));
        let second = take_frame(&mut queue.out).expect("valid").expect("complete");
        assert_eq!(second[..], [0, 0, 0, 2, 255, 255, 255, 245]);
        assert!(queue.out.is_empty() && queue.waiting.len() == 2);
    }

    #[test]
    fn frames_wait_until_they_are_complete() {
        let mut input = BytesMut::from(&[0, 0, 0, 2, 1][..]);
        assert!(take_frame(&mut input).expect("valid").is_none());
        input.put_slice(&[2, 0]);
        assert_eq!(take_frame(&mut input).expect("valid").as_deref(), Some(&[1, 2][..]));
        assert!(take_frame(&mut input).expect("valid").is_none());
        assert!(take_frame(&mut BytesMut::from(&[255, 255, 255, 255][..])).is_err());
    }

    #[test]
    fn a_lost_connection_fails_every_call() {
        let shared = Shared::default();
        let mut before = shared.lock().push(SYNC, |_| ());
        shared.lose();
        let mut after = shared.lock().push(SYNC, |_| ());
        assert!(before.try_recv().is_err() && after.try_recv().is_err());
    }
}
