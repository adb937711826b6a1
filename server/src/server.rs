//! One node of this process: its sockets, its data directory, its driver, put together and taken apart.

use std::{
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    time::{Duration, Instant},
};

use gometa_node::{Event, Node, Write};
use gometa_proto::{limits, v1};
use gometa_zab::{Hello, Ticks, Timeouts, Token, Voter};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::mpsc,
    task::JoinHandle,
};
use tracing::{info, warn};

use crate::{
    client::{
        admission,
        port::{ClientPort, Manners},
        registry::Clients,
    },
    config::ServerConfig,
    disk::{Disk, Hooks, LogReader, Writer},
    driver::{Driver, Storage, Surroundings},
    identity,
    inbox::{Inbox, Item},
    memory::{self, Allowance},
    net::{frame_budget::FrameRoom, listen},
    observe::{counters::Counters, ready::Ready},
    peer::{
        address_book::{self, AddressBook},
        link::{self, PeerPort, Strangers},
        search::{DialErrors, Search},
        vote_socket::{self, VoteSender},
    },
    process::{
        logging,
        shutdown::{Ending, Reason},
        supervisor::Supervisor,
        threads,
    },
};

/// Threads that serve a node's sockets. The driver and the disk have their own; on a machine with two cores, more would
/// only take turns with them.
const WORKERS: usize = 2;
/// Threads that look up names.
const LOOKUPS_MAX: usize = 8;
/// Requests waiting in one node; beyond it they are refused. The client port admits half as many: some of those
/// whose clients are gone are still known to the node.
const REQUESTS_MAX: usize = 2 * admission::REQUESTS_MAX;
/// Dialling a peer takes no longer than the election time-out, and may take as long as this.
const CONNECT_TIMEOUT_MIN: Duration = Duration::from_millis(200);

/// A running node.
pub(crate) struct Server {
    runtime: Runtime,
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
    /// Starts a node, to which the calling thread belongs from now on. An error is one line that names the thing and
    /// the remedy.
    pub(crate) fn start(
        config: &ServerConfig,
        ending: &Arc<Ending>,
        supervisor: &Arc<Supervisor>,
    ) -> Result<Server, String> {
        logging::set_thread_node(Some(config.announced.message.text.as_str().into()));
        let runtime = runtime()?;
        let entered = runtime.enter();
        let sockets = listen::open(config)?;
        let inbox = Arc::new(Inbox::new());
        let disk = Disk::open(&config.data_dir, config.node, hooks(&inbox, ending))
            .map_err(|error| format!("{error}; the directory comes from {}", config.data_dir_source))?;
        let me = disk.identity.node;
        if let Some(founding) = &disk.recovered.founding {
            identity::refuse_if_founded_alone(config, founding)?;
        }
        let voters = identity::voters_with(config, me, disk.recovered.founding.is_some())?;
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
        // For clients that connect before the node's first step: it names itself only.
        clients.set_view(v1::View {
            role: v1::Role::Looking.into(),
            leader: String::new(),
            members: vec![v1::Member {
                node: me.0,
                message_address: config.announced.message.text.clone(),
                request_address: config.announced.request.text.clone(),
            }],
        });
        let (names, names_receiver) = mpsc::channel(address_book::NAMES_MAX);
        let mut book = AddressBook::new(names);
        book.add_voters(&voters);
        if let Some(founding) = &disk.recovered.founding {
            book.add_voters(&founding.genesis.voters);
            if founding.sealed {
                clients.set_ensemble(founding.genesis.ensemble);
                identity::warn_if_other_voters(&voters, &founding.genesis.voters);
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
        let dial_errors = Arc::new(DialErrors::default());
        let peers = Arc::new(PeerPort {
            inbox: inbox.clone(),
            counters: counters.clone(),
            together: Arc::default(),
            connect_timeout: Duration::from_millis(config.election_timeout_ms).max(CONNECT_TIMEOUT_MIN),
            dial_errors: dial_errors.clone(),
            frames: FrameRoom::new(link::FRAMES_BYTES),
            strangers: Strangers::default(),
        });
        let client_port = Arc::new(ClientPort {
            clients: clients.clone(),
            inbox: inbox.clone(),
            counters: counters.clone(),
            clients_max: allowance.clients_max,
            frames: FrameRoom::new(allowance.frames()),
            manners: Manners {
                driver_silence_max: Duration::from_millis(2 * config.heartbeat_ms),
                ..Manners::default()
            },
        });
        let like = votes.local_address();

        let node_config = node_config(config, &disk, voters)?;
        let start = Instant::now();
        let storage = Box::new(DiskStorage { writer: disk.writer, log: disk.log });
        let hello = Hello {
            node: me,
            incarnation: disk.identity.incarnation,
            boot: disk.identity.boot,
            meant: None,
            ensemble: None,
            addresses: config.addresses(),
            voters: Vec::new(),
        };
        let moved = identity::moved(config, me, disk.recovered.founding.as_ref());
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
            ready: Ready::new(me, config.addresses(), supervisor.clone()),
            runtime: runtime.handle().clone(),
            dial_errors,
            hello,
            search: Search::new(Duration::from_millis(config.election_timeout_ms), moved),
            start,
        };
        let (done, ended) = sync_channel(1);
        let (recovered, table) = (disk.recovered, disk.table);
        let (data_dir, ending) = (config.data_dir.clone(), ending.clone());
        let drive = move || {
            // Here and not before: this reads the table, and a thread that reads damage never returns. It is up to
            // the main thread to end the process then.
            match Node::new(node_config, recovered, table, Ticks::default()) {
                Ok((node, first)) => Driver::new(node, first, around).run(),
                Err(error) => ending.end(Reason::Failed(unreadable(&data_dir, &error))),
            }
            // Nobody listens if the process could not wait any longer.
            let _ = done.send(());
        };
        threads::spawn("gometa-driver", drive).map_err(system("start the driver's thread"))?;
        let tasks = vec![
            tokio::spawn(vote_socket::receive(vote_receiver, inbox.clone(), counters)),
            tokio::spawn(peers.run(message)),
            tokio::spawn(client_port.run(request)),
            tokio::spawn(address_book::resolve(names_receiver, inbox.clone(), like)),
        ];
        drop(entered);
        Ok(Server { runtime, inbox, tasks, ended })
    }

    /// Asks the node to end: what has been answered goes out, what has been submitted is written.
    pub(crate) fn stop(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.inbox.stop();
    }

    /// Waits for the end, but not beyond `until`; returns whether it came. What is left of its threads ends with the
    /// process.
    pub(crate) fn wait(self, until: Instant) -> bool {
        let ended = self.ended.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok();
        self.runtime.shutdown_background();
        ended
    }
}

/// A node has a runtime of its own, so that each thread belongs to one node.
fn runtime() -> Result<Runtime, String> {
    let node = logging::thread_node();
    Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(LOOKUPS_MAX)
        .thread_name("gometa-io")
        .on_thread_start(move || logging::set_thread_node(node.clone()))
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start threads: {error}; look at the limits of this process"))
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
        unstored_bytes_max: memory::UNSTORED_BYTES_MAX,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}
