//! The clients' port: accepts connections and bounds their number. [`Connection`] serves each of them.
//!
//! When all connections are in use, a new one replaces the oldest that has sent no `Hello`, or one that does not answer
//! pings; if there is neither, it is answered with an error.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use gometa_node::Event;
use gometa_proto::{ErrorKind, v1};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tracing::debug;

use crate::{
    client::{
        connection::{Connection, End, PortContext, RETRY_AFTER_MS},
        registry::Client,
    },
    net::transport::{Listener, Stream},
    observe::counters::Counters,
};

/// The bound of bytes that the system buffers for one connection. The rest is queued in the outbox, where it is counted.
const UNSENT_MAX: u32 = 128 << 10;
/// The number of new connections that replace another one at a time; further ones are closed.
const EVICTIONS_MAX: usize = 64;
/// The time for the replaced connection to close.
const EVICTION_TIMEOUT: Duration = Duration::from_secs(1);
/// The number of connections that are refused with an error at a time; further ones are closed.
const REFUSALS_MAX: usize = 64;
/// A client with more unread bytes than this is closed without an error frame.
const UNREAD_MAX: usize = 8 << 10;
/// The time for a refused client to read the error.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// What a refused client may still send meanwhile, in bytes.
const CLOSE_DISCARD_MAX: usize = 64 << 20;

pub(crate) struct ClientPort {
    pub(crate) context: PortContext,
    /// The number of connections.
    pub(crate) clients_max: usize,
}

impl ClientPort {
    /// Accepts connections and runs the keepalive, for the node's lifetime.
    pub(crate) async fn run(self: Arc<Self>, listener: Listener) {
        let slots = Arc::new(Semaphore::new(self.clients_max));
        let evictions = Arc::new(Semaphore::new(EVICTIONS_MAX));
        let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
        let mut ticks = tokio::time::interval(self.context.keepalive.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let stream = tokio::select! {
                stream = listener.accept() => stream,
                _ = ticks.tick() => {
                    self.context.clients.keepalive_tick(self.context.keepalive.ping_after, self.context.keepalive.close_after);
                    continue;
                }
            };
            stream.limit_unsent(UNSENT_MAX);
            if let Ok(slot) = slots.clone().try_acquire_owned() {
                // Registered before the next accept, which may evict it.
                let client = self.context.clients.register(stream, &self.context.inbox);
                tokio::spawn(self.clone().serve(client, slot));
                continue;
            }
            let Ok(eviction) = evictions.clone().try_acquire_owned() else {
                Counters::count(&self.context.counters.connections_refused);
                continue;
            };
            if self.context.clients.evict_one(self.context.keepalive.ping_after) {
                let client = self.context.clients.register(stream, &self.context.inbox);
                tokio::spawn(self.clone().serve_after_eviction(client, slots.clone(), eviction));
                continue;
            }
            let total = Counters::count(&self.context.counters.connections_refused);
            debug!(clients_max = self.clients_max, total, "client connection refused, all are in use");
            if let Ok(refusal) = refusals.clone().try_acquire_owned() {
                tokio::spawn(self.clone().refuse(stream, refusal));
            }
        }
    }

    async fn serve_after_eviction(
        self: Arc<Self>,
        client: Arc<Client>,
        slots: Arc<Semaphore>,
        eviction: OwnedSemaphorePermit,
    ) {
        match timeout(EVICTION_TIMEOUT, slots.acquire_owned()).await {
            Ok(Ok(slot)) => {
                drop(eviction);
                self.serve(client, slot).await;
            }
            _ => self.context.clients.remove(client.id),
        }
    }

    async fn refuse(self: Arc<Self>, stream: Stream, _refusal: OwnedSemaphorePermit) {
        let client = self.context.clients.unregistered(stream, &self.context.inbox);
        let max = self.clients_max;
        let error = v1::Error::not_applied(
            ErrorKind::ResourceExhausted,
            format!("this node serves no more than {max} connections"),
        );
        let writing = pin!(client.outbox.run());
        close_with_error(&client, error.with_retry_after_ms(RETRY_AFTER_MS), writing).await;
    }

    async fn serve(self: Arc<Self>, client: Arc<Client>, _slot: OwnedSemaphorePermit) {
        let mut writing = pin!(client.outbox.run());
        let (end, has_sent_events) = {
            let mut connection = Connection::new(&self.context, &client);
            let end = tokio::select! {
                end = connection.run() => end,
                () = &mut writing => End::Closed,
            };
            (end, connection.has_sent_events())
        };
        // First answers stop, then the node learns that the client is gone.
        self.context.clients.begin_close(&client);
        if has_sent_events {
            drop(
                self.context.inbox.put_client(&mut vec![(Event::ClientGone { client: client.id }, 0)]).await,
            );
        }
        if let End::Refused(error) = end {
            debug!(client = client.id.0, %error, "client refused");
            close_with_error(&client, error, writing).await;
        }
        self.context.clients.remove(client.id);
    }
}

/// Sends an error after what is queued, and closes the connection.
async fn close_with_error(client: &Client, error: v1::Error, writing: Pin<&mut impl Future<Output = ()>>) {
    if client.outbox.backlog().is_some_and(|(bytes, _)| bytes > UNREAD_MAX) {
        // A client that does not read would keep its backlog for the whole timeout.
        return;
    }
    client.put(v1::ServerFrame { body: Some(v1::server_frame::Body::Error(error)) });
    client.outbox.close();
    if timeout(CLOSE_TIMEOUT, writing).await.is_ok() {
        client.outbox.stream().close_gracefully(CLOSE_TIMEOUT, CLOSE_DISCARD_MAX).await;
    }
}
