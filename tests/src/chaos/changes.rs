//! Changes of the members as faults: the leadership is transferred; a node is removed and joins again, takes the place of
//! another one, loses its data directory, or gets other addresses.

use std::time::Instant;

use super::{
    cluster::{Cluster, RECOVERY_MAX},
    disk_faults::{make, remove},
    faults::FaultResult,
};
use crate::wait::until;

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
        self.joins(node, &["-voter"]).await;
        FaultResult { what: format!("node {node}"), processes: 1, effect, served, outcome: None }
    }

    /// Starts a node that was removed, with these flags: it joins.
    async fn joins(&mut self, node: usize, flags: &[&str]) {
        let others = self.ensemble.others(node);
        let members: Vec<String> = others.iter().map(|other| self.ensemble.request(*other)).collect();
        let join = format!("-join={}", members.join(","));
        self.spawn_with(node, &[&[join.as_str()], flags].concat());
        self.ensemble.ready(node).await;
    }

    /// Removes node `new`, which joins again as a learner, and replaces `old` by it. `old` is killed when it is removed, and
    /// joins again.
    pub(super) async fn replaces(&mut self, old: usize, new: usize) -> FaultResult {
        let new = if old == new { (new + 1) % self.ensemble.size() } else { new };
        let (old_id, new_id) = (self.id(old).await, self.id(new).await);
        let removed = self.probe.remove_member(new_id, None).await;
        self.ensemble.kill(new);
        self.joins(new, &[]).await;
        let struck = Instant::now();
        let replaced = match removed {
            Ok(_) => self.probe.replace_member(old_id, new_id, None).await,
            Err(error) => Err(error),
        };
        let served = self.serves_again(struck).await;
        if replaced.is_ok() {
            let probe = &self.probe;
            until("one node takes the place of another", RECOVERY_MAX, || async move {
                let membership = probe.membership().await.map_err(|error| error.to_string())?;
                let member = |node| membership.members.iter().find(move |member| member.node == node);
                let done = member(old_id).is_none() && member(new_id).is_some_and(|member| member.votes);
                if done && membership.committed { Ok(()) } else { Err(format!("{membership:?}")) }
            })
            .await;
        }
        self.ensemble.kill(old);
        self.joins(old, &["-voter"]).await;
        let effect = replaced.map(drop).map_err(|error| error.to_string());
        let what = format!("node {old} by node {new}");
        FaultResult { what, processes: 2, effect, served, outcome: None }
    }

    /// Kills a node, removes its data directory, and starts it again; it is a voter again by itself. Its file lists the others
    /// where they are now: of a directory that is empty it is all that the node knows.
    pub(super) async fn wipes(&mut self, node: usize) -> FaultResult {
        let struck = Instant::now();
        self.ensemble.kill(node);
        let data = self.data(node);
        remove(&data);
        make(&data);
        self.ensemble.list_peers(node);
        let served = self.serves_again(struck).await;
        self.spawn(node);
        self.ensemble.ready(node).await;
        FaultResult { what: format!("node {node}"), processes: 1, effect: Ok(()), served, outcome: None }
    }

    /// Kills a node, and starts it again at other addresses, all three; the members must list it there. Half of the time the
    /// others go on for a while before it is back.
    pub(super) async fn moves(&mut self, node: usize) -> FaultResult {
        let struck = Instant::now();
        self.ensemble.kill(node);
        let served = self.serves_again(struck).await;
        if self.random.percent(50) {
            let time = self.millis(50, 1_000);
            self.hold(time).await;
        }
        self.ensemble.readdress(node).await;
        self.spawn(node);
        self.ensemble.ready(node).await;
        let (probe, request) = (&self.probe, &self.ensemble.request(node));
        until("the members are listed at the new address", RECOVERY_MAX, || async move {
            let membership = probe.membership().await.map_err(|error| error.to_string())?;
            let listed = membership.members.iter().any(|member| member.request_address == *request);
            if listed && membership.committed { Ok(()) } else { Err(format!("{membership:?}")) }
        })
        .await;
        FaultResult { what: format!("node {node}"), processes: 1, effect: Ok(()), served, outcome: None }
    }
}
