use super::*;

#[tokio::test]
async fn a_ping_is_answered_at_once_and_is_a_contact_of_its_session() {
    let port = Port::open(KeepaliveConfig::default()).await;
    let mut connection = port.greet().await;
    connection.ping(5).await;
    connection.send(Sent::Ping(v1::Ping { nonce: 6, session: 77 })).await;
    for nonce in [5, 6] {
        assert_eq!(connection.receive().await, Some(Received::Pong(v1::Pong { nonce })));
    }
    assert!(matches!(port.events(1).await[0], Event::Contact { session: 77 }));
}

#[tokio::test]
async fn with_a_stalled_driver_pings_are_answered_when_it_goes_on() {
    let port = Port::open(short_stall()).await;
    let mut connection = driven(&port, port.greet()).await;
    driven(&port, async {
        connection.ping(1).await;
        assert_eq!(connection.receive().await, Some(Received::Pong(v1::Pong { nonce: 1 })));
    })
    .await;
    port.stall().await;
    for nonce in 2..=4 {
        connection.ping(nonce).await;
    }
    // The pings were read when a later request is answered; an unknown operation is refused without the driver.
    connection.send(Sent::Request(v1::Request { id: 1, ..v1::Request::default() })).await;
    assert_eq!(connection.response().await.id, 1);
    for nonce in 5..=6 {
        connection.ping(nonce).await;
    }
    driven(&port, async {
        for nonce in 2..=6 {
            assert_eq!(connection.receive().await, Some(Received::Pong(v1::Pong { nonce })));
        }
    })
    .await;
}

#[tokio::test]
async fn with_a_stalled_driver_no_client_is_welcomed() {
    let keepalive = KeepaliveConfig { hello_timeout: Duration::from_millis(100), ..short_stall() };
    let port = Port::open(keepalive).await;
    port.stall().await;
    let mut connection = port.connect().await;
    connection.send(hello(1, 1, None)).await;
    connection.closed_with(ErrorKind::Unavailable, "its driver has not stepped").await;
    driven(&port, port.greet()).await;
}

#[tokio::test]
async fn with_a_stalled_driver_excess_requests_are_refused_as_unavailable() {
    let port = Port::open(short_stall()).await;
    let mut connection = driven(&port, port.greet()).await;
    port.stall().await;
    for id in 1..=limits::REQUESTS_MAX as u64 + 1 {
        connection.send(get(id)).await;
    }
    let error = response_error(connection.response().await);
    assert_eq!(error.error_kind(), ErrorKind::Unavailable);
    assert_eq!(error.outcome, v1::Outcome::NotApplied as i32);
}

#[tokio::test]
async fn a_changed_view_is_sent_to_all_clients() {
    let port = Port::open(KeepaliveConfig::default()).await;
    let (mut one, mut two) = (port.greet().await, port.greet().await);
    let view = v1::View { role: v1::Role::Following.into(), leader: "b:3".into(), members: vec![] };
    port.clients.set_view(view.clone());
    for connection in [&mut one, &mut two] {
        assert_eq!(connection.receive().await, Some(Received::View(view.clone())));
    }
}

#[tokio::test]
async fn an_idle_client_is_pinged_and_then_closed() {
    let interval = Duration::from_millis(5);
    let port = Port::open(KeepaliveConfig {
        interval,
        ping_after: 2,
        close_after: 40,
        ..KeepaliveConfig::default()
    })
    .await;
    let mut connection = port.greet().await;
    assert!(matches!(connection.receive().await, Some(Received::Ping(_))));
    while let Some(frame) = connection.receive().await {
        assert!(matches!(frame, Received::Ping(_)), "{frame:?}");
    }
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_evicted_for_a_new_one() {
    let interval = Duration::from_millis(5);
    let keepalive =
        KeepaliveConfig { interval, ping_after: 1, close_after: u64::MAX, ..KeepaliveConfig::default() };
    let port = Port::open_with(keepalive, small_limits(1)).await;
    let mut unresponsive = port.greet().await;
    assert!(matches!(unresponsive.receive().await, Some(Received::Ping(_))));
    // After a keepalive tick.
    port.greet_when_possible().await;
    while let Some(frame) = unresponsive.receive().await {
        assert!(matches!(frame, Received::Ping(_)), "{frame:?}");
    }
}
