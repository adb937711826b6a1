//! What passes between clients and nodes.

use gometa_node::{ClientId, Event};
use gometa_proto::v1::{Request, Response};

use super::Ensemble;
use crate::{
    actions::Action,
    checkers::Check,
    client_links::{ClientLink, ClientTransit},
    workload::ClientAction,
};

impl Ensemble {
    /// What answers have reached a client that was of a test; empties the list.
    pub fn take_answers(&mut self, client: ClientId) -> Vec<Response> {
        self.links.take_answers(client)
    }

    /// A client of a test, connected to a node. Its answers wait in [`Ensemble::take_answers`].
    pub fn connect(&mut self, node: usize) -> ClientId {
        self.links.connect_by_hand(node, self.processes[node].life)
    }

    /// Delivers a request of a test's client at once.
    pub fn request(&mut self, client: ClientId, request: Request) {
        if let Some((node, event)) = self.links.request_by_hand(client, request)
            && self.processes[node].is_up()
        {
            if let Event::Request { request, .. } = &event {
                self.oracle.of(node).asked(self.now, node, client.0, request);
            }
            self.deliver(node, event);
        }
    }

    /// A client checks its timers.
    pub(crate) fn poll(&mut self, client: usize) -> Check {
        let mut actions = Vec::new();
        let next = self.workload.poll(client, self.now, &mut actions);
        for action in actions {
            self.perform_for_client(client, action);
        }
        self.schedule(next, Action::Poll { client });
        Ok(())
    }

    fn perform_for_client(&mut self, client: usize, action: ClientAction) {
        let now = self.now;
        let random = self.workload.random();
        if let ClientAction::Connect(node) = action {
            let link = self.links.open(Some(client), node, self.processes[node].life);
            self.links.current.insert(client, link);
            self.links.toward_node(now, random, link, ClientTransit::Dial { link });
            return;
        }
        let Some(&link) = self.links.current.get(&client) else { return };
        let transit = match action {
            ClientAction::Connect(_) => return,
            ClientAction::Disconnect => {
                self.links.current.remove(&client);
                self.links.links[link].client_open = false;
                // Sometimes the node does not receive the close.
                if random.one_in(5) {
                    return;
                }
                ClientTransit::Gone { link }
            }
            ClientAction::Request(request) => ClientTransit::Request { link, request },
            ClientAction::Cancel(id) => ClientTransit::Cancel { link, id },
            ClientAction::Contact(session) => ClientTransit::Contact { link, session },
        };
        self.links.toward_node(now, random, link, transit);
    }

    /// Something between a client and a node arrives.
    pub(crate) fn client_transit(&mut self, transit: ClientTransit) -> Check {
        let now = self.now;
        match transit {
            ClientTransit::Dial { link } => {
                let ClientLink { node, life, client, .. } = self.links.links[link];
                let process = &self.processes[node];
                let history = self.history_of(node);
                let suits = client.is_none_or(|client| self.may_use(client, history));
                let stands = process.is_up() && process.life == life && suits;
                self.links.links[link].node_open = stands;
                self.links.links[link].history = history;
                let answer =
                    if stands { ClientTransit::Connected { link } } else { ClientTransit::Lost { link } };
                self.links.toward_client(now, self.workload.random(), link, answer);
                Ok(())
            }
            ClientTransit::Connected { link } => {
                if let ClientLink { client: Some(client), client_open: true, history, .. } =
                    self.links.links[link]
                {
                    self.workload.learns(client, now, history);
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
                ClientLink { client: Some(client), client_open: true, history, .. } => {
                    self.workload.learns(client, now, history);
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
                    self.trace.line(now, Some(node), || format!("client {link} asks {request:?}"));
                    self.oracle.of(node).asked(now, node, link as u64, &request);
                    self.deliver(node, Event::Request { client: ClientId(link as u64), request: *request });
                }
                Ok(())
            }
            ClientTransit::Cancel { link, id } => {
                if let Some(node) = self.reaches(link) {
                    self.oracle.of(node).unasked(link as u64, Some(id));
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
                    self.oracle.of(node).unasked(link as u64, None);
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
