//! The connections between clients and nodes: ordered, with a delay, and gone when the process ends.

use std::collections::BTreeMap;

use gometa_node::{ClientId, Event};
use gometa_proto::v1::{Request, Response};

use crate::{
    checkers::Check,
    ensemble::{Action, Ensemble},
    random::Random,
    settings::MILLISECOND,
    workload::Ask,
};

/// Something under way between a client and a node.
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
        /// What.
        request: Box<Request>,
    },
    /// The client gives up a request.
    Cancel {
        /// The connection.
        link: usize,
        /// The request.
        id: u64,
    },
    /// A sign of life.
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
        /// What.
        response: Box<Response>,
    },
}

#[derive(Debug)]
struct ClientLink {
    /// Index of the client; None for one made by hand.
    client: Option<usize>,
    node: usize,
    life: u64,
    /// What is sent last arrives last.
    to_node: u64,
    to_client: u64,
    node_open: bool,
    client_open: bool,
}

/// All connections between clients and nodes. A connection's index is its [`ClientId`].
#[derive(Default, Debug)]
pub(crate) struct ClientLinks {
    links: Vec<ClientLink>,
    /// Each client's present connection.
    current: BTreeMap<usize, usize>,
    answers: BTreeMap<usize, Vec<Response>>,
    /// What has been set under way since the caller looked, and when it is due.
    pub(crate) out: Vec<(u64, ClientTransit)>,
}

fn delay(random: &mut Random) -> u64 {
    let delay = 50 + random.below(1_000);
    if random.one_in(100) { delay + random.below(100 * MILLISECOND) } else { delay }
}

impl ClientLinks {
    fn toward_node(&mut self, now: u64, random: &mut Random, link: usize, transit: ClientTransit) {
        let at = (now + delay(random)).max(self.links[link].to_node);
        self.links[link].to_node = at;
        self.out.push((at, transit));
    }

    fn toward_client(&mut self, now: u64, random: &mut Random, link: usize, transit: ClientTransit) {
        let at = (now + delay(random)).max(self.links[link].to_client);
        self.links[link].to_client = at;
        self.out.push((at, transit));
    }

    fn open(&mut self, client: Option<usize>, node: usize, life: u64) -> usize {
        self.links.push(ClientLink {
            client,
            node,
            life,
            to_node: 0,
            to_client: 0,
            node_open: false,
            client_open: true,
        });
        self.links.len() - 1
    }

    /// Connects a client made by hand, at once.
    pub(crate) fn connect_by_hand(&mut self, node: usize, life: u64) -> ClientId {
        let link = self.open(None, node, life);
        self.links[link].node_open = true;
        ClientId(link as u64)
    }

    pub(crate) fn request_by_hand(&mut self, client: ClientId, request: Request) -> Option<(usize, Event)> {
        let link = self.links.get(client.0 as usize).filter(|link| link.node_open)?;
        Some((link.node, Event::Request { client, request }))
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

impl Ensemble {
    /// A client looks around.
    pub(crate) fn poll(&mut self, client: usize) -> Check {
        let mut asks = Vec::new();
        let next = self.workload.poll(client, self.now, &mut asks);
        for ask in asks {
            self.ask(client, ask);
        }
        self.schedule(next, Action::Poll { client });
        Ok(())
    }

    fn ask(&mut self, client: usize, ask: Ask) {
        let now = self.now;
        let random = self.workload.random();
        if let Ask::Connect(node) = ask {
            let link = self.links.open(Some(client), node, self.processes[node].life);
            self.links.current.insert(client, link);
            self.links.toward_node(now, random, link, ClientTransit::Dial { link });
            return;
        }
        let Some(&link) = self.links.current.get(&client) else { return };
        let transit = match ask {
            Ask::Connect(_) => return,
            Ask::Disconnect => {
                self.links.current.remove(&client);
                self.links.links[link].client_open = false;
                // Sometimes the node never learns it.
                if random.one_in(5) {
                    return;
                }
                ClientTransit::Gone { link }
            }
            Ask::Request(request) => ClientTransit::Request { link, request },
            Ask::Cancel(id) => ClientTransit::Cancel { link, id },
            Ask::Contact(session) => ClientTransit::Contact { link, session },
        };
        self.links.toward_node(now, random, link, transit);
    }

    /// Something between a client and a node arrives.
    pub(crate) fn client_transit(&mut self, transit: ClientTransit) -> Check {
        let now = self.now;
        match transit {
            ClientTransit::Dial { link } => {
                let ClientLink { node, life, .. } = self.links.links[link];
                let process = &self.processes[node];
                let stands = process.is_up() && process.life == life;
                self.links.links[link].node_open = stands;
                let answer =
                    if stands { ClientTransit::Connected { link } } else { ClientTransit::Lost { link } };
                self.links.toward_client(now, self.workload.random(), link, answer);
                Ok(())
            }
            ClientTransit::Connected { link } => {
                if let ClientLink { client: Some(client), client_open: true, .. } = self.links.links[link] {
                    self.workload.connected(client);
                }
                Ok(())
            }
            ClientTransit::Lost { link } => {
                if let ClientLink { client: Some(client), client_open: true, .. } = self.links.links[link] {
                    self.links.links[link].client_open = false;
                    self.links.current.remove(&client);
                    self.workload.lost(client, now);
                }
                Ok(())
            }
            ClientTransit::Response { link, response } => match self.links.links[link] {
                ClientLink { client: Some(client), client_open: true, .. } => {
                    self.workload.answered(client, now, &response)
                }
                ClientLink { client: None, client_open: true, .. } => {
                    self.links.answers.entry(link).or_default().push(*response);
                    Ok(())
                }
                _ => Ok(()),
            },
            ClientTransit::Request { link, request } => {
                if let Some(node) = self.reaches(link) {
                    self.trace.say(now, Some(node), || format!("client {link} asks {request:?}"));
                    self.oracle.asked(now, node, link as u64, &request);
                    self.deliver(node, Event::Request { client: ClientId(link as u64), request: *request });
                }
                Ok(())
            }
            ClientTransit::Cancel { link, id } => {
                if let Some(node) = self.reaches(link) {
                    self.oracle.unasked(link as u64, Some(id));
                    self.deliver(node, Event::Cancel { client: ClientId(link as u64), id });
                }
                Ok(())
            }
            ClientTransit::Contact { link, session } => {
                if let Some(node) = self.reaches(link) {
                    self.deliver(node, Event::Contact { session });
                }
                Ok(())
            }
            ClientTransit::Gone { link } => {
                if let Some(node) = self.reaches(link) {
                    self.links.links[link].node_open = false;
                    self.oracle.unasked(link as u64, None);
                    self.deliver(node, Event::ClientGone { client: ClientId(link as u64) });
                }
                Ok(())
            }
        }
    }

    /// The node that a connection still reaches.
    fn reaches(&self, link: usize) -> Option<usize> {
        let ClientLink { node, life, node_open, .. } = self.links.links[link];
        (node_open && self.processes[node].is_up() && self.processes[node].life == life).then_some(node)
    }
}
