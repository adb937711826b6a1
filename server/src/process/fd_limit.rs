//! How many files and connections the process may have open, and what follows from it.
//!
//! A connection that cannot be accepted because there is no descriptor left for it is the smaller evil: a database
//! that cannot open a file ends the node, and a peer that cannot be dialled loses it its leader. So the number of
//! clients is what gives way, once, at the start, and says so.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::{config::ServerConfig, peer::link};

/// What one node needs beside its clients: the database (256 tables, and logs), links to and from peers, those who
/// connect to be refused, sockets that listen.
const NODE: u64 = 256 + 64 + 2 * 64 + link::LINKS_MAX as u64 + link::STRANGERS_MAX as u64 + 256;
/// What the process needs: standard streams, the runtime, whatever the system's libraries open.
const PROCESS: u64 = 64;
/// A node that can serve fewer clients than this is of no use.
const CLIENTS_MIN: u64 = 16;

/// Raises the process's limit as far as its nodes need and it may, and lowers the number of clients to what then fits.
pub(crate) fn fit(configs: &mut [ServerConfig]) -> Result<(), String> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let needed = configs.iter().map(|config| NODE + config.clients_max as u64).sum::<u64>() + PROCESS;
    let mut limit = current;
    if current.is_some_and(|current| current < needed) {
        let raised = maximum.map_or(needed, |maximum| maximum.min(needed));
        if setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }).is_ok() {
            limit = Some(raised);
        }
    }
    let Some(limit) = limit.filter(|limit| *limit < needed) else { return Ok(()) };
    let clients = clients_within(limit, configs.len() as u64);
    if clients < CLIENTS_MIN {
        return Err(format!(
            "the limit of open files is {limit}: a node needs {}; raise it (ulimit -n)",
            PROCESS + NODE + CLIENTS_MIN
        ));
    }
    for config in configs {
        if config.clients_max as u64 > clients {
            let configured = std::mem::replace(&mut config.clients_max, clients as usize);
            let line = format!(
                "serves at most {clients} clients at a time, not the {configured} of ClientsMax: the limit of open \
                 files is {limit} (ulimit -n)"
            );
            if configured == crate::config::CLIENTS_MAX_DEFAULT { info!("{line}") } else { warn!("{line}") }
        }
    }
    Ok(())
}

/// How many clients each of `nodes` nodes may have within a limit.
fn clients_within(limit: u64, nodes: u64) -> u64 {
    (limit.saturating_sub(PROCESS) / nodes).saturating_sub(NODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_the_rest_leaves() {
        assert_eq!(clients_within(0, 1), 0);
        assert_eq!(clients_within(PROCESS + NODE, 1), 0);
        assert_eq!(clients_within(PROCESS + NODE + 500, 1), 500);
        assert_eq!(clients_within(PROCESS + 3 * (NODE + 500), 3), 500);
    }
}
