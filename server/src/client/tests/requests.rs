use super::*;

#[tokio::test]
async fn requests_are_passed_in_order_and_answered_in_any_order() {
    let port = Port::open(KeepaliveConfig::default()).await;
    let mut connection = port.greet().await;
    for id in 1..=3 {
        connection.send(get(id)).await;
    }
    let events = port.events(3).await;
    let mut client = None;
    for (event, expected) in events.iter().zip(1..) {
        let Event::Request { client: from, request } = event else { panic!("{event:?}") };
        assert_eq!(request.id, expected);
        client = Some(*from);
    }
    for id in [2, 3, 1] {
        port.respond(client.unwrap(), id);
        assert_eq!(connection.response().await.id, id);
    }
}

#[tokio::test]
async fn a_cancelled_request_is_not_answered() {
    let port = Port::open(KeepaliveConfig::default()).await;
    let mut connection = port.greet().await;
    connection.send(get(1)).await;
    connection.send(Sent::Cancel(v1::Cancel { id: 1 })).await;
    // An unknown id has no effect.
    connection.send(Sent::Cancel(v1::Cancel { id: 99 })).await;
    connection.send(get(2)).await;
    let events = port.events(3).await;
    let Event::Request { client, .. } = events[0] else { panic!("{events:?}") };
    assert!(matches!(events[1], Event::Cancel { id: 1, .. }), "{events:?}");
    assert!(matches!(&events[2], Event::Request { request, .. } if request.id == 2), "{events:?}");
    port.respond(client, 1);
    port.respond(client, 2);
    assert_eq!(connection.response().await.id, 2);
}

#[tokio::test]
async fn an_unknown_request_is_unsupported_and_the_connection_goes_on() {
    let port = Port::open(KeepaliveConfig::default()).await;
    let mut connection = port.greet().await;
    // Field 60 of a Request: an operation that does not exist.
    let mut request = v1::Request { id: 4, ..v1::Request::default() }.encode_to_vec();
    request.extend([0xe2, 0x03, 0x00]);
    let mut bytes = vec![0x12, request.len() as u8];
    bytes.extend(request);
    connection.send_frame(&bytes).await;
    let response = connection.response().await;
    assert_eq!(response.id, 4);
    let error = response_error(response);
    assert_eq!((error.error_kind(), error.outcome), (ErrorKind::Unsupported, v1::Outcome::NotApplied as i32));
    connection.ping(1).await;
    assert!(matches!(connection.receive().await, Some(Received::Pong(_))));
}

#[tokio::test]
async fn requests_beyond_the_limit_in_flight_are_refused_one_by_one() {
    let port = Port::open(KeepaliveConfig::default()).await;
    let mut connection = port.greet().await;
    let max = limits::REQUESTS_MAX as u64;
    for id in 1..=max + 1 {
        connection.send(get(id)).await;
    }
    let response = connection.response().await;
    assert_eq!(response.id, max + 1);
    let error = response_error(response);
    assert_eq!(error.error_kind(), ErrorKind::ResourceExhausted);
    assert!(error.retry_after_ms > 0);
    // An answer frees a slot.
    let events = port.events(max as usize).await;
    let Event::Request { client, .. } = events[0] else { panic!("{events:?}") };
    port.respond(client, 1);
    assert_eq!(connection.response().await.id, 1);
    connection.send(get(max + 2)).await;
    assert!(matches!(&port.events(1).await[0], Event::Request { request, .. } if request.id == max + 2));
}

#[tokio::test]
async fn a_request_id_that_does_not_rise_closes_the_connection() {
    let port = Port::open(KeepaliveConfig::default()).await;
    for (first, second) in [(1, 1), (5, 4), (u64::MAX, 0), (0, 0)] {
        let mut connection = port.greet().await;
        connection.send(get(first)).await;
        // Even after the first one was cancelled.
        connection.send(Sent::Cancel(v1::Cancel { id: first })).await;
        connection.send(get(second)).await;
        let message = format!("request id {second} comes after {first}: ids rise, and none is used twice");
        connection.closed_with(ErrorKind::InvalidArgument, &message).await;
    }
}

#[tokio::test]
async fn the_node_receives_the_name_and_address_of_a_client() {
    let port = Port::open(KeepaliveConfig::default()).await;
    let mut connection = port.connect().await;
    let name = "line\n".to_owned() + &"x".repeat(100);
    connection
        .send(Sent::Hello(v1::Hello {
            protocol_min: 1,
            protocol_max: 1,
            client: name,
            version: "1".into(),
            ensemble: None,
        }))
        .await;
    connection.send(get(1)).await;
    let events = port.events_but(2, |_| false).await;
    let Event::ClientNamed { client, name } = &events[0] else { panic!("{events:?}") };
    assert_eq!(**name, *format!("127.0.0.1 \"line\\n{}\" \"1\"", "x".repeat(59)));
    assert!(matches!(&events[1], Event::Request { client: who, .. } if who == client), "{events:?}");
}

#[tokio::test]
async fn the_node_receives_that_a_client_is_gone() {
    let port = Port::open(KeepaliveConfig::default()).await;
    let mut connection = port.greet().await;
    connection.send(get(1)).await;
    let client = port.requester().await;
    drop(connection);
    let gone = port.events(1).await;
    assert!(matches!(&gone[0], Event::ClientGone { client: who } if *who == client), "{gone:?}");
    // Ignored.
    port.respond(client, 1);
}
