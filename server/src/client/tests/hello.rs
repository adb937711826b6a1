use super::*;

#[tokio::test]
async fn a_hello_is_answered_with_ensemble_limits_and_view() {
    let port = Port::open(KeepaliveConfig::default()).await;
    port.clients.set_view(v1::View { role: v1::Role::Leading.into(), leader: "a:3".into(), members: vec![] });
    let mut connection = port.connect().await;
    let known = v1::EnsembleRef { id: 0xabcd_u128.to_be_bytes().to_vec().into(), history: 1 };
    connection.send(hello(0, 9, Some(known.clone()))).await;
    let Some(Received::Welcome(welcome)) = connection.receive().await else { panic!("no welcome") };
    assert_eq!((welcome.protocol, welcome.node, welcome.ensemble), (1, 7, Some(known)));
    assert_eq!(welcome.limits, Some(limits::advertised(60_000)));
    assert_eq!(welcome.view.unwrap().leader, "a:3");
}

#[tokio::test]
async fn a_client_that_was_welcomed_without_an_ensemble_is_closed_when_there_is_one() {
    let limits = ClientLimits { clients_max: 100, bytes: 256 << 20 };
    let port = Port::of_no_ensemble(KeepaliveConfig::default(), limits);
    let mut early = port.connect().await;
    early.send(hello(1, 1, None)).await;
    let Some(Received::Welcome(welcome)) = early.receive().await else { panic!("no welcome") };
    assert_eq!(welcome.ensemble, None);
    port.clients.set_ensemble(ENSEMBLE);
    assert!(early.receive().await.is_none(), "the connection ends");
    let mut again = port.connect().await;
    again.send(hello(1, 1, None)).await;
    let Some(Received::Welcome(welcome)) = again.receive().await else { panic!("no welcome") };
    assert_eq!(welcome.ensemble.map(|ensemble| ensemble.history), Some(1));
}

#[tokio::test]
async fn incompatible_hellos_are_refused_with_the_reason() {
    let port = Port::open(KeepaliveConfig::default()).await;
    let other = v1::EnsembleRef { id: vec![1; 16].into(), history: 1 };
    let of_history =
        |history| Some(v1::EnsembleRef { id: 0xabcd_u128.to_be_bytes().to_vec().into(), history });
    for (first, kind, text) in [
        (hello(2, 5, None), ErrorKind::Unsupported, "this node speaks protocol 1, the client 2 to 5"),
        (hello(1, 1, Some(other)), ErrorKind::InvalidArgument, "another ensemble"),
        (hello(1, 1, of_history(0)), ErrorKind::HistoryChanged, "was founded anew"),
        (hello(1, 1, of_history(2)), ErrorKind::Unavailable, "was left behind"),
        (get(1), ErrorKind::InvalidArgument, "the first frame of a connection is a Hello"),
    ] {
        let mut connection = port.connect().await;
        connection.send(first).await;
        connection.closed_with(kind, text).await;
    }
}

#[tokio::test]
async fn a_connection_without_a_hello_is_closed() {
    let keepalive = KeepaliveConfig { hello_timeout: Duration::from_millis(1), ..KeepaliveConfig::default() };
    let port = Port::open(keepalive).await;
    port.connect().await.closed_with(ErrorKind::DeadlineExceeded, "no Hello").await;
}

#[tokio::test]
async fn malformed_bytes_close_the_connection_with_the_reason() {
    let port = Port::open(KeepaliveConfig::default()).await;
    for (bytes, kind, text) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], ErrorKind::TooLarge, "exceeds the limit of 1114112"),
        (&[0, 0, 0, 2, 0x12, 0x7f], ErrorKind::InvalidArgument, "no ClientFrame"),
        (&[0, 0, 0, 0], ErrorKind::Unsupported, "kind that this node does not know"),
        (&[0xff, 0xff, 0xff, 0xff], ErrorKind::TooLarge, "4294967295 bytes"),
    ] {
        for greeted in [false, true] {
            let mut connection = if greeted { port.greet().await } else { port.connect().await };
            connection.stream.write_all(bytes).await.unwrap();
            let error = connection.closing_error().await;
            if greeted || kind != ErrorKind::Unsupported {
                assert_eq!(error.error_kind(), kind);
                assert!(error.message.contains(text), "{}", error.message);
            }
        }
    }
}

#[tokio::test]
async fn a_frame_over_the_limit_is_refused_while_it_is_being_sent() {
    let port = Port::open(KeepaliveConfig::default()).await;
    let mut connection = port.greet().await;
    let length = 2 * limits::CLIENT_FRAME_MAX;
    let (mut read, mut write) = connection.stream.into_split();
    let sender = tokio::spawn(async move {
        write.write_all(&u32::try_from(length).unwrap().to_be_bytes()).await.unwrap();
        write.write_all(&vec![0; length]).await
    });
    while read.read_buf(&mut connection.buffer).await.unwrap() > 0 {}
    let bytes = frame::decode_frame(&mut connection.buffer, limits::CLIENT_FRAME_MAX).unwrap().unwrap();
    let Some(Received::Error(error)) = v1::ServerFrame::decode(bytes).unwrap().body else {
        panic!("no error")
    };
    assert_eq!(error.error_kind(), ErrorKind::TooLarge);
    assert_eq!(
        error.message,
        format!("a frame of {length} bytes exceeds the limit of {}", limits::CLIENT_FRAME_MAX)
    );
    sender.await.unwrap().unwrap();
}

#[tokio::test]
async fn connections_are_bounded() {
    let port =
        Port::open_with(KeepaliveConfig::default(), ClientLimits { clients_max: 1, bytes: 256 << 20 }).await;
    let first = port.greet().await;
    port.connect().await.closed_with(ErrorKind::ResourceExhausted, "no more than 1 connections").await;
    drop(first);
    // Accepted again once the port has noticed.
    port.greet_when_possible().await;
}

#[tokio::test]
async fn a_connection_without_a_hello_is_evicted_for_a_new_one() {
    let port = Port::open_with(KeepaliveConfig::default(), small_limits(2)).await;
    let mut greeted = port.greet().await;
    let mut silent = port.connect().await;
    let mut newest = port.greet().await;
    assert_eq!(silent.receive().await, None, "evicted");
    // No connection without a hello is left.
    port.connect().await.closed_with(ErrorKind::ResourceExhausted, "no more than 2 connections").await;
    for connection in [&mut greeted, &mut newest] {
        connection.ping(1).await;
        assert!(matches!(connection.receive().await, Some(Received::Pong(_))));
    }
}

#[tokio::test]
async fn a_long_hello_is_refused() {
    let port = Port::open(KeepaliveConfig::default()).await;
    let mut connection = port.connect().await;
    connection.stream.write_all(&(HELLO_MAX as u32 + 1).to_be_bytes()).await.unwrap();
    connection.closed_with(ErrorKind::TooLarge, "exceeds the limit of 4096").await;
}
