//! gometa-server with its default settings.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::process::Plan;
use crate::args::Args;

/// Writes the configuration files. Three ports for each node.
pub(super) fn plans(args: &Args, directories: &[PathBuf], ports: &[u16]) -> io::Result<Vec<Plan>> {
    let hosts: Vec<Value> = ports.chunks(3).map(host).collect();
    let plan = |(number, directory): (usize, &PathBuf)| {
        let peers: Vec<&Value> =
            hosts.iter().enumerate().filter(|(other, _)| *other != number).map(|(_, host)| host).collect();
        let config = json!({ "Host": hosts[number], "Peer": peers });
        fs::write(directory.join("node.json"), config.to_string())?;
        Ok(Plan { command: command(&args.gometa), address: address(ports[number * 3 + 2]) })
    };
    directories.iter().enumerate().map(plan).collect()
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["-config=node.json", "-data-dir=data", "-watch-stdin=false", "-log-level=warn"]);
    command
}

fn host(ports: &[u16]) -> Value {
    let address = |at: usize| ports.get(at).copied().map(address);
    json!({ "ElectionAddr": address(0), "MessageAddr": address(1), "RequestAddr": address(2) })
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}
