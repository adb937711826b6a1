//! Invalid input: ports go on serving, and misbehaving clients get errors and do not affect others.

use std::time::{Duration, Instant};

use gometa_client::ErrorKind;
use gometa_proto::{
    limits::{CLIENT_FRAME_MAX, KEY_MAX, PEER_FRAME_MAX, VALUE_MAX},
    v1::{self, WriteContext, client_frame, request::Operation, response},
};
use gometa_tests::{
    ensemble::Ensemble,
    random::{self, Random},
    say,
    wait::PATIENCE,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, UdpSocket},
    task::JoinSet,
    time::timeout,
};

use crate::wire::Wire;

const TIMEOUT: Duration = Duration::from_secs(20);

/// Returns random bytes, some after a matching length prefix, some after one that is larger than
/// allowed, and some similar to a message.
fn nonsense(random: &mut Random, frame_max: usize) -> Vec<u8> {
    let length = 1 + random.below(4_000) as usize;
    let mut bytes = random.bytes(length);
    let announced = match random.below(4) {
        0 => return bytes,
        1 => bytes.len(),
        2 => frame_max + 1 + random.below(1 << 20) as usize,
        _ => {
            // A field of a message, with a random length.
            bytes[0] = (random.below(16) as u8) << 3 | 2;
            bytes.len()
        }
    };
    [&(announced as u32).to_be_bytes()[..], &bytes].concat()
}

async fn feed(address: String, pieces: Vec<Vec<u8>>) {
    for piece in pieces {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        // The node may have closed it already.
        drop(timeout(PATIENCE, stream.write_all(&piece)).await.unwrap());
        drop(timeout(PATIENCE, stream.shutdown()).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_bytes_on_all_ports_have_no_effect() {
    const DATAGRAMS: usize = 5_000;
    const CONNECTIONS: usize = 300;
    let mut random = random::of_this_run("nonsense");
    let ensemble = Ensemble::start(3).await;
    let client = ensemble.client(TIMEOUT);
    client.set("k", "0").await.unwrap();
    let before = ensemble.converged(&ensemble.all()).await;
    let mut noise = JoinSet::new();
    for node in ensemble.all() {
        let addresses = ensemble.addresses(node);
        for (address, frame_max) in
            [(addresses.message, PEER_FRAME_MAX), (addresses.request, CLIENT_FRAME_MAX)]
        {
            let pieces = (0..CONNECTIONS).map(|_| nonsense(&mut random, frame_max)).collect();
            noise.spawn(feed(address.to_string(), pieces));
        }
        let mut random = random::seeded(random.word());
        noise.spawn(async move {
            let socket = UdpSocket::bind((addresses.election.ip(), 0)).await.unwrap();
            for _ in 0..DATAGRAMS {
                let length = random.below(700) as usize;
                drop(socket.send_to(&random.bytes(length), addresses.election).await);
            }
        });
    }
    let mut writes = 0;
    while !noise.is_empty() {
        client.set("k", writes.to_string()).await.unwrap();
        writes += 1;
        while let Some(ended) = noise.try_join_next() {
            ended.unwrap();
        }
    }
    assert!(writes > 0);
    let after = ensemble.converged(&ensemble.all()).await;
    for node in ensemble.all() {
        assert_eq!((after[node].epoch, after[node].leader), (before[node].epoch, before[node].leader));
        assert!(ensemble.log(node).lines().all(|line| !line.contains("panic")), "node {node}");
    }
    assert_eq!(after[0].keys, 1);
    assert_eq!(client.get("k").await.unwrap().value, (writes - 1).to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_requests_get_errors_that_name_the_cause() {
    let ensemble = Ensemble::start(1).await;
    let client = ensemble.client(TIMEOUT);
    // The client refuses these itself; the node must as well.
    let mut wire = Wire::connect(&ensemble.request(0)).await;
    let session = wire.open_session([7; 16]).await;
    let set =
        |key: Vec<u8>, value: Vec<u8>| Some(Operation::Set(v1::Set { key: key.into(), value: value.into() }));
    let senseless = [
        (set(vec![], b"v".to_vec()), ErrorKind::InvalidArgument, "empty"),
        (set(vec![b'k'; KEY_MAX + 1], vec![]), ErrorKind::TooLarge, "4096"),
        (set(b"k".to_vec(), vec![0; VALUE_MAX + 1]), ErrorKind::TooLarge, "1048576"),
        (None, ErrorKind::Unsupported, "does not know"),
    ];
    for (seq, (operation, kind, words)) in (1..).zip(senseless) {
        let id = wire.ask(Some(WriteContext { session, seq, lowest: seq }), operation).await;
        match wire.answer(id).await {
            response::Result::Error(error) => {
                assert_eq!(error.error_kind(), kind, "{error:?}");
                assert!(error.message.contains(words), "{error:?}");
            }
            other => panic!("{kind} was answered with {other:?}"),
        }
    }
    // Without a session, and with one that was never opened.
    for (context, kind) in [
        (None, ErrorKind::InvalidArgument),
        (Some(WriteContext { session: 999_999, seq: 1, lowest: 1 }), ErrorKind::SessionExpired),
    ] {
        let id = wire.ask(context, set(b"k".to_vec(), vec![])).await;
        match wire.answer(id).await {
            response::Result::Error(error) => assert_eq!(error.error_kind(), kind, "{error:?}"),
            other => panic!("{kind} was answered with {other:?}"),
        }
    }
    // Everything at its limit is legal, and so is an empty value.
    client.set(vec![b'k'; KEY_MAX], vec![0; VALUE_MAX]).await.unwrap();
    client.set("empty", "").await.unwrap();
    assert_eq!(client.get("empty").await.unwrap().value, "");
    assert_eq!(client.get(vec![b'k'; KEY_MAX]).await.unwrap().value.len(), VALUE_MAX);
    let error = client.set("k", vec![0; VALUE_MAX + 1]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.to_string().contains("1048576"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misbehaving_clients_get_errors_and_delay_no_other_client() {
    let ensemble = Ensemble::start(1).await;
    let address = ensemble.request(0);
    // Sends nothing; checked again at the end.
    let mut silent = Wire::silent(&address).await;

    let mut oversized = Wire::connect(&address).await;
    oversized.send(&(CLIENT_FRAME_MAX as u32 + 1).to_be_bytes()).await;
    let error = oversized.last_error().await.expect("an error is sent before the connection is closed");
    assert_eq!(error.error_kind(), ErrorKind::TooLarge, "{error:?}");
    assert!(error.message.contains(&CLIENT_FRAME_MAX.to_string()), "{error:?}");

    let mut garbage = Wire::connect(&address).await;
    garbage.send(&[&6_u32.to_be_bytes()[..], b"\xff\xff\xff\xff\xff\xff"].concat()).await;
    let error = garbage.last_error().await.expect("an error is sent before the connection is closed");
    assert_eq!(error.error_kind(), ErrorKind::InvalidArgument, "{error:?}");

    let mut rude = Wire::silent(&address).await;
    rude.say(client_frame::Body::Ping(v1::Ping { nonce: 1, session: 0 })).await;
    let error = rude.last_error().await.expect("an error is sent before the connection is closed");
    assert_eq!(error.error_kind(), ErrorKind::InvalidArgument, "{error:?}");

    let mut futuristic = Wire::silent(&address).await;
    let hello = v1::Hello { protocol_min: 1_000, protocol_max: 1_001, ..v1::Hello::default() };
    futuristic.say(client_frame::Body::Hello(hello)).await;
    let error = futuristic.last_error().await.expect("an error is sent before the connection is closed");
    assert_eq!(error.error_kind(), ErrorKind::Unsupported, "{error:?}");

    assert!(silent.last_error().await.is_some(), "a client without a Hello gets an error and is closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_read_no_answers_cost_bounded_memory_and_no_election() {
    const GREEDY: usize = 4;
    /// A thousandth of the requested bytes.
    const MEMORY_MAX_KIB: u64 = 192 << 10;
    const WRITE_MAX: Duration = Duration::from_millis(500);
    let ensemble = Ensemble::start(3).await;
    let client = ensemble.client(TIMEOUT);
    client.set("large", vec![b'x'; VALUE_MAX]).await.unwrap();
    let leader = ensemble.leader().await;
    let before = ensemble.converged(&ensemble.all()).await;
    let memory = ensemble.process(leader).resident_kib();
    let mut all_greedy = Vec::new();
    let (mut slowest, mut peak) = (Duration::ZERO, memory);
    for _ in 0..GREEDY {
        let mut greedy = Wire::connect(&ensemble.request(leader)).await;
        let asking = async {
            for _ in 0..1_000 {
                let get = v1::Get { key: "large".into(), ..v1::Get::default() };
                greedy.ask(None, Some(Operation::Get(get))).await;
            }
        };
        asking.await;
        all_greedy.push(greedy);
        for _ in 0..50 {
            let sent = Instant::now();
            client.set("k", "v").await.unwrap();
            slowest = slowest.max(sent.elapsed());
            peak = peak.max(ensemble.process(leader).resident_kib());
        }
    }
    peak = peak.max(ensemble.process(leader).peak_kib());
    say(&format!(
        "{GREEDY} clients ask for 1,000 MiB each and read nothing: memory went from {} to {} MiB, the slowest write \
         took {slowest:.0?}",
        memory >> 10,
        peak >> 10
    ));
    let after = ensemble.converged(&ensemble.all()).await;
    assert_eq!(after[leader].epoch, before[leader].epoch, "there was an election");
    assert!(peak < memory + MEMORY_MAX_KIB, "{memory} KiB grew to {peak} KiB");
    assert!(slowest < WRITE_MAX, "a write took {slowest:?}");
}
