//! Why peers cannot be reached, for the log.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use gometa_zab::NodeId;
use parking_lot::Mutex;
use tokio::{net::lookup_host, time::timeout};

/// The time for a lookup of an address for the log.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// The error of the latest attempt to connect to each peer, if it failed.
#[derive(Debug, Default)]
pub(crate) struct DialErrors(Mutex<BTreeMap<NodeId, String>>);

impl DialErrors {
    /// Sets the result of an attempt.
    pub(crate) fn set(&self, peer: NodeId, error: Option<String>) {
        match error {
            Some(error) => drop(self.0.lock().insert(peer, error)),
            None => drop(self.0.lock().remove(&peer)),
        }
    }

    /// The error of the latest attempt, if it failed.
    pub(crate) fn get(&self, peer: NodeId) -> Option<String> {
        self.0.lock().get(&peer).cloned()
    }
}

/// The address, and the IP addresses of its host name if it has one.
pub(crate) async fn with_resolved(address: &str) -> String {
    if address.parse::<SocketAddr>().is_ok() {
        return address.to_owned();
    }
    match timeout(LOOKUP_TIMEOUT, lookup_host(address)).await {
        Ok(Ok(found)) => {
            let found: Vec<String> = found.map(|found| found.to_string()).collect();
            format!("{address} ({})", found.join(", "))
        }
        Ok(Err(_)) | Err(_) => address.to_owned(),
    }
}
