//! ZooKeeper with the configuration of its sample file and the heap of zkServer.sh.

use std::{fs, io, path::PathBuf, process::Command};

use super::process::Plan;
use crate::args::Args;

/// Writes the configuration files. Three ports for each node: peers, election, clients.
pub(super) fn plans(args: &Args, directories: &[PathBuf], ports: &[u16]) -> io::Result<Vec<Plan>> {
    let members: String = (1..)
        .zip(ports.chunks(3))
        .map(|(id, ports)| format!("server.{id}=127.0.0.1:{}:{}\n", ports[0], ports[1]))
        .collect();
    let library = fs::canonicalize(&args.zookeeper_lib);
    let library = library.map_err(|error| {
        io::Error::new(error.kind(), format!("{}: {error}", args.zookeeper_lib.display()))
    })?;
    let plan = |(number, directory): (usize, &PathBuf)| {
        let client = ports[number * 3 + 2];
        fs::create_dir_all(directory.join("data"))?;
        fs::write(directory.join("data/myid"), (number + 1).to_string())?;
        fs::write(directory.join("zoo.cfg"), configuration(client, &members))?;
        let mut command = Command::new(&args.java);
        command.args([
            format!("-Xmx{}m", args.zookeeper_heap()),
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn".to_owned(),
            "-cp".to_owned(),
            format!("{}/*", library.display()),
            "org.apache.zookeeper.server.quorum.QuorumPeerMain".to_owned(),
            "zoo.cfg".to_owned(),
        ]);
        Ok(Plan { command, address: format!("127.0.0.1:{client}") })
    };
    directories.iter().enumerate().map(plan).collect()
}

/// The sample configuration's times. `maxClientCnxns` would refuse more than 60 connections from one address; the admin
/// server is an HTTP server of its own.
fn configuration(client: u16, members: &str) -> String {
    format!(
        "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=data\nclientPort={client}\nclientPortAddress=127.0.0.1\n\
         maxClientCnxns=0\nadmin.enableServer=false\n4lw.commands.whitelist=srvr\n{members}"
    )
}
