//! Links between a port and raw connections, and between two ports.

use std::collections::VecDeque;

use gometa_zab::{Addresses, Epoch, Hello, Incarnation, Kind, LogEntry, Zxid};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::{inbox::Taken, net::outbox::Put};

struct Port {
    port: Arc<PeerPort>,
    address: std::net::SocketAddr,
    items: VecDeque<Item>,
}

impl Port {
    async fn open() -> Port {
        let (inbox, counters) = (Arc::new(Inbox::new()), Arc::default());
        let port = Arc::new(PeerPort::new(inbox, counters, Duration::from_secs(5), Arc::default()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(port.clone().run(Listener::from_std(listener).unwrap()));
        Port { port, address, items: VecDeque::new() }
    }

    async fn item(&mut self) -> Item {
        while self.items.is_empty() {
            let mut taken = Taken::default();
            self.port.inbox.take(&mut taken, std::time::Instant::now());
            self.items.extend(taken.peers);
            tokio::task::yield_now().await;
        }
        self.items.pop_front().unwrap()
    }

    async fn up(&mut self) -> (LinkId, Arc<Outbox<Message>>, gometa_zab::Event) {
        match self.item().await {
            Item::LinkUp { link, outbox, event: Event::Zab(event) } => (link, outbox, event),
            _ => panic!("no link"),
        }
    }

    /// A raw connection whose hello the node has received.
    async fn greeted(&mut self) -> (TcpStream, LinkId) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(&encoded(&hello())).await.unwrap();
        let (link, _, _) = self.up().await;
        assert!(matches!(self.event().await, gometa_zab::Event::Message { .. }));
        (stream, link)
    }

    async fn message(&mut self) -> (LinkId, Message) {
        match self.event().await {
            gometa_zab::Event::Message { link, message } => (link, message),
            _ => panic!("no message"),
        }
    }

    async fn event(&mut self) -> gometa_zab::Event {
        loop {
            match self.item().await {
                // Their number depends on timing.
                Item::Event(Event::Zab(gometa_zab::Event::Heard { .. })) => {}
                Item::Event(Event::Zab(event)) => return event,
                _ => panic!("no event"),
            }
        }
    }
}

fn hello() -> Message {
    Message::Hello(Hello {
        node: NodeId(1),
        incarnation: Incarnation(2),
        boot: 1,
        expected: Some(NodeId(2)),
        ensemble: None,
        addresses: Addresses::default(),
        voters: Vec::new(),
        configuration: Zxid::ZERO,
        levels: gometa_zab::Levels::SUPPORTED,
        level: None,
    })
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    message::encode(message, &mut bytes).unwrap();
    bytes.to_vec()
}

fn heartbeat(id: u64) -> Message {
    Message::Heartbeat { epoch: Epoch(1), id, commit: 0 }
}

fn large(counter: u64) -> Message {
    let previous = if counter == 1 { Zxid::ZERO } else { Zxid::new(1, counter - 1) };
    let entry = LogEntry {
        zxid: Zxid::new(1, counter),
        kind: Kind::Command,
        level: 1,
        payload: vec![7; 600_000].into(),
    };
    Message::Propose { epoch: Epoch(1), previous, entries: vec![entry], commit: 0 }
}

fn send(outbox: &Outbox<Message>, message: Message) {
    if outbox.put(message) == Put::First {
        outbox.flush();
    }
}

#[tokio::test]
async fn messages_arrive_in_order_in_both_directions() {
    let (mut ours, mut theirs) = (Port::open().await, Port::open().await);
    let peer = NodeId(2);
    tokio::spawn(ours.port.clone().dial(peer, theirs.address.to_string()));
    let (near, outbox, event) = ours.up().await;
    assert!(matches!(event, gometa_zab::Event::Connected { peer: who, link } if who == peer && link == near));
    // The other port learns of the link with the hello.
    send(&outbox, hello());
    let (far, back, event) = theirs.up().await;
    assert!(matches!(event, gometa_zab::Event::Accepted { link } if link == far));
    assert_ne!(near, far);
    assert_eq!(theirs.message().await, (far, hello()));
    let messages = [heartbeat(1), large(1), heartbeat(2), large(2), large(3), heartbeat(3)];
    for message in &messages {
        send(&outbox, message.clone());
    }
    for expected in messages {
        assert_eq!(theirs.message().await, (far, expected));
    }
    send(&back, heartbeat(4));
    assert_eq!(ours.message().await, (near, heartbeat(4)));
    // Messages put before a close still arrive.
    send(&outbox, heartbeat(5));
    outbox.close();
    assert_eq!(theirs.message().await, (far, heartbeat(5)));
    assert!(matches!(theirs.event().await, gometa_zab::Event::Closed { link } if link == far));
}

#[tokio::test]
async fn the_parts_of_a_message_are_signs_of_life_before_it_is_whole() {
    let mut port = Port::open().await;
    let (mut stream, up) = port.greeted().await;
    let message = large(1);
    let bytes = encoded(&message);
    let (last, first) = bytes.split_last().unwrap();
    let mut heard = 0;
    for piece in first.chunks(4 << 10) {
        stream.write_all(piece).await.unwrap();
        // A slow line; the whole of it takes several intervals.
        if let Ok(item) = timeout(Duration::from_millis(2), port.item()).await {
            let Item::Event(Event::Zab(gometa_zab::Event::Heard { link })) = item else { panic!("no part") };
            assert_eq!(link, up);
            heard += 1;
        }
    }
    assert!(heard > 1, "{heard}");
    stream.write_all(&[*last]).await.unwrap();
    assert_eq!(port.message().await, (up, message));
}

#[tokio::test]
async fn malformed_frames_close_the_link_and_are_counted() {
    let mut port = Port::open().await;
    for (count, bytes) in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 0, 0, 1, 0xff], &[0, 0, 0, 0], &[0xff; 64]]
        .into_iter()
        .enumerate()
    {
        // Without a hello: the node receives nothing.
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0);
        // After a hello.
        let (mut stream, up) = port.greeted().await;
        stream.write_all(bytes).await.unwrap();
        assert!(matches!(port.event().await, gometa_zab::Event::Closed { link } if link == up));
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0);
        assert_eq!(port.port.counters.links_malformed.load(Ordering::Relaxed), 2 * (count as u64 + 1));
    }
}

#[tokio::test]
async fn connections_are_closed_for_a_first_frame_that_is_long_or_not_a_hello() {
    let port = Port::open().await;
    for bytes in [encoded(&heartbeat(1)), (HELLO_MAX as u32 + 1).to_be_bytes().to_vec()] {
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0);
    }
    assert_eq!(port.port.counters.links_malformed.load(Ordering::Relaxed), 2);
    let mut taken = Taken::default();
    port.port.inbox.take(&mut taken, std::time::Instant::now());
    assert!(taken.peers.is_empty(), "the node receives nothing of them");
}

#[tokio::test]
async fn a_peer_is_accepted_among_connections_without_a_hello_and_the_oldest_is_closed() {
    let mut port = Port::open().await;
    let mut connections = Vec::new();
    for _ in 0..UNAUTHENTICATED_MAX + 1 {
        connections.push(TcpStream::connect(port.address).await.unwrap());
    }
    assert_eq!(connections[0].read(&mut [0; 16]).await.unwrap_or(0), 0);
    let mut peer = TcpStream::connect(port.address).await.unwrap();
    // In two pieces.
    let hello = encoded(&hello());
    peer.write_all(&hello[..7]).await.unwrap();
    peer.write_all(&hello[7..]).await.unwrap();
    let (up, _, event) = port.up().await;
    assert!(matches!(event, gometa_zab::Event::Accepted { link } if link == up));
    assert_eq!(connections[1].read(&mut [0; 16]).await.unwrap_or(0), 0);
    // A connection with a hello is not counted any more, and there is room for another one.
    let before = port.port.counters.connections_refused.load(Ordering::Relaxed);
    drop(TcpStream::connect(port.address).await.unwrap());
    assert_eq!((before, port.port.unauthenticated.0.lock().len() <= UNAUTHENTICATED_MAX), (2, true));
}

#[tokio::test]
async fn connecting_to_a_closed_port_fails() {
    let mut port = Port::open().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    port.port.clone().dial(NodeId(3), address).await;
    assert!(matches!(port.event().await, gometa_zab::Event::ConnectFailed { peer: NodeId(3) }));
}
