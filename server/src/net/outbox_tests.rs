//! One outbox, and the other end of its connection in the hands of the test.

use bytes::BufMut;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::*;

/// A message of one byte, repeated.
struct Blob(u8, usize);

/// The number of calls of the callback.
type Calls = Arc<AtomicUsize>;

impl Outgoing for Blob {
    fn size(&self) -> usize {
        self.1
    }

    fn encode(&self, buffer: &mut BytesMut) {
        buffer.put_bytes(self.0, self.1);
    }
}

fn bounds(count_max: usize, bytes_max: usize) -> Bounds {
    Bounds { count_max, bytes_max, total: Arc::default(), total_max: 1 << 30 }
}

async fn pair(bounds: Bounds) -> (Arc<Outbox<Blob>>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = Stream::connect(&listener.local_addr().unwrap().to_string()).await.unwrap();
    let (theirs, _) = listener.accept().await.unwrap();
    (Arc::new(Outbox::new(ours, bounds)), theirs)
}

/// Puts a message of one byte, and requests the callback.
fn put_and_notify(outbox: &Outbox<Blob>) {
    outbox.put(Blob(0, 1));
    outbox.notify_when_sent();
}

fn spawn_task(outbox: &Arc<Outbox<Blob>>) -> JoinHandle<()> {
    let outbox = outbox.clone();
    tokio::spawn(async move { outbox.run().await })
}

async fn pair_with_callback() -> (Arc<Outbox<Blob>>, TcpStream, Calls) {
    let (outbox, far) = pair(bounds(1_000, 1 << 30)).await;
    let calls = Calls::default();
    outbox.stream().writable().await.unwrap();
    let outbox = Arc::into_inner(outbox).unwrap().with_on_sent({
        let calls = calls.clone();
        move || {
            calls.fetch_add(1, Ordering::Relaxed);
        }
    });
    (Arc::new(outbox), far, calls)
}

#[tokio::test]
async fn a_small_message_is_written_by_the_calling_thread() {
    let (outbox, mut far) = pair(bounds(10, 1_000)).await;
    outbox.stream().writable().await.unwrap();
    assert_eq!(outbox.put(Blob(1, 3)), Put::First);
    assert_eq!(outbox.put(Blob(2, 2)), Put::Queued);
    outbox.flush();
    let mut read = [0; 5];
    // No task runs.
    far.read_exact(&mut read).await.unwrap();
    assert_eq!(read, [1, 1, 1, 2, 2]);
    assert_eq!(outbox.bounds.total.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn messages_arrive_in_order_and_closing_sends_the_queued_ones() {
    let (outbox, mut far) = pair(bounds(1_000, 1 << 30)).await;
    let task = spawn_task(&outbox);
    let reader = tokio::spawn(async move {
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        all
    });
    for number in 0..200 {
        outbox.put(Blob(number, 1 + usize::from(number) * 331));
        if number % 3 == 0 {
            outbox.flush();
        }
    }
    outbox.close();
    assert_eq!(outbox.put(Blob(0, 1)), Put::Closed);
    task.await.unwrap();
    let total = outbox.bounds.total.clone();
    drop(outbox);
    let all = reader.await.unwrap();
    assert!(all.is_sorted());
    assert_eq!(all.len(), (0..200).map(|number| 1 + number * 331).sum::<usize>());
    assert_eq!(total.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_full_outbox_accepts_no_more() {
    let (outbox, _far) = pair(bounds(2, 100)).await;
    // A single message may be larger than the bound.
    assert_eq!(outbox.put(Blob(0, 500)), Put::First);
    assert_eq!(outbox.put(Blob(0, 1)), Put::Full);
    let (outbox, _far) = pair(bounds(2, 100)).await;
    assert_eq!(outbox.put(Blob(0, 1)), Put::First);
    assert_eq!(outbox.put(Blob(0, 1)), Put::Queued);
    assert_eq!(outbox.put(Blob(0, 1)), Put::Full);
    let total = outbox.bounds.total.clone();
    assert_eq!(total.load(Ordering::Relaxed), 2 * (1 + size_of::<Blob>()));
    outbox.abort();
    assert_eq!(outbox.put(Blob(0, 1)), Put::Closed);
    assert_eq!(total.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_stalled_reader_never_blocks_a_put() {
    let (outbox, far) = pair(bounds(1_000, 32 << 20)).await;
    let task = spawn_task(&outbox);
    let mut full = false;
    for _ in 0..1_000 {
        full = outbox.put(Blob(0, 1 << 20)) == Put::Full;
        if full {
            break;
        }
        outbox.flush();
        tokio::task::yield_now().await;
    }
    assert!(full);
    outbox.abort();
    task.await.unwrap();
    drop(far);
}

#[tokio::test]
async fn the_callback_is_called_once_per_request() {
    let (outbox, _far, calls) = pair_with_callback().await;
    outbox.put(Blob(0, 1));
    outbox.flush();
    assert_eq!(calls.load(Ordering::Relaxed), 0, "not requested");
    put_and_notify(&outbox);
    put_and_notify(&outbox);
    assert_eq!(calls.load(Ordering::Relaxed), 0, "nothing is sent");
    outbox.flush();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert!(outbox.acknowledge_sent());
    outbox.put(Blob(0, 1));
    outbox.flush();
    assert_eq!(calls.load(Ordering::Relaxed), 1, "once");
    // With no message since, it is due at once.
    outbox.notify_when_sent();
    outbox.flush();
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn one_notification_is_pending_at_a_time_and_an_outdated_one_is_not_acknowledged() {
    let (outbox, _far, calls) = pair_with_callback().await;
    for _ in 0..3 {
        put_and_notify(&outbox);
        outbox.flush();
    }
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert!(outbox.acknowledge_sent(), "all three are sent");
    put_and_notify(&outbox);
    outbox.flush();
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    put_and_notify(&outbox);
    assert!(!outbox.acknowledge_sent(), "another message was put since");
    outbox.flush();
    assert_eq!(calls.load(Ordering::Relaxed), 3, "called again");
    assert!(outbox.acknowledge_sent());
}

#[tokio::test]
async fn the_task_calls_back_when_the_socket_has_accepted_everything() {
    /// More than the two sockets hold.
    const LARGE: usize = 64 << 20;
    let (outbox, mut far, calls) = pair_with_callback().await;
    let task = spawn_task(&outbox);
    outbox.put(Blob(7, LARGE));
    outbox.notify_when_sent();
    outbox.flush();
    let mut buffer = vec![0; 1 << 20];
    let mut read = far.read(&mut buffer).await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 0, "most of it is queued");
    while read < LARGE {
        read += far.read(&mut buffer).await.unwrap();
    }
    outbox.put(Blob(8, 1));
    outbox.close();
    task.await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    // An aborted connection does not call back.
    let (outbox, _far, calls) = pair_with_callback().await;
    let task = spawn_task(&outbox);
    outbox.put(Blob(7, LARGE));
    outbox.notify_when_sent();
    outbox.flush();
    outbox.abort();
    task.await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}
