//! `gometa-server -restore`: founds an ensemble whose only voter is this node, from the file of a backup.

use std::path::Path;

use gometa_zab::Voter;

use crate::{
    config::ServerConfig,
    disk::{Checked, Restored, check_backup, restore},
    process::{logging, output::print},
};

/// Restores a backup into the data directory of the configuration, and prints what to do next. `source` names the flag.
///
/// # Errors
/// One line: why nothing was changed, or a failed write.
pub(crate) fn run(config: &ServerConfig, file: &Path, source: &str) -> Result<(), String> {
    logging::abort_on_panic();
    let own = own_voter(config)?;
    let checked = check_backup(file, &config.data_dir)?;
    let Checked { info, bytes, .. } = &checked;
    print(&format!(
        "backup {}, {bytes} bytes, all of them checked\n\
         ensemble {}, revision {}, {} keys, history from revision {}\n",
        file.display(),
        hex(&info.ensemble().id),
        info.revision(),
        info.keys(),
        info.oldest_revision(),
    ))?;
    let Restored { ensemble, sessions, last } = restore(&checked, &config.data_dir, &own)?;
    print(&format!(
        "restored into {}: ensemble {:032x}, this node is the only voter, last entry {last}; {sessions} sessions end\n\
         Next:\n\
         1. Start this node, without {source}, with the same -config and -data-dir.\n\
         2. On every other machine: start a node with an empty data directory and -join={} -voter.\n\
         3. Start clients anew: the ensemble has a new id, and refuses clients that know the old one.\n",
        config.data_dir.display(),
        ensemble.id,
        config.announced.request.text
    ))
}

/// This node, as the genesis lists it. Its incarnation is that of the new directory.
fn own_voter(config: &ServerConfig) -> Result<Voter, String> {
    let own = config.voters.iter().find(|voter| voter.node == config.node);
    own.cloned().ok_or_else(|| format!("{} does not list this node itself", config.source))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
