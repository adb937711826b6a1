//! 13. **Epochs**: a node's durable accepted epoch *p* and current epoch *a* never decrease; *p* ≥ *a*; *p* ≥ the
//!     epoch of its last log entry; *p* is bound to one leader. (That no ack goes out for a lower epoch or to
//!     another leader than promised is checked in `durability`, when acks are sent.)

use gometa_zab::HardState;

use super::{Check, ensure};
use crate::disk::Image;

const NAME: &str = "13 epochs";

/// Each node's durable promises, as last seen.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Epochs {
    durable: Vec<HardState>,
}

impl Epochs {
    pub(super) fn new(nodes: usize) -> Epochs {
        Epochs { durable: vec![HardState::default(); nodes] }
    }

    /// What is known of nodes of which only one has a directory, with this hard state.
    pub(super) fn of_one(nodes: usize, node: usize, state: HardState) -> Epochs {
        let mut epochs = Epochs::new(nodes);
        epochs.durable[node] = state;
        epochs
    }

    pub(super) fn forget(&mut self, node: usize) {
        self.durable[node] = HardState::default();
    }

    /// A hard state is to be written over another one.
    pub(super) fn issues(&self, node: usize, old: &HardState, new: &HardState) -> Check {
        advances(node, old, new)
    }

    /// The durable image has changed; true if the current epoch did.
    pub(super) fn hardened(&mut self, node: usize, image: &Image) -> Result<bool, super::Violation> {
        let (old, new) = (self.durable[node], image.hard_state);
        if old != new {
            advances(node, &old, &new)?;
            self.durable[node] = new;
        }
        ensure!(
            new.accepted_epoch >= image.last().epoch,
            NAME,
            "n{node} has promised epoch {} and holds {}",
            new.accepted_epoch,
            image.last()
        );
        Ok(old.current_epoch != new.current_epoch)
    }
}

fn advances(node: usize, old: &HardState, new: &HardState) -> Check {
    let rises = new.accepted_epoch >= old.accepted_epoch && new.current_epoch >= old.current_epoch;
    ensure!(rises, NAME, "n{node} goes back from {old:?} to {new:?}");
    ensure!(new.accepted_epoch >= new.current_epoch, NAME, "n{node} writes {new:?}");
    let same = new.accepted_epoch != old.accepted_epoch || new.accepted_leader == old.accepted_leader;
    ensure!(same, NAME, "n{node} moves its promise from {old:?} to {new:?}");
    Ok(())
}
