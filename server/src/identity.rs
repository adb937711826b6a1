//! Compares the identity in the data directory with the configuration, at the start.
//!
//! Once an ensemble is formed, the directory's id and the ensemble's list of members take precedence. Two mistakes are
//! refused: the directory of another node, and the directory of an ensemble of one node if the configuration lists peers.

use std::path::Path;

use gometa_zab::{Founding, NodeId, Voter};
use tracing::warn;

use crate::{
    config::{Address, ServerConfig},
    observe::events,
};

/// Refuses the directory of an ensemble of one node, to which none was ever added, if the configuration lists peers: the node
/// would go on alone, as a second ensemble beside that of the peers. Once members were added or removed, the list in the
/// configuration does not matter any more.
pub(crate) fn refuse_if_founded_alone(
    config: &ServerConfig,
    me: NodeId,
    founding: &Founding,
    members_changed: bool,
) -> Result<(), String> {
    let [alone] = &founding.genesis.voters[..] else { return Ok(()) };
    if !founding.sealed || config.voters.len() == 1 || members_changed || alone.node != me {
        return Ok(());
    }
    let (own, peers): (Vec<&Voter>, Vec<&Voter>) =
        config.voters.iter().partition(|voter| voter.node == config.node);
    let listed: Vec<&str> =
        own.into_iter().chain(peers).map(|voter| voter.addresses.message.as_str()).collect();
    Err(format!(
        "data directory {} belongs to an ensemble of one node, {}, and {} lists {}: it cannot join others; \
         to start with an empty directory, without the data of the old one, run: {}; to continue alone, write \
         \"Peer\": [] in the configuration",
        config.data_dir.display(),
        alone.addresses.message,
        config.source,
        listed.join(", "),
        move_away(&config.data_dir)
    ))
}

/// Refuses a node that never founds an ensemble and has no peer that could tell it of one.
pub(crate) fn refuse_if_without_peers(config: &ServerConfig) -> Result<(), String> {
    if config.voters.len() > 1 || !config.join.is_empty() {
        return Ok(());
    }
    Err(format!(
        "data directory {} was damaged, the record of its ensemble is lost, and {} lists no peers: list them in the \
         configuration; to start with an empty directory instead, run: {}",
        config.data_dir.display(),
        config.source,
        move_away(&config.data_dir)
    ))
}

/// The command that renames a directory to a name that does not exist.
fn move_away(dir: &Path) -> String {
    let dir = dir.display().to_string();
    let target = (1..).map(|number| format!("{dir}.old-{number}")).find(|target| !Path::new(target).exists());
    format!("mv {} {}", quoted(&dir), quoted(&target.unwrap_or_default()))
}

/// Quotes a word for the shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,".contains(c);
    if !word.is_empty() && !word.starts_with('-') && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Logs a warning if the configuration differs from the ensemble's list of members, which takes precedence.
pub(crate) fn warn_if_other_voters(configured: &[Voter], members: &[Voter]) {
    if let Some(difference) = differences(configured, members) {
        warn!(difference, "configuration differs from the ensemble's members, which take precedence");
    }
}

fn differences(configured: &[Voter], members: &[Voter]) -> Option<String> {
    let find = |voters: &'_ [Voter], node| voters.iter().find(|voter| voter.node == node).cloned();
    let missing = |from: &[Voter], other: &[Voter]| -> Vec<String> {
        from.iter()
            .filter(|voter| find(other, voter.node).is_none())
            .map(|voter| voter.addresses.message.clone())
            .collect()
    };
    let (only_members, only_configured) = (missing(members, configured), missing(configured, members));
    let mut parts = Vec::new();
    if !only_members.is_empty() || !only_configured.is_empty() {
        parts.push(events::difference("the ensemble", &only_members, &only_configured));
    }
    if !only_members.is_empty() && !only_configured.is_empty() {
        let ids: Vec<String> = members
            .iter()
            .filter(|member| find(configured, member.node).is_none())
            .map(|member| format!("{} has the Id {}", member.addresses.message, member.node))
            .collect();
        parts.push(format!(
            "a node whose MessageAddr has changed keeps its id if Id is set ({})",
            ids.join(", ")
        ));
    }
    for member in members {
        if let Some(listed) = find(configured, member.node)
            && !same_address(&listed.addresses.message, &member.addresses.message)
        {
            parts.push(format!(
                "the configuration lists node {} at {}, the ensemble knows it at {}",
                member.node, listed.addresses.message, member.addresses.message
            ));
        }
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Whether two texts are the same address. Host names are not resolved.
fn same_address(one: &str, other: &str) -> bool {
    let canonical =
        |text: &str| Address::parse(text).map_or_else(|_| text.to_owned(), |parsed| parsed.canonical());
    canonical(one) == canonical(other)
}

/// The configured voters, with this node's id from the data directory.
pub(crate) fn voters_with(config: &ServerConfig, me: NodeId, founded: bool) -> Result<Vec<Voter>, String> {
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
            "data directory {directory} was created for another MessageAddr or Id than in {}, and belongs to no ensemble \
             yet: remove it, or use another one",
            config.source
        ));
    }
    voters.iter_mut().filter(|voter| voter.node == config.node).for_each(|voter| voter.node = me);
    voters.sort_by_key(|voter| voter.node);
    Ok(voters)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use gometa_zab::{EnsembleId, Genesis};

    use super::*;

    #[test]
    fn the_id_in_the_data_directory_takes_precedence_once_the_ensemble_is_formed() {
        let config = ServerConfig::on_this_machine("node.json", 0, 3, PathBuf::from("data"));
        let kept = NodeId(7);
        let voters = voters_with(&config, kept, true).unwrap();
        assert!(voters.is_sorted_by_key(|voter| voter.node));
        assert_eq!(voters.len(), 3);
        assert!(voters.iter().any(|voter| voter.node == kept && voter.addresses.message == "127.0.0.1:5002"));
        assert!(voters.iter().all(|voter| voter.node != config.node));
        assert_eq!(
            voters_with(&config, kept, false).unwrap_err(),
            "data directory data was created for another MessageAddr or Id than in node.json, and belongs to no \
             ensemble yet: remove it, or use another one"
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

    fn founded_by(config: &ServerConfig, sealed: bool) -> Founding {
        let genesis = Genesis {
            ensemble: EnsembleId { id: 1, history: 1 },
            voters: config.voters.clone(),
            level: gometa_zab::FIRST_LEVEL,
        };
        Founding { genesis, sealed }
    }

    #[test]
    fn the_directory_of_an_ensemble_of_one_is_refused_with_peers() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("gometa data");
        let alone = ServerConfig::on_this_machine("node.json", 0, 1, data.clone());
        let three = ServerConfig::on_this_machine("node.json", 0, 3, data.clone());
        let expected = |number: u32| {
            let data = data.display();
            Err(format!(
                "data directory {data} belongs to an ensemble of one node, 127.0.0.1:5002, and node.json lists \
                 127.0.0.1:5002, 127.0.0.1:6002, 127.0.0.1:7002: it cannot join others; to start with an empty \
                 directory, without the data of the old one, run: mv '{data}' '{data}.old-{number}'; to continue alone, \
                 write \"Peer\": [] in the configuration"
            ))
        };
        assert_eq!(
            refuse_if_founded_alone(&three, three.node, &founded_by(&alone, true), false),
            expected(1)
        );
        std::fs::create_dir(directory.path().join("gometa data.old-1")).unwrap();
        assert_eq!(
            refuse_if_founded_alone(&three, three.node, &founded_by(&alone, true), false),
            expected(2)
        );
        // Nothing was acknowledged before the seal. A member of three was not founded alone.
        assert_eq!(refuse_if_founded_alone(&three, three.node, &founded_by(&alone, false), false), Ok(()));
        assert_eq!(refuse_if_founded_alone(&alone, alone.node, &founded_by(&alone, true), false), Ok(()));
        assert_eq!(refuse_if_founded_alone(&alone, alone.node, &founded_by(&three, true), false), Ok(()));
        assert_eq!(refuse_if_founded_alone(&three, three.node, &founded_by(&three, true), false), Ok(()));
        // It has grown, or belongs to a node that joined the ensemble of another one.
        assert_eq!(refuse_if_founded_alone(&three, three.node, &founded_by(&alone, true), true), Ok(()));
        assert_eq!(refuse_if_founded_alone(&three, NodeId(7), &founded_by(&alone, true), false), Ok(()));
    }

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(quoted("/srv/gometa-data"), "/srv/gometa-data");
        assert_eq!(quoted("/srv/my data"), "'/srv/my data'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn other_differences_are_one_sentence_each() {
        let members = ServerConfig::on_this_machine("node.json", 0, 3, PathBuf::new()).voters;
        assert_eq!(differences(&members, &members), None);
        let mut renamed = members.clone();
        for voter in &mut renamed {
            voter.addresses.message = voter.addresses.message.replace("127.0.0.1", "LocalHost");
        }
        assert_eq!(differences(&renamed, &members), None, "another spelling of the same address");
        let (node, kept) = (members[0].node, members[0].addresses.message.clone());
        renamed[0].addresses.message = "10.0.0.1:5002".to_owned();
        assert_eq!(
            differences(&renamed, &members).unwrap(),
            format!("the configuration lists node {node} at 10.0.0.1:5002, the ensemble knows it at {kept}")
        );
        renamed.pop();
        let lost = &members[2].addresses.message;
        assert_eq!(
            differences(&renamed, &members).unwrap(),
            format!(
                "the configuration of the ensemble lists voter {lost}, ours does not; the configuration lists node \
                 {node} at 10.0.0.1:5002, the ensemble knows it at {kept}"
            )
        );
    }
}
