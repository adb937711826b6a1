//! The READY line on standard output, and the notification of the supervisor: this node belongs to an ensemble and is up
//! to date.

use std::sync::Arc;

use gometa_proto::v1;
use gometa_zab::{Addresses, NodeId, Role};
use serde::Serialize;

use crate::process::{output, supervisor::Supervisor};

/// Announces the first time that a node is ready.
pub(crate) struct Ready {
    node: NodeId,
    addresses: Addresses,
    supervisor: Arc<Supervisor>,
    announced: bool,
}

/// The line's fields, in their order.
#[derive(Serialize)]
struct Line<'a> {
    node: String,
    role: &'static str,
    election: &'a str,
    message: &'a str,
    request: &'a str,
}

impl Ready {
    pub(crate) fn new(node: NodeId, addresses: Addresses, supervisor: Arc<Supervisor>) -> Ready {
        Ready { node, addresses, supervisor, announced: false }
    }

    /// To be called after each step, with the node's role and the one that clients are shown. Returns whether the node is
    /// ready for the first time.
    pub(crate) fn update(&mut self, role: &Role, shown: v1::Role) -> bool {
        if self.announced {
            return false;
        }
        if let Some(line) = self.line(role, shown) {
            self.announced = true;
            output::announce(format!("{line}\n").as_bytes());
            self.supervisor.ready();
        }
        self.announced
    }

    fn line(&self, role: &Role, shown: v1::Role) -> Option<String> {
        let role = match role {
            Role::Leading { established: Some(_) } => "leader",
            Role::Following { established: Some(_), .. } if shown == v1::Role::Learning => "learner",
            Role::Following { established: Some(_), .. } => "follower",
            _ => return None,
        };
        let Addresses { election, message, request } = &self.addresses;
        let line = Line { node: self.node.to_string(), role, election, message, request };
        Some(format!("GOMETA READY {}", serde_json::to_string(&line).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use gometa_zab::Epoch;

    use super::*;

    #[test]
    fn the_line_comes_with_the_first_synchronisation() {
        let addresses = Addresses {
            election: "127.0.0.1:5001".into(),
            message: "127.0.0.1:5002".into(),
            request: "127.0.0.1:5003".into(),
        };
        let ready = Ready::new(NodeId(0xab), addresses, Arc::new(Supervisor::from_environment(1)));
        let leader = NodeId(1);
        assert_eq!(ready.line(&Role::Looking, v1::Role::Looking), None);
        assert_eq!(ready.line(&Role::Following { leader, established: None }, v1::Role::Following), None);
        let role = Role::Following { leader, established: Some(Epoch(1)) };
        assert_eq!(
            ready.line(&role, v1::Role::Following).unwrap(),
            "GOMETA READY {\"node\":\"00000000000000ab\",\"role\":\"follower\",\"election\":\"127.0.0.1:5001\",\
             \"message\":\"127.0.0.1:5002\",\"request\":\"127.0.0.1:5003\"}"
        );
        assert!(ready.line(&role, v1::Role::Learning).unwrap().contains("\"role\":\"learner\""));
        let role = Role::Leading { established: Some(Epoch(1)) };
        assert!(ready.line(&role, v1::Role::Leading).unwrap().contains("\"role\":\"leader\""));
    }
}
