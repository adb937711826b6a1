//! The election port: sends and receives votes, one datagram each. Malformed datagrams are dropped and counted. A vote that
//! cannot be sent at once is dropped, too: votes are repeated.

use std::{io, net::SocketAddr, sync::Arc};

use gometa_proto::limits;
use tracing::debug;

use crate::{
    inbox::{Inbox, Item},
    observe::counters::Counters,
};

/// Sends votes, from the driver's thread.
pub(crate) struct VoteSender {
    socket: std::net::UdpSocket,
    counters: Arc<Counters>,
}

impl VoteSender {
    /// Returns the sender, and the socket for [`receive`]. Must be called within the runtime.
    pub(crate) fn new(
        socket: std::net::UdpSocket,
        counters: Arc<Counters>,
    ) -> io::Result<(VoteSender, tokio::net::UdpSocket)> {
        let receiver = tokio::net::UdpSocket::from_std(socket.try_clone()?)?;
        Ok((VoteSender { socket, counters }, receiver))
    }

    /// The local address: peers must be reachable from it.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()
    }

    /// Sends a vote; never waits.
    pub(crate) fn send(&self, to: SocketAddr, datagram: &[u8]) {
        if let Err(error) = self.socket.send_to(datagram, to) {
            let total = Counters::count(&self.counters.datagrams_unsent);
            debug!(%to, %error, total, "vote not sent");
        }
    }
}

/// Receives votes for the node's lifetime.
pub(crate) async fn receive(socket: tokio::net::UdpSocket, inbox: Arc<Inbox>, counters: Arc<Counters>) {
    // One byte more than allowed, to detect longer datagrams.
    let mut buffer = [0; limits::DATAGRAM_MAX + 1];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // On some systems, an ICMP error of a datagram sent earlier.
            Err(error) => {
                debug!(%error, "election port error");
                tokio::task::yield_now().await;
                continue;
            }
        };
        match gometa_codec::vote::decode_with(&buffer[..length]) {
            Ok((vote, whereabouts)) => {
                if !inbox.try_put_datagram(Item::Vote { vote, whereabouts, from }) {
                    let total = Counters::count(&counters.datagrams_dropped);
                    debug!(%from, total, "vote dropped, the inbox is full");
                }
            }
            Err(error) => {
                let total = Counters::count(&counters.datagrams_malformed);
                debug!(%from, %error, total, "malformed datagram dropped");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use gometa_codec::vote::{self, Whereabouts};
    use gometa_zab::{Candidate, Epoch, Incarnation, NodeId, Round, Vote, VoteState, Zxid};

    use super::*;
    use crate::inbox::Taken;

    fn a_vote(sequence: u64) -> Vote {
        Vote {
            ensemble: None,
            sender: NodeId(1),
            incarnation: Incarnation(2),
            boot: 1,
            sequence,
            state: VoteState::Looking,
            round: Round(1),
            candidate: Candidate { epoch: Epoch(0), last: Zxid::ZERO, node: NodeId(1) },
            established: None,
            configuration: Zxid::ZERO,
        }
    }

    #[tokio::test]
    async fn votes_are_received_and_malformed_datagrams_dropped_and_counted() {
        let socket = || {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        let counters = Arc::new(Counters::default());
        let inbox = Arc::new(Inbox::new());
        let near = socket();
        let to = near.local_addr().unwrap();
        let (_, receiver) = VoteSender::new(near, counters.clone()).unwrap();
        let task = tokio::spawn(receive(receiver, inbox.clone(), counters.clone()));

        let far = socket();
        let good = vote::encode(&a_vote(1));
        let mut broken = good.to_vec();
        *broken.last_mut().unwrap() ^= 1;
        for bytes in [&b""[..], b"x", &broken, &[0; 512], &[1; 600], &[0xff; 9_000]] {
            far.send_to(bytes, to).unwrap();
        }
        let (sender, _) = VoteSender::new(far, counters.clone()).unwrap();
        let told = Whereabouts { sender: "a:1".to_owned(), candidate: String::new() };
        sender.send(to, &vote::encode_with(&a_vote(2), told.clone()));

        let mut taken = Taken::default();
        while taken.peers.is_empty() {
            tokio::task::yield_now().await;
            inbox.take(&mut taken, std::time::Instant::now());
        }
        task.abort();
        let [Item::Vote { vote, whereabouts, from }] = &taken.peers[..] else { panic!("not one vote") };
        assert_eq!((vote, whereabouts), (&a_vote(2), &told));
        assert!(from.ip().is_loopback());
        assert_eq!(counters.datagrams_malformed.load(std::sync::atomic::Ordering::Relaxed), 6);
    }
}
