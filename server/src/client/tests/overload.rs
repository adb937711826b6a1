use super::*;

#[tokio::test]
async fn the_node_is_notified_once_when_large_answers_are_sent() {
    let port = Port::open(KeepaliveConfig::default()).await;
    let mut connection = port.greet().await;
    let ask = async |connection: &mut Connection, id| {
        connection.send(get(id)).await;
        port.requester().await
    };
    let notified = || {
        let mut taken = Taken::default();
        port.inbox.take(&mut taken, std::time::Instant::now());
        assert!(taken.clients.is_empty());
        let client_of = |item| match item {
            Item::Event(Event::Sent { client }) => client,
            _ => panic!("not a notification"),
        };
        taken.peers.into_iter().map(client_of).collect::<Vec<_>>()
    };
    let client = ask(&mut connection, 1).await;
    port.respond_value(client, 1, 100);
    connection.response().await;
    assert_eq!(notified(), [], "it is small");
    ask(&mut connection, 2).await;
    ask(&mut connection, 3).await;
    port.respond_value(client, 2, 5_000);
    port.respond_value(client, 3, 5_000);
    connection.response().await;
    connection.response().await;
    // Sent by the answering thread, since the socket accepts this much.
    assert_eq!(notified(), [client]);
    assert!(port.clients.acknowledge_sent(client));
    // After a cancellation, too: the node waits for the notification.
    ask(&mut connection, 4).await;
    connection.send(Sent::Cancel(v1::Cancel { id: 4 })).await;
    assert!(matches!(port.events(1).await[0], Event::Cancel { id: 4, .. }));
    port.respond_value(client, 4, limits::VALUE_MAX);
    assert_eq!(notified(), [client]);
    // Clients that are gone are not acknowledged.
    drop(connection);
    assert!(matches!(port.events(1).await[0], Event::ClientGone { .. }));
    assert!(!port.clients.acknowledge_sent(client));
}

#[tokio::test]
async fn a_client_that_does_not_read_delays_no_other() {
    let port = Port::open(KeepaliveConfig::default()).await;
    let (mut slow, mut other) = (port.greet().await, port.greet().await);
    let mut gone = false;
    for id in 0..200 {
        // In the end the connection is closed.
        slow.send(get(id)).await;
        match port.events(1).await[0] {
            Event::Request { client, .. } => port.respond_value(client, id, limits::VALUE_MAX),
            Event::ClientGone { .. } => {
                gone = true;
                break;
            }
            ref event => panic!("{event:?}"),
        }
    }
    assert!(gone);
    other.send(get(1)).await;
    assert!(matches!(&port.events(1).await[0], Event::Request { request, .. } if request.id == 1));
}

/// A connection that announces a frame of the maximal length, and sends some of it.
async fn announce_large_frame(port: &Port) -> Connection {
    let mut connection = port.greet().await;
    let length = u32::try_from(limits::CLIENT_FRAME_MAX).unwrap().to_be_bytes();
    connection.stream.write_all(&[&length[..], &[0; 100]].concat()).await.unwrap();
    connection
}

#[tokio::test]
async fn a_slow_frame_with_a_reservation_times_out_while_others_wait() {
    let port = Port::open_with(KeepaliveConfig::default(), small_limits(10)).await;
    // The budget is three frames, and a little.
    let mut slow = Vec::new();
    for _ in 0..3 {
        slow.push(announce_large_frame(&port).await);
    }
    let mut reading = port.greet().await;
    let value = bytes::Bytes::from(vec![1; limits::VALUE_MAX]);
    let set = Operation::Set(v1::Set { key: "k".into(), value: value.clone() });
    reading.send(Sent::Request(v1::Request { id: 1, operation: Some(set), ..v1::Request::default() })).await;
    let request = loop {
        // Slow clients may be closed before it.
        let mut events = port.events(1).await.into_iter();
        if let Some(Event::Request { request, .. }) =
            events.find(|event| matches!(event, Event::Request { .. }))
        {
            break request;
        }
    };
    assert!(matches!(&request.operation, Some(Operation::Set(set)) if set.value == value));
    slow[0].closed_with(ErrorKind::DeadlineExceeded, "takes too long").await;
}

#[tokio::test]
async fn a_request_keeps_only_the_memory_that_it_is_counted_for() {
    let port = Port::open(KeepaliveConfig::default()).await;
    let mut connection = port.greet().await;
    // A small key after a large unknown field.
    let request = v1::Request {
        id: 1,
        operation: Some(Operation::Get(v1::Get { key: "key".into(), ..v1::Get::default() })),
        ..v1::Request::default()
    };
    let mut body = vec![0xe2, 0x03];
    prost::encoding::encode_varint(limits::VALUE_MAX as u64, &mut body);
    body.extend(vec![0; limits::VALUE_MAX]);
    body.extend(request.encode_to_vec());
    let mut frame = vec![0x12];
    prost::encoding::encode_varint(body.len() as u64, &mut frame);
    frame.extend(body);
    connection.send_frame(&frame).await;
    let Event::Request { request, .. } = port.events(1).await.remove(0) else { panic!("no request") };
    let Some(Operation::Get(v1::Get { key, .. })) = request.operation else { panic!("no get") };
    assert_eq!(key, "key");
    // Its memory is not shared: only then it can be made mutable.
    assert_eq!(key.try_into_mut().expect("its own").capacity(), 3);
}

#[tokio::test]
async fn a_client_with_more_requests_than_are_left_is_refused_and_another_is_not() {
    let port = Port::open_with(KeepaliveConfig::default(), small_limits(10)).await;
    let (mut heavy, mut other) = (port.greet().await, port.greet().await);
    // 4 MiB for requests: half of them for one alone.
    let add = |id| {
        let add = v1::Add { key: "k".into(), value: vec![0; 500_000].into() };
        Sent::Request(v1::Request { id, operation: Some(Operation::Add(add)), ..v1::Request::default() })
    };
    for id in 1..=5 {
        heavy.send(add(id)).await;
    }
    let response = heavy.response().await;
    assert_eq!(response.id, 5);
    let error = response_error(response);
    assert_eq!(error.error_kind(), ErrorKind::ResourceExhausted);
    assert!(error.message.contains("this node has too many requests waiting"), "{}", error.message);
    other.send(add(1)).await;
    assert_eq!(port.events(5).await.len(), 5);
    // A closed connection releases its requests.
    drop(heavy);
    assert!(matches!(port.events(1).await[0], Event::ClientGone { .. }));
    other.send(add(2)).await;
    other.send(add(3)).await;
    assert_eq!(port.events(2).await.len(), 2);
}

#[tokio::test]
async fn beyond_the_bound_of_answers_clients_that_do_not_read_are_closed() {
    const SLOW_CLIENTS: usize = 12;
    let port = Port::open_with(KeepaliveConfig::default(), small_limits(100)).await;
    let answer = |client, id| port.respond_value(client, id, limits::VALUE_MAX);
    let requester = async |gone: &mut usize| loop {
        match port.events(1).await.remove(0) {
            Event::Request { client, .. } => break client,
            Event::ClientGone { .. } => *gone += 1,
            event => panic!("{event:?}"),
        }
    };
    let mut reading = port.greet().await;
    let mut slow_clients = Vec::new();
    let mut gone = 0;
    for number in 0..SLOW_CLIENTS {
        let mut connection = port.greet().await;
        connection.send(get(1)).await;
        connection.send(get(2)).await;
        let client = requester(&mut gone).await;
        assert_eq!(requester(&mut gone).await, client);
        answer(client, 1);
        answer(client, 2);
        slow_clients.push(connection);
        // A client that reads each answer, of the same size.
        reading.send(get(number as u64)).await;
        let client = requester(&mut gone).await;
        answer(client, number as u64);
        assert_eq!(reading.response().await.id, number as u64);
    }
    assert!(gone > 0, "24 MiB exceed the bound of 8 MiB");
}
