//! One node of this process: opens its sockets and its data directory, and starts and stops its driver.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    time::{Duration, Instant},
};

use gometa_node::{Event, Node};
use gometa_proto::{limits, v1};
use gometa_zab::{Founding, Hello, Levels, NodeId, Ticks, Timeouts, Voter, Zxid};
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
    task::JoinHandle,
};
use tracing::{info, warn};

use crate::{
    client::{
        admission,
        connection::{KeepaliveConfig, PortContext},
        port::ClientPort,
        registry::Clients,
    },
    config::ServerConfig,
    disk::{Disk, Finding, Hooks, Identity, RocksTable, Scrubber, Snapshots, SpaceWatch},
    driver::{Driver, Environment},
    identity,
    inbox::{Inbox, Item},
    memory::{self, ClientLimits},
    net::{frame_budget::FrameBudget, listen, transport::Listener},
    observe::{counters::Counters, events::EventLog, ready::Ready, storage::StorageObserver},
    peer::{
        address_book::{self, AddressBook},
        dial_errors::DialErrors,
        joining::Joining,
        link::PeerPort,
        search::LeaderSearch,
        vote_socket::{self, VoteSender},
    },
    process::{
        shutdown::{Reason, Shutdown},
        supervisor::Supervisor,
        threads,
    },
    snapshot::{SnapshotReceiver, SnapshotSender, Transfers},
};

/// The number of threads for a node's sockets. The driver and the disk have their own; more would compete with them on
/// two cores.
const IO_THREADS: usize = 2;
/// The number of threads for name lookups.
const LOOKUP_THREADS_MAX: usize = 8;
/// The number of requests waiting in one node; further ones are refused. The client port admits half as many: the node
/// may still hold requests of clients that are gone.
const REQUESTS_MAX: usize = 2 * admission::REQUESTS_MAX;
/// The number of log entries that are kept for followers that will come back.
const LOG_KEPT: u64 = 100_000;
/// The number of further ones that are kept while a follower reads them, or receives a snapshot.
const LOG_HELD_MAX: u64 = 2_000_000;
/// The lower bound of the time for connecting to a peer, which is the election timeout.
const CONNECT_TIMEOUT_MIN: Duration = Duration::from_millis(200);

/// A running node.
pub(crate) struct Server {
    runtime: Runtime,
    inbox: Arc<Inbox>,
    tasks: Vec<JoinHandle<()>>,
    /// Receives when the driver has stopped and the data directory is closed.
    stopped: Receiver<()>,
}

impl Server {
    /// Starts a node and assigns the calling thread to it.
    ///
    /// # Errors
    /// One line that names the object and the remedy.
    pub(crate) fn start(
        config: &ServerConfig,
        shutdown: &Arc<Shutdown>,
        supervisor: &Arc<Supervisor>,
    ) -> Result<Server, String> {
        threads::set_node(Some(config.announced.message.text.as_str().into()));
        let runtime = runtime()?;
        let entered = runtime.enter();
        let sockets = listen::open(config)?;
        let inbox = Arc::new(Inbox::new());
        let disk = open_disk(config, hooks(&inbox, shutdown))?;
        let me = disk.identity.node;
        let voters = check_identity(config, &disk)?;
        config.warnings.iter().for_each(|warning| warn!(warning, "configuration warning"));
        listen::warn_if_exposed(&sockets);
        info!(
            version = env!("CARGO_PKG_VERSION"),
            id = %me,
            boot = disk.identity.boot,
            data_dir = %config.data_dir.display(),
            "node starts"
        );

        let counters = Arc::new(Counters::default());
        let limits = ClientLimits::from_config(config);
        let clients = Arc::new(Clients::new(me, config.session_timeout_ms, limits, counters.clone()));
        clients.set_view(first_view(config, me));
        let (names, names_receiver) = mpsc::channel(address_book::NAMES_MAX);
        let mut book = AddressBook::new(names);
        book.add_voters(&voters);
        if let Some(founding) = &disk.recovered.founding {
            book.record(&founding.genesis.voters);
            if founding.sealed {
                clients.set_ensemble(founding.genesis.ensemble);
            }
        }

        let (votes, vote_receiver) =
            VoteSender::new(sockets.election, counters.clone()).map_err(system("use the election port"))?;
        let message = Listener::from_std(sockets.message).map_err(system("use the message port"))?;
        let request = Listener::from_std(sockets.request).map_err(system("use the request port"))?;
        let dial_errors = Arc::new(DialErrors::default());
        let peers = peer_port(config, &inbox, &counters, &dial_errors);
        let client_port = client_port(config, limits, &clients, &inbox, &counters);
        let local_address = votes.local_address();
        let (sender, receiver, storage) = snapshot_threads(config, &disk.snapshots, &inbox, &clients)?;
        let environment = Environment {
            inbox: inbox.clone(),
            log: disk.log,
            state: disk.state,
            log_reader: disk.log_reader,
            record_reader: disk.record_reader,
            query_reader: disk.query_reader,
            sender,
            receiver,
            _watches: watches(config, &disk.snapshots, &inbox)?,
            snapshots: disk.snapshots,
            votes,
            peers: peers.clone(),
            clients,
            counters: counters.clone(),
            shutdown: shutdown.clone(),
            ready: Ready::new(me, config.addresses(), supervisor.clone()),
            runtime: runtime.handle().clone(),
            dial_errors,
            hello: hello(config, &disk.identity),
            search: LeaderSearch::new(Duration::from_millis(config.election_timeout_ms)),
            events: EventLog::new(me, config.addresses()),
            joining: joining(config, &disk.identity, disk.recovered.founding.as_ref()),
            book,
            start: Instant::now(),
        };
        let snapshots = environment.snapshots.clone();
        let node_config = node_config(config, &disk.identity, voters, snapshots.history_bounds())?;
        let (done, stopped) = sync_channel(1);
        let (recovered, table, config) = (disk.recovered, disk.table, config.clone());
        let founding = recovered.founding.clone();
        let drive = move || {
            // On this thread, because it reads the table: a thread that reads a damaged one never returns. The main
            // thread then ends the process.
            match Node::new(node_config, recovered, table, Ticks::default()) {
                Ok((node, first)) => match check_members(&config, &founding, &node) {
                    Ok(()) => Driver::new(node, first, environment).run(),
                    Err(line) => environment.shutdown.request(Reason::Failed(line)),
                },
                Err(error) => snapshots.fail_damaged(&error),
            }
            // It holds the data directory.
            drop(storage);
            // Fails if the process did not wait for it.
            let _ = done.send(());
        };
        threads::spawn("gometa-driver", drive).map_err(system("start the driver's thread"))?;
        let tasks = vec![
            tokio::spawn(vote_socket::receive(vote_receiver, inbox.clone(), counters)),
            tokio::spawn(peers.run(message)),
            tokio::spawn(client_port.run(request)),
            tokio::spawn(address_book::resolve(names_receiver, inbox.clone(), local_address)),
        ];
        drop(entered);
        Ok(Server { runtime, inbox, tasks, stopped })
    }

    /// Makes the node stop in order: a leader hands over first, which takes a second at most.
    pub(crate) fn leave(&self) {
        self.inbox.put_answer(Item::Leave);
    }

    /// Makes the node stop. Queued answers are still sent, and submitted writes written.
    pub(crate) fn stop(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.inbox.stop();
    }

    /// Waits until the node has stopped, at most until `until`; returns whether it has. Remaining threads end with the
    /// process.
    pub(crate) fn wait(self, until: Instant) -> bool {
        let stopped = self.stopped.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok();
        self.runtime.shutdown_background();
        stopped
    }
}

/// Compares the data directory with the configuration. Returns the configured voters.
fn check_identity(config: &ServerConfig, disk: &Disk) -> Result<Vec<Voter>, String> {
    if disk.recovered.founding.is_none() && config.never_founds {
        warn!("no ensemble is founded: this node waits for a member of one (-bootstrap=never)");
    }
    if disk.identity.never_founds && disk.recovered.founding.is_none() {
        identity::refuse_if_without_peers(config)?;
        warn!("record of the ensemble lost: waiting for one of its members, no ensemble is founded");
    }
    identity::voters_with(config, disk.identity.node, disk.recovered.founding.is_some())
}

/// Compares the members that the data directory records with the configuration.
fn check_members(
    config: &ServerConfig,
    founding: &Option<Founding>,
    node: &Node<RocksTable>,
) -> Result<(), String> {
    let Some(founding) = founding.as_ref().filter(|founding| founding.sealed) else { return Ok(()) };
    let (me, members) = (node.id(), node.configuration());
    let changed = members.version() > Zxid::ZERO;
    identity::refuse_if_founded_alone(config, me, founding, changed)?;
    if config.join.is_empty() && !changed {
        let configured = identity::voters_with(config, me, true)?;
        identity::warn_if_other_voters(&configured, &members.members());
    }
    Ok(())
}

/// The view for clients that connect before the node's first step: it lists this node only.
fn first_view(config: &ServerConfig, me: NodeId) -> v1::View {
    v1::View {
        role: v1::Role::Looking.into(),
        leader: String::new(),
        members: vec![v1::Member {
            node: me.0,
            message_address: config.announced.message.text.clone(),
            request_address: config.announced.request.text.clone(),
        }],
    }
}

/// Starts the threads that send, receive and observe snapshots.
fn snapshot_threads(
    config: &ServerConfig,
    snapshots: &Snapshots,
    inbox: &Arc<Inbox>,
    clients: &Arc<Clients>,
) -> Result<(SnapshotSender, SnapshotReceiver, StorageObserver), String> {
    let transfers = Arc::new(Transfers::default());
    let sender = SnapshotSender::start(snapshots.clone(), inbox.clone(), transfers.clone(), clients.clone());
    let receiver = SnapshotReceiver::start(snapshots.clone(), inbox.clone(), transfers.clone());
    let observer = StorageObserver::start(snapshots.usage(config.disk_reserve_mb), transfers, inbox.clone());
    let observer = observer.map_err(system("start the thread for figures of storage"))?;
    let threads = sender.and_then(|sender| Ok((sender, receiver?, observer)));
    threads.map_err(|error| error.to_string())
}

fn client_port(
    config: &ServerConfig,
    limits: ClientLimits,
    clients: &Arc<Clients>,
    inbox: &Arc<Inbox>,
    counters: &Arc<Counters>,
) -> Arc<ClientPort> {
    Arc::new(ClientPort {
        context: PortContext {
            clients: clients.clone(),
            inbox: inbox.clone(),
            counters: counters.clone(),
            frames: FrameBudget::new(limits.frames()),
            keepalive: KeepaliveConfig {
                driver_stall_max: Duration::from_millis(2 * config.heartbeat_ms),
                ..KeepaliveConfig::default()
            },
        },
        clients_max: limits.clients_max,
    })
}

fn peer_port(
    config: &ServerConfig,
    inbox: &Arc<Inbox>,
    counters: &Arc<Counters>,
    dial_errors: &Arc<DialErrors>,
) -> Arc<PeerPort> {
    let connect_timeout = Duration::from_millis(config.election_timeout_ms).max(CONNECT_TIMEOUT_MIN);
    Arc::new(PeerPort::new(inbox.clone(), counters.clone(), connect_timeout, dial_errors.clone()))
}

/// The request to be a member, if this node is to join an ensemble.
fn joining(config: &ServerConfig, identity: &Identity, founding: Option<&Founding>) -> Option<Joining> {
    (!config.join.is_empty()).then(|| Joining {
        members: config.join.clone(),
        node: identity.node,
        incarnation: identity.incarnation,
        addresses: config.addresses(),
        voter: config.joins_as_voter,
        ensemble: founding.map(|founding| founding.genesis.ensemble),
        joined: Arc::default(),
    })
}

/// The hello of this process to its peers.
fn hello(config: &ServerConfig, identity: &Identity) -> Hello {
    Hello {
        node: identity.node,
        incarnation: identity.incarnation,
        boot: identity.boot,
        expected: None,
        ensemble: None,
        addresses: config.addresses(),
        voters: Vec::new(),
        configuration: Zxid::ZERO,
        levels: Levels::SUPPORTED,
        level: None,
    }
}

/// Turns an error of the system into one line.
fn system(operation: &'static str) -> impl Fn(std::io::Error) -> String {
    move |error| format!("cannot {operation}: {error}; look at the limits of this process")
}

/// The node's own runtime: each thread belongs to one node.
fn runtime() -> Result<Runtime, String> {
    let node = threads::node();
    Builder::new_multi_thread()
        .worker_threads(IO_THREADS)
        .max_blocking_threads(LOOKUP_THREADS_MAX)
        .thread_name("gometa-io")
        .on_thread_start(move || threads::set_node(node.clone()))
        .enable_all()
        .build()
        .map_err(system("start threads"))
}

/// Puts the level of the disk space into the inbox when it changes.
fn watch_space(
    config: &ServerConfig,
    snapshots: &Snapshots,
    inbox: &Arc<Inbox>,
) -> Result<SpaceWatch, String> {
    let inbox = inbox.clone();
    let report = move |space| inbox.put_answer(Item::DiskSpace(space));
    snapshots.watch_space(config.disk_reserve_mb, report).map_err(|error| error.to_string())
}

fn open_disk(config: &ServerConfig, hooks: Hooks) -> Result<Disk, String> {
    let has_peers = config.voters.len() > 1 || !config.join.is_empty();
    let cache_bytes = config.cache_mb * memory::MIB;
    let disk = Disk::open(&config.data_dir, config.node, has_peers, cache_bytes, hooks);
    disk.map_err(|error| format!("{error}; the directory comes from {}", config.data_dir_source))
}

/// Starts the threads that watch the data directory.
fn watches(
    config: &ServerConfig,
    files: &Snapshots,
    inbox: &Arc<Inbox>,
) -> Result<(SpaceWatch, Scrubber), String> {
    Ok((watch_space(config, files, inbox)?, scrub(config, files, inbox)?))
}

/// Looks for damage in log and state now and then, and puts what it finds into the inbox.
fn scrub(config: &ServerConfig, files: &Snapshots, inbox: &Arc<Inbox>) -> Result<Scrubber, String> {
    let inbox = inbox.clone();
    let report = move |finding| {
        let event = match finding {
            Finding::Sound => return,
            Finding::Damaged => Event::Zab(gometa_zab::Event::Damaged),
            Finding::DeleteLog(through) => Event::LogBounds { kept_above: through, held_above: through },
        };
        inbox.put_answer(Item::Event(event));
    };
    let interval = Duration::from_secs(config.scrub_interval_s);
    files.scrub(interval, report).map_err(|error| error.to_string())
}

/// The disk's callbacks, which put its results into the inbox.
fn hooks(inbox: &Arc<Inbox>, shutdown: &Arc<Shutdown>) -> Hooks {
    let (persisted, stored, read, fetched) = (inbox.clone(), inbox.clone(), inbox.clone(), inbox.clone());
    let queried = inbox.clone();
    let (flushed, shutdown) = (inbox.clone(), shutdown.clone());
    Hooks {
        persisted: Box::new(move |token| persisted.put_persisted(token)),
        stored: Box::new(move |number| stored.put_stored(number)),
        flushed: Box::new(move |flush| flushed.put_flushed(flush)),
        failed: Box::new(move |reason| shutdown.request(Reason::Failed(reason))),
        read: Box::new(move |id, entries| {
            read.put_answer(Item::Event(Event::Zab(gometa_zab::Event::LogRead { id, entries })));
        }),
        fetched: Box::new(move |id, key, record, more| fetched.put_fetched((id, key, record), more)),
        queried: Box::new(move |id, result| {
            queried.put_answer(Item::Event(Event::Queried { id, result }));
        }),
    }
}

fn node_config(
    config: &ServerConfig,
    identity: &Identity,
    voters: Vec<Voter>,
    history: gometa_node::HistoryBounds,
) -> Result<gometa_node::Config, String> {
    let mut seed = [0; 16];
    getrandom::fill(&mut seed)
        .map_err(|error| format!("cannot read random numbers from the system: {error}"))?;
    Ok(gometa_node::Config {
        zab: gometa_zab::Config {
            node: identity.node,
            incarnation: identity.incarnation,
            boot: identity.boot,
            addresses: config.addresses(),
            voters,
            seed: u128::from_be_bytes(seed),
            timeouts: Timeouts::from_ms(config.heartbeat_ms, config.election_timeout_ms),
            bounds: gometa_zab::Bounds::default(),
            levels: Levels::SUPPORTED,
            never_founds: identity.never_founds || config.never_founds || !config.join.is_empty(),
            founds_with_quorum: config.founds_with_quorum,
        },
        session_timeout_ms: config.session_timeout_ms,
        deadline_default_ms: limits::DEADLINE_DEFAULT_MS,
        requests_max: REQUESTS_MAX,
        unstored_bytes_max: memory::UNSTORED_BYTES_MAX,
        log_kept: LOG_KEPT,
        log_held_max: LOG_HELD_MAX,
        state_hash_interval: gometa_node::STATE_HASH_INTERVAL,
        history,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}
