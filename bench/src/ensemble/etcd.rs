//! etcd with its default settings, except for a larger storage quota.

use std::{path::PathBuf, process::Command};

use super::process::Plan;
use crate::args::Args;

/// A run writes more than the default of 2 GiB holds, since old revisions are not compacted by default.
const QUOTA_BYTES: u64 = 8 << 30;

/// The processes. Two of the three ports of each node are used.
pub(super) fn plans(args: &Args, directories: &[PathBuf], ports: &[u16]) -> Vec<Plan> {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let nodes: Vec<(String, u16, u16)> = ports
        .chunks(3)
        .enumerate()
        .map(|(number, ports)| (format!("node{}", number + 1), ports[0], ports[1]))
        .collect();
    let members: Vec<String> = nodes.iter().map(|(name, peer, _)| format!("{name}={}", url(*peer))).collect();
    let members = members.join(",");
    let plan = |(name, peer, client): &(String, u16, u16)| {
        let mut command = Command::new(&args.etcd);
        command.args([
            format!("--name={name}"),
            "--data-dir=data".to_owned(),
            format!("--listen-peer-urls={}", url(*peer)),
            format!("--initial-advertise-peer-urls={}", url(*peer)),
            format!("--listen-client-urls={}", url(*client)),
            format!("--advertise-client-urls={}", url(*client)),
            format!("--initial-cluster={members}"),
            "--initial-cluster-state=new".to_owned(),
            format!("--quota-backend-bytes={QUOTA_BYTES}"),
            "--log-level=warn".to_owned(),
        ]);
        Plan { command, address: format!("127.0.0.1:{client}") }
    };
    nodes.iter().take(directories.len()).map(plan).collect()
}
