//! One node of this process: its sockets, its data directory, its driver, put together and taken apart.

use std::{
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use gometa_node::{Event, Node, Write};
use gometa_proto::limits;
use gometa_zab::{NodeId, Ticks, Timeouts, Token, Voter};
use tokio::{net::TcpListener, runtime::Runtime, sync::mpsc, task::JoinHandle};
use tracing::{info, info_span, warn};

use crate::{
    address_book::{self, AddressBook},
    admission,
    client_port::{ClientPort, Manners},
    clients::Clients,
    config::ServerConfig,
    counters::Counters,
    disk::{Disk, Hooks, LogReader, Writer},
    driver::{Driver, Storage, Surroundings},
    ending::{Ending, Reason},
    frame_room::FrameRoom,
    inbox::{Inbox, Item},
    listen,
    memory::Allowance,
    narrate,
    peer_link::{self, PeerPort, Strangers},
    ready::Ready,
    vote_socket::{self, VoteSender},
};

/// Requests waiting in one node; beyond it they are refused. The client port admits half as many: some of those
/// whose clients are gone are still known to the node.
const REQUESTS_MAX: usize = 2 * admission::REQUESTS_MAX;
/// Dialling a peer takes no longer than the election time-out, and may take as long as this.
const CONNECT_TIMEOUT_MIN: Duration = Duration::from_millis(200);

/// A running node.
pub(crate) struct Server {
    inbox: Arc<Inbox>,
    tasks: Vec<JoinHandle<()>>,
    /// Says when the driver has ended and the data directory is closed.
    ended: Receiver<()>,
}

/// The disk as the driver sees it.
struct DiskStorage {
    writer: Writer,
    log: LogReader,
}

impl Storage for DiskStorage {
    fn write(&self, token: Token, write: Write) {
        self.writer.submit(token, write);
    }

    fn read(&self, id: u64, from: u64, to: u64, bytes_max: usize) {
        self.log.submit(id, from, to, bytes_max);
    }
}

impl Server {
    /// Starts a node. An error is one line that names the thing and the remedy. `shared` tells that other
    /// nodes run in this process, whose log lines must be told apart.
    pub(crate) fn start(
        config: &ServerConfig,
        runtime: &Runtime,
        ending: &Arc<Ending>,
        shared: bool,
    ) -> Result<Server, String> {
        let _guard = runtime.enter();
        let sockets = listen::open(config)?;
        let inbox = Arc::new(Inbox::new());
        let disk = Disk::open(&config.data_dir, config.node, hooks(&inbox, ending))
            .map_err(|error| error.to_string())?;
        let me = disk.identity.node;
        let voters = voters_with(config, me, disk.recovered.founding.is_some())?;
        config.warnings.iter().for_each(|warning| warn!("{warning}"));
        listen::warn_if_exposed(&sockets);
        info!(
            "gometa-server {}: node {} (id {me}), start number {}, data in {}",
            env!("CARGO_PKG_VERSION"),
            config.announced.message.text,
            disk.identity.boot,
            config.data_dir.display()
        );

        let counters = Arc::new(Counters::default());
        let allowance = Allowance::of(config);
        let clients = Arc::new(Clients::new(me, config.session_timeout_ms, allowance, counters.clone()));
        let (names, names_receiver) = mpsc::channel(address_book::NAMES_MAX);
        let mut book = AddressBook::new(names);
        book.add_voters(&voters);
        if let Some(founding) = &disk.recovered.founding {
            book.add_voters(&founding.genesis.voters);
            if founding.sealed {
                clients.set_ensemble(founding.genesis.ensemble);
                warn_if_other_voters(&config.voters, &founding.genesis.voters);
            }
        }

        let system = |what: &str| {
            let what = what.to_owned();
            move |error: std::io::Error| format!("cannot {what}: {error}; look at the limits of this process")
        };
        let (votes, vote_receiver) =
            VoteSender::new(sockets.election, counters.clone()).map_err(system("use the election port"))?;
        let message = TcpListener::from_std(sockets.message).map_err(system("use the message port"))?;
        let request = TcpListener::from_std(sockets.request).map_err(system("use the request port"))?;
        let peers = Arc::new(PeerPort {
            inbox: inbox.clone(),
            counters: counters.clone(),
            together: Arc::default(),
            connect_timeout: Duration::from_millis(config.election_timeout_ms).max(CONNECT_TIMEOUT_MIN),
            frames: FrameRoom::new(peer_link::FRAMES_BYTES),
            strangers: Strangers::default(),
        });
        let client_port = Arc::new(ClientPort {
            clients: clients.clone(),
            inbox: inbox.clone(),
            counters: counters.clone(),
            clients_max: allowance.clients_max,
            frames: FrameRoom::new(allowance.frames()),
            manners: Manners::default(),
        });
        let like = votes.local_address();

        let node_config = node_config(config, &disk, voters)?;
        let start = Instant::now();
        let storage = Box::new(DiskStorage { writer: disk.writer, log: disk.log });
        let around = Surroundings {
            me,
            inbox: inbox.clone(),
            storage,
            votes,
            book,
            peers: peers.clone(),
            clients,
            counters: counters.clone(),
            ending: ending.clone(),
            ready: Ready::new(me, config.addresses()),
            runtime: runtime.handle().clone(),
            start,
        };
        let (done, ended) = sync_channel(1);
        let span = shared.then(|| info_span!("node", at = %config.announced.message.text));
        let (recovered, table) = (disk.recovered, disk.table);
        let (data_dir, ending) = (config.data_dir.clone(), ending.clone());
        let drive = move || {
            let _entered = span.as_ref().map(tracing::Span::enter);
            // Here and not before: this reads the table, and a thread that reads damage never returns. It is up to
            // the main thread to end the process then.
            match Node::new(node_config, recovered, table, Ticks::default()) {
                Ok((node, first)) => Driver::new(node, first, around).run(),
                Err(error) => ending.end(Reason::Failed(unreadable(&data_dir, &error))),
            }
            // Nobody listens if the process could not wait any longer.
            let _ = done.send(());
        };
        thread::Builder::new()
            .name("gometa-driver".to_owned())
            .spawn(drive)
            .map_err(system("start the driver's thread"))?;
        let tasks = vec![
            tokio::spawn(vote_socket::receive(vote_receiver, inbox.clone(), counters)),
            tokio::spawn(peers.run(message)),
            tokio::spawn(client_port.run(request)),
            tokio::spawn(address_book::resolve(names_receiver, inbox.clone(), like)),
        ];
        Ok(Server { inbox, tasks, ended })
    }

    /// Asks the node to end: what has been answered goes out, what has been submitted is written.
    pub(crate) fn stop(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.inbox.stop();
    }

    /// Waits for the end, but not beyond `until`; says whether it came.
    pub(crate) fn wait(&self, until: Instant) -> bool {
        self.ended.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok()
    }
}

/// What the disk tells, into the inbox.
fn hooks(inbox: &Arc<Inbox>, ending: &Arc<Ending>) -> Hooks {
    let (persisted, read, ending) = (inbox.clone(), inbox.clone(), ending.clone());
    Hooks {
        persisted: Box::new(move |token| persisted.put_persisted(token)),
        failed: Box::new(move |reason| ending.end(Reason::Failed(reason))),
        read: Box::new(move |id, entries| {
            // Nothing is left of what was asked for, so nobody asks any more.
            if !entries.is_empty() {
                read.put_answer(Item::Event(Event::Zab(gometa_zab::Event::LogRead { id, entries })));
            }
        }),
    }
}

fn unreadable(data_dir: &Path, error: &dyn std::error::Error) -> String {
    format!(
        "data directory {} is damaged: {error}; move it away: with an empty directory the node comes back without a \
         vote, and the others bring it up to date",
        data_dir.display()
    )
}

/// The ensemble's members come from its history; a configuration that names others changes nothing, and whoever
/// wrote it should know.
fn warn_if_other_voters(configured: &[Voter], members: &[Voter]) {
    let missing = |from: &[Voter], other: &[Voter]| -> Vec<String> {
        from.iter()
            .filter(|voter| !other.iter().any(|other| other.node == voter.node))
            .map(|voter| voter.addresses.message.clone())
            .collect()
    };
    let (only_members, only_configured) = (missing(members, configured), missing(configured, members));
    if !only_members.is_empty() || !only_configured.is_empty() {
        let difference = narrate::difference("the ensemble", &only_members, &only_configured);
        warn!("{difference}; the ensemble was formed before, and its own list of members holds");
    }
}

/// The configured voters, under the id that the data directory gives this node.
fn voters_with(config: &ServerConfig, me: NodeId, founded: bool) -> Result<Vec<Voter>, String> {
    let mut voters = config.voters.clone();
    if me == config.node {
        return Ok(voters);
    }
    let directory = config.data_dir.display();
    if let Some(other) = voters.iter().find(|voter| voter.node == me) {
        return Err(format!(
            "data directory {directory} belongs to {}, not to {}: give each node its own directory",
            other.addresses.message, config.announced.message.text
        ));
    }
    if !founded {
        return Err(format!(
            "data directory {directory} was made for another MessageAddr or Id than {} now names, and belongs to no \
             ensemble yet: remove it, or name another one",
            config.source
        ));
    }
    voters.iter_mut().filter(|voter| voter.node == config.node).for_each(|voter| voter.node = me);
    voters.sort_by_key(|voter| voter.node);
    Ok(voters)
}

fn node_config(
    config: &ServerConfig,
    disk: &Disk,
    voters: Vec<Voter>,
) -> Result<gometa_node::Config, String> {
    let mut seed = [0; 16];
    getrandom::fill(&mut seed).map_err(|error| format!("the system gives no random numbers: {error}"))?;
    Ok(gometa_node::Config {
        zab: gometa_zab::Config {
            node: disk.identity.node,
            incarnation: disk.identity.incarnation,
            boot: disk.identity.boot,
            addresses: config.addresses(),
            voters,
            seed: u128::from_be_bytes(seed),
            timeouts: Timeouts::from_ms(config.heartbeat_ms, config.election_timeout_ms),
            bounds: gometa_zab::Bounds::default(),
        },
        session_timeout_ms: config.session_timeout_ms,
        deadline_default_ms: limits::DEADLINE_DEFAULT_MS,
        requests_max: REQUESTS_MAX,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_id_in_the_data_directory_wins_once_the_ensemble_is_formed() {
        let config = ServerConfig::on_this_machine("node.json", 0, 3, PathBuf::from("data"));
        let kept = NodeId(7);
        let voters = voters_with(&config, kept, true).unwrap();
        assert!(voters.is_sorted_by_key(|voter| voter.node));
        assert_eq!(voters.len(), 3);
        assert!(voters.iter().any(|voter| voter.node == kept && voter.addresses.message == "127.0.0.1:5002"));
        assert!(voters.iter().all(|voter| voter.node != config.node));
        assert_eq!(
            voters_with(&config, kept, false).unwrap_err(),
            "data directory data was made for another MessageAddr or Id than node.json now names, and belongs to no \
             ensemble yet: remove it, or name another one"
        );
    }

    #[test]
    fn the_directory_of_a_peer_is_refused() {
        let config = ServerConfig::on_this_machine("node.json", 0, 3, PathBuf::from("data"));
        let peer = ServerConfig::on_this_machine("node.json", 1, 3, PathBuf::new()).node;
        assert_eq!(
            voters_with(&config, peer, true).unwrap_err(),
            "data directory data belongs to 127.0.0.1:6002, not to 127.0.0.1:5002: give each node its own directory"
        );
    }
}
