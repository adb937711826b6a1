//! `gometa-server -recover`: founds an ensemble anew from the data of this node, after its quorum is lost permanently.
//!
//! It asks the members that the data directory knows first: an ensemble that is alive, that could elect a leader, or of which
//! another node has more, is not founded anew.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::{self, IsTerminal},
    time::Duration,
};

use gometa_client::{Client, ErrorKind, NodeStatus, blocking};
use gometa_zab::{Configuration, EnsembleId, Epoch, NodeId, NotRefounded, Zxid};

use crate::{
    config::ServerConfig,
    disk::{Refounded, Survivor},
    process::{arguments::CONSENT, logging, output::print},
};

/// The time for a member to answer.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The flag, as it was given.
pub(crate) struct Asked<'a> {
    /// Its value.
    pub(crate) consent: &'a str,
    /// Its name.
    pub(crate) source: &'a str,
    /// Whether a configuration file was given.
    pub(crate) configured: bool,
}

/// Founds the ensemble anew, and prints what to do next.
///
/// # Errors
/// One line: why nothing was changed, or a failed write.
pub(crate) fn run(config: &ServerConfig, asked: &Asked<'_>) -> Result<(), String> {
    let Asked { consent, source, configured } = *asked;
    logging::abort_on_panic();
    let dir = config.data_dir.display().to_string();
    let survivor = Survivor::open(&config.data_dir, config.node)?;
    survivor.check().map_err(|why| refusal(why, &dir))?;
    let (Some(ensemble), Some(configuration)) = (survivor.ensemble(), survivor.configuration()) else {
        return Err(refusal(NotRefounded::NotFounded, &dir));
    };
    if !configured {
        // The usual addresses are not those of this node, nor are its peers known.
        check_address(&configuration, survivor.node(), &config.announced.message.text)?;
    }
    let own = Own { ensemble, position: survivor.position() };
    let (epoch, last) = own.position;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "data directory {dir}, node {}", survivor.node());
    let _ = writeln!(text, "ensemble {:032x}, history {}", ensemble.id, ensemble.history);
    let _ = writeln!(text, "last entry {last}, last epoch {epoch}");
    for member in configuration.members() {
        let kind = if configuration.voters().contains(&member) { "voter" } else { "learner" };
        let _ = writeln!(text, "  {kind} {} at {}", member.node, member.addresses.message);
    }
    print(&text)?;
    ask_nodes(&own, survivor.node(), &configuration, config)?;
    agree(consent, source, configuration.voters().len() - 1)?;
    let Refounded { ensemble, at, sessions } = survivor.refound()?;
    print(&format!(
        "founded anew: history {}, this node is the only voter since {at}; {sessions} sessions end\n\
         Next:\n\
         1. Start this node, without {source}.\n\
         2. On every other machine: stop the node, move its data directory away, and start it with \
         -join={} -voter.\n\
         3. Clients learn once that the history has changed: revisions and sessions of the old one mean nothing.\n",
        ensemble.history, config.announced.request.text
    ))
}

/// Fails if the ensemble has recorded another address of this node than the one that it has without a configuration file.
fn check_address(configuration: &Configuration, node: NodeId, own: &str) -> Result<(), String> {
    let recorded = configuration.members().into_iter().find(|member| member.node == node);
    match recorded.map(|member| member.addresses.message.clone()) {
        Some(recorded) if recorded != own => Err(format!(
            "the ensemble knows this node as {recorded}, and without a configuration file it is {own}: name its file with \
             -config; nothing was changed"
        )),
        _ => Ok(()),
    }
}

/// Why an ensemble is not founded anew from this directory.
fn refusal(why: NotRefounded, dir: &str) -> String {
    match why {
        NotRefounded::NotFounded => {
            format!(
                "data directory {dir} does not belong to an ensemble yet, and cannot be recovered; nothing was changed"
            )
        }
        NotRefounded::NotAVoter => format!(
            "data directory {dir} is not that of a voter: the node is a learner, was removed, or has lost its old \
             directory and is not a voter again yet; recover on a voter, `gometa recover compare` names the best one; \
             nothing was changed"
        ),
        NotRefounded::Alone => format!(
            "data directory {dir} is that of the only voter: it needs no other one; start it without -recover; nothing \
             was changed"
        ),
    }
}

/// What this node has.
struct Own {
    ensemble: EnsembleId,
    position: (Epoch, Zxid),
}

/// What a member's answer means.
#[derive(PartialEq, Eq, Debug)]
enum Found {
    /// It does not stand against founding the ensemble anew.
    Nothing(String),
    /// It is a voter of this history without a leader, and has not more.
    Survivor(String),
    /// The ensemble must not be founded anew, at least not here.
    Against(String),
}

impl Own {
    fn judge(&self, status: &NodeStatus) -> Found {
        let Some(theirs) = &status.ensemble else {
            return Found::Nothing("belongs to no ensemble".to_owned());
        };
        if theirs.id[..] != self.ensemble.id.to_be_bytes() {
            return Found::Nothing("belongs to another ensemble".to_owned());
        }
        if theirs.history > self.ensemble.history {
            return Found::Against(format!(
                "the ensemble was founded anew already, it has history {} there: move this data directory away, and \
                 start this node with -join",
                theirs.history
            ));
        }
        if theirs.history < self.ensemble.history {
            return Found::Nothing(format!("was left behind with history {}", theirs.history));
        }
        if status.leader.is_some() {
            return Found::Against(
                "it has a leader, so the ensemble is alive: start this node without -recover".to_owned(),
            );
        }
        if !status.votes {
            return Found::Nothing(
                "has no vote: it is a learner, or its data directory was replaced; what only it has is given up".to_owned(),
            );
        }
        let (epoch, last) = self.position;
        let theirs = status.epoch.max(status.last_epoch);
        if (theirs, status.last_revision) > (epoch.0, last.counter) {
            return Found::Against(format!(
                "it has more, epoch {theirs} and revision {}: recover there, or stop that node if it is to be given up",
                status.last_revision
            ));
        }
        Found::Survivor("has no leader, and not more than this node".to_owned())
    }
}

/// Asks the other members, and the nodes that the configuration file lists: the members may have changed since this node was
/// connected. Fails if an answer stands against founding the ensemble anew.
fn ask_nodes(
    own: &Own,
    me: NodeId,
    configuration: &Configuration,
    config: &ServerConfig,
) -> Result<(), String> {
    let members = configuration.members();
    let listed = members.iter().chain(&config.voters).filter(|voter| voter.node != me);
    let listed = listed.map(|voter| voter.addresses.request.as_str());
    let addresses: BTreeSet<&str> = listed.chain(config.join.iter().map(String::as_str)).collect();
    let mut survivors = BTreeSet::new();
    for address in addresses.into_iter().filter(|address| *address != config.announced.request.text) {
        if address.is_empty() {
            print("a member has no request address, and cannot be asked\n")?;
            continue;
        }
        let asked = match blocking::Client::with_settings(Client::builder().timeout(TIMEOUT), [address]) {
            Ok(client) => client.status_of(address),
            Err(error) => Err(error),
        };
        let said = match asked {
            Ok(status) => match own.judge(&status) {
                Found::Against(why) => return Err(format!("node {address}: {why}; nothing was changed")),
                Found::Survivor(said) => {
                    survivors.insert(status.node);
                    said
                }
                Found::Nothing(said) => said,
            },
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                format!("does not answer: {}", error.message())
            }
            Err(error) => {
                return Err(format!(
                    "node {address} runs, and does not say what it has ({}): stop it if it is to be given up; nothing was \
                     changed",
                    error.message()
                ));
            }
        };
        print(&format!("node {address} {said}\n"))?;
    }
    if configuration.has_quorum(|voter| voter.node == me || survivors.contains(&voter.node.0)) {
        return Err(format!(
            "{} other voters answer, and with this node they are a quorum: start it without -recover, and they elect a \
             leader; nothing was changed",
            survivors.len()
        ));
    }
    Ok(())
}

/// Fails unless the operator agrees.
fn agree(consent: &str, source: &str, others: usize) -> Result<(), String> {
    if consent == CONSENT {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(format!(
            "writes that only the other nodes have are lost permanently: {source}={CONSENT} says that you want this; nothing \
             was changed"
        ));
    }
    print(&format!(
        "The {others} other voters are given up: writes that only they have are lost permanently, also acknowledged ones.\n\
         Type {CONSENT} to go on: "
    ))?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|error| format!("cannot read the answer: {error}"))?;
    if answer.trim() == CONSENT { Ok(()) } else { Err("nothing was changed".to_owned()) }
}
