//! The connections between clients and nodes: ordered, with a delay, and gone when the process ends.

use std::collections::BTreeMap;

use gometa_node::{ClientId, Event};
use gometa_proto::v1::{Request, Response};

use crate::{random::Random, settings::MILLISECOND};

/// Something in flight between a client and a node.
#[derive(Clone, Debug)]
pub(crate) enum ClientTransit {
    /// The client's dial reaches the node.
    Dial {
        /// The connection.
        link: usize,
    },
    /// The client learns that its connection stands.
    Connected {
        /// The connection.
        link: usize,
    },
    /// The client learns that its connection is gone.
    Lost {
        /// The connection.
        link: usize,
    },
    /// A request reaches the node.
    Request {
        /// The connection.
        link: usize,
        /// The message.
        request: Box<Request>,
    },
    /// The client cancels a request.
    Cancel {
        /// The connection.
        link: usize,
        /// The request.
        id: u64,
    },
    /// A keepalive with a session.
    Contact {
        /// The connection.
        link: usize,
        /// The session.
        session: u64,
    },
    /// The node learns that the client has gone.
    Gone {
        /// The connection.
        link: usize,
    },
    /// An answer reaches the client.
    Response {
        /// The connection.
        link: usize,
        /// The message.
        response: Box<Response>,
    },
}

/// A connection between a client and a node.
#[derive(Debug)]
pub(crate) struct ClientLink {
    /// Index of the client; None for one of a test.
    pub(crate) client: Option<usize>,
    pub(crate) node: usize,
    pub(crate) life: u64,
    /// The history of the ensemble that the node belongs to, if to any when it was asked last.
    pub(crate) history: Option<u64>,
    /// What is sent last arrives last.
    to_node: u64,
    to_client: u64,
    pub(crate) node_open: bool,
    pub(crate) client_open: bool,
}

/// All connections between clients and nodes. A connection's index is its [`ClientId`].
#[derive(Default, Debug)]
pub(crate) struct ClientLinks {
    pub(crate) links: Vec<ClientLink>,
    /// Each client's present connection.
    pub(crate) current: BTreeMap<usize, usize>,
    pub(crate) answers: BTreeMap<usize, Vec<Response>>,
    /// What has been sent since the caller looked, and when it is due.
    pub(crate) out: Vec<(u64, ClientTransit)>,
}

fn delay(random: &mut Random) -> u64 {
    let delay = 50 + random.below(1_000);
    if random.one_in(100) { delay + random.below(100 * MILLISECOND) } else { delay }
}

impl ClientLinks {
    pub(crate) fn toward_node(&mut self, now: u64, random: &mut Random, link: usize, transit: ClientTransit) {
        let at = (now + delay(random)).max(self.links[link].to_node);
        self.links[link].to_node = at;
        self.out.push((at, transit));
    }

    pub(crate) fn toward_client(
        &mut self,
        now: u64,
        random: &mut Random,
        link: usize,
        transit: ClientTransit,
    ) {
        let at = (now + delay(random)).max(self.links[link].to_client);
        self.links[link].to_client = at;
        self.out.push((at, transit));
    }

    pub(crate) fn open(&mut self, client: Option<usize>, node: usize, life: u64) -> usize {
        self.links.push(ClientLink {
            client,
            node,
            life,
            history: None,
            to_node: 0,
            to_client: 0,
            node_open: false,
            client_open: true,
        });
        self.links.len() - 1
    }

    /// Connects a client of a test, at once.
    pub(crate) fn connect_by_hand(&mut self, node: usize, life: u64) -> ClientId {
        let link = self.open(None, node, life);
        self.links[link].node_open = true;
        ClientId(link as u64)
    }

    pub(crate) fn request_by_hand(&mut self, client: ClientId, request: Request) -> Option<(usize, Event)> {
        let link = self.links.get(client.0 as usize).filter(|link| link.node_open)?;
        Some((link.node, Event::Request { client, request }))
    }

    /// The node at the other end of a client's connection belongs to this history.
    pub(crate) fn set_history(&mut self, client: ClientId, history: Option<u64>) {
        if let Some(link) = self.links.get_mut(client.0 as usize) {
            link.history = history;
        }
    }

    pub(crate) fn take_answers(&mut self, client: ClientId) -> Vec<Response> {
        self.answers.remove(&(client.0 as usize)).unwrap_or_default()
    }

    /// A node answers.
    pub(crate) fn respond(&mut self, now: u64, random: &mut Random, client: ClientId, response: Response) {
        let link = client.0 as usize;
        if self.links.get(link).is_some_and(|link| link.node_open) {
            self.toward_client(
                now,
                random,
                link,
                ClientTransit::Response { link, response: Box::new(response) },
            );
        }
    }

    /// A process has ended. Its clients notice at once, or, if the machine has lost power, when they lose
    /// patience.
    pub(crate) fn node_down(
        &mut self,
        now: u64,
        random: &mut Random,
        node: usize,
        power_lost: bool,
    ) -> Vec<u64> {
        let mut gone = Vec::new();
        for index in 0..self.links.len() {
            let link = &mut self.links[index];
            if link.node != node || !std::mem::take(&mut link.node_open) {
                continue;
            }
            gone.push(index as u64);
            if !power_lost {
                self.toward_client(now, random, index, ClientTransit::Lost { link: index });
            }
        }
        gone
    }
}
