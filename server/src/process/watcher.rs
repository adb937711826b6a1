//! `-watcher`: a learner with a console, as in the original. It joins the ensemble through the request addresses that its
//! file lists, prompts for keys, and answers from its own copy. It leaves the ensemble when it ends in order.

use std::{
    io::{self, IsTerminal},
    sync::Arc,
    time::Duration,
};

use gometa_client::{Client, blocking};
use tracing::{info, warn};

use super::{
    console,
    shutdown::{Reason, Shutdown},
    threads,
};
use crate::config::ServerConfig;

/// The timeout of a read, and of leaving.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Makes a watcher of a node: the members to join are those that its file lists, unless it names others.
///
/// # Errors
/// One line: the file lists no request address.
pub(crate) fn configure(config: &mut ServerConfig, source: &str) -> Result<(), String> {
    if config.join.is_empty() {
        let peers = config.voters.iter().filter(|voter| voter.node != config.node);
        let listed = peers.map(|peer| peer.addresses.request.clone()).filter(|request| !request.is_empty());
        config.join = listed.collect();
        config.join_source = format!("Peer in {}", config.source);
    }
    if config.join.is_empty() {
        return Err(format!(
            "{source} needs the RequestAddrs of members, in Peer or Join of {} or with -join",
            config.source
        ));
    }
    // Its peers are members to ask; it forms nothing with them.
    config.voters.retain(|voter| voter.node == config.node);
    Ok(())
}

/// Prompts on standard input until it ends, and then shuts the process down.
pub(crate) fn start(config: &ServerConfig, shutdown: &Arc<Shutdown>) {
    let (own, shutdown) = (config.announced.request.text.clone(), shutdown.clone());
    let prompting = move || {
        let settings = Client::builder().timeout(TIMEOUT).name("gometa-watcher").pinned(true);
        let client = blocking::Client::with_settings(settings, [own]);
        let ended = client.map_err(anyhow::Error::from).and_then(|client| {
            // Not locked: the READY line is written there, too.
            console::retrieve(&client, io::stdin().lock(), io::stdout(), io::stdout().is_terminal())
        });
        let reason = match ended {
            Ok(()) => "end of standard input".to_owned(),
            Err(error) => format!("the console ended: {error}"),
        };
        shutdown.request(Reason::Requested(reason));
    };
    if let Err(error) = threads::spawn("gometa-watcher", prompting) {
        warn!(%error, "standard input not watched");
    }
}

/// Leaves the ensemble: the node is no member any more. Without a leader it stays one, which does no harm.
pub(crate) fn leave(config: &ServerConfig) {
    let left = || -> Result<bool, gometa_client::Error> {
        let settings = Client::builder().timeout(TIMEOUT).name("gometa-watcher");
        let own = std::iter::once(&config.announced.request.text);
        let client = blocking::Client::with_settings(settings, own.chain(&config.join))?;
        let node = client.status_of(&config.announced.request.text)?.node;
        Ok(client.remove_member(node, None)?.changed)
    };
    match left() {
        Ok(changed) => info!(changed, "left the ensemble"),
        Err(error) => warn!(%error, "cannot leave the ensemble, remove this node with gometa member remove"),
    }
}
