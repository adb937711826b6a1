//! The limit of open files, and the number of clients that fits into it.
//!
//! Without descriptors, the database stops the node and peers cannot be reached. So the number of clients is lowered at the
//! start, with a log line, to leave enough for both.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::config::{CLIENTS_MAX_DEFAULT, ServerConfig};

/// The descriptors of one node without clients and accepted links: the database (256 tables, and logs), dialled links,
/// connections that are being refused, listening sockets.
const NODE: u64 = 256 + 64 + 2 * 64 + 256;
/// The descriptors of the process: standard streams, the runtime, the system's libraries.
const PROCESS: u64 = 64;
/// The smallest number of clients that a node starts with.
const CLIENTS_MIN: u64 = 16;

/// Raises the limit as far as needed and permitted, and lowers the number of clients to what fits. Each node accepts
/// `links_max` connections of peers.
///
/// # Errors
/// One line, if fewer than [`CLIENTS_MIN`] fit.
pub(crate) fn apply(configs: &mut [ServerConfig], links_max: usize) -> Result<(), String> {
    let node = NODE + links_max as u64;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let needed = configs.iter().map(|config| node + config.clients_max as u64).sum::<u64>() + PROCESS;
    let mut limit = current;
    if current.is_some_and(|current| current < needed) {
        let raised = maximum.map_or(needed, |maximum| maximum.min(needed));
        if setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }).is_ok() {
            limit = Some(raised);
        }
    }
    let Some(open_files_max) = limit.filter(|limit| *limit < needed) else { return Ok(()) };
    let clients_max = clients_within(open_files_max, configs.len() as u64, node);
    if clients_max < CLIENTS_MIN {
        return Err(format!(
            "the limit of open files is {open_files_max}: a node needs {}; raise it (ulimit -n)",
            PROCESS + node + CLIENTS_MIN
        ));
    }
    for config in configs {
        if config.clients_max as u64 > clients_max {
            let configured = std::mem::replace(&mut config.clients_max, clients_max as usize);
            if configured == CLIENTS_MAX_DEFAULT {
                info!(clients_max, open_files_max, "client limit lowered to fit open files");
            } else {
                warn!(
                    clients_max,
                    configured, open_files_max, "configured client limit lowered to fit open files"
                );
            }
        }
    }
    Ok(())
}

/// The number of clients of each of `nodes` nodes, which needs `node` other descriptors, within a limit.
fn clients_within(limit: u64, nodes: u64, node: u64) -> u64 {
    (limit.saturating_sub(PROCESS) / nodes).saturating_sub(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_use_the_descriptors_that_are_left() {
        let node = NODE + 768;
        assert_eq!(clients_within(0, 1, node), 0);
        assert_eq!(clients_within(PROCESS + node, 1, node), 0);
        assert_eq!(clients_within(PROCESS + node + 500, 1, node), 500);
        assert_eq!(clients_within(PROCESS + 3 * (node + 500), 3, node), 500);
    }
}
