//! Changes of the members as faults: the leadership is transferred; a node is removed, and joins again.

use std::time::Instant;

use super::{cluster::Cluster, faults::FaultResult};

impl Cluster {
    async fn id(&self, node: usize) -> u64 {
        let status = self.ensemble.status(node).await;
        status.unwrap_or_else(|error| panic!("node {node} has no status: {error}")).node
    }

    /// Hands the leadership over to a node.
    pub(super) async fn transfer(&mut self, to: usize) -> FaultResult {
        let id = self.id(to).await;
        let struck = Instant::now();
        let effect = self.probe.transfer_leadership(Some(id)).await;
        let served = self.serves_again(struck).await;
        let effect = effect.map(drop).map_err(|error| error.to_string());
        FaultResult { what: format!("to node {to}"), processes: 1, effect, served, outcome: None }
    }

    /// Removes a node, kills it, mostly before it learns of that, and starts it again: it joins, and becomes a voter.
    pub(super) async fn removes(&mut self, node: usize) -> FaultResult {
        let id = self.id(node).await;
        let struck = Instant::now();
        let effect = self.probe.remove_member(id, None).await;
        let effect = effect
            .map_err(|error| error.to_string())
            .and_then(|removed| if removed.changed { Ok(()) } else { Err("it was no member".to_owned()) });
        if self.random.percent(30) {
            let time = self.millis(1, 1_000);
            self.hold(time).await;
        }
        self.ensemble.kill(node);
        let served = self.serves_again(struck).await;
        let others = self.ensemble.others(node);
        let members: Vec<String> = others.iter().map(|other| self.ensemble.request(*other)).collect();
        self.spawn_with(node, &[&format!("-join={}", members.join(",")), "-voter"]);
        self.ensemble.ready(node).await;
        FaultResult { what: format!("node {node}"), processes: 1, effect, served, outcome: None }
    }
}
