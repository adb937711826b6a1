//! Nodes that join a running ensemble and leave it, and their ids.

use gometa_client::Client;
use serde_json::json;

use crate::ensemble::Ensemble;

/// Prepares nodes of which the first `founders` form an ensemble. The files of the others list their own addresses, and
/// the first node to join.
pub fn prepare(nodes: usize, founders: usize) -> Ensemble {
    let ensemble = Ensemble::prepare(nodes);
    for node in 0..founders {
        let mut configuration = ensemble.configuration(node);
        let others = (0..founders).filter(|other| *other != node);
        configuration["Peer"] = others.map(|other| ensemble.addresses(other).json()).collect();
        ensemble.configure(node, &configuration);
    }
    (founders..nodes).for_each(|node| join_through(&ensemble, node, &[0]));
    ensemble
}

/// Replaces the file of a node by one that lists its own addresses, and these members to join.
pub fn join_through(ensemble: &Ensemble, node: usize, members: &[usize]) {
    let join: Vec<String> = members.iter().map(|member| ensemble.request(*member)).collect();
    ensemble.configure(node, &json!({"Host": ensemble.addresses(node).json(), "Join": join}));
}

/// Returns the id of a member.
///
/// # Errors
/// If the members cannot be listed, or the node is none of them.
pub async fn id(ensemble: &Ensemble, client: &Client, node: usize) -> Result<u64, String> {
    let listed = client.membership().await.map_err(|error| error.to_string())?;
    let message = ensemble.addresses(node).message.to_string();
    let member = listed.members.iter().find(|member| member.message_address == message);
    member.map(|member| member.node).ok_or_else(|| format!("node {node} at {message} is no member"))
}
