//! The connections between the nodes: two FIFOs each, and how they end.
//!
//! A pair (who dials, who is dialled) has two places for connections: one may still be ending while its successor
//! begins. A third waits until one of them is over. The place is the connection's number for both ends. A number is
//! used again only when neither end has anything of the old connection left, and nothing of it is in flight; the
//! order of numbers means nothing to a node.

/// Nodes of the ensemble.
pub(super) const NODES: usize = 3;

/// Places for the connections of one pair.
pub(super) const PLACES: usize = 2;

/// Places for all connections.
pub(super) const LINKS: usize = NODES * (NODES - 1) * PLACES;

/// The node that dialled the connection at this place.
pub(super) fn dialler(link: u8) -> usize {
    usize::from(link) / PLACES / (NODES - 1)
}

/// The node that was dialled.
pub(super) fn target(link: u8) -> usize {
    let other = usize::from(link) / PLACES % (NODES - 1);
    if other < dialler(link) { other } else { other + 1 }
}

/// The places of a pair.
pub(super) fn places(dialler: usize, target: usize) -> std::ops::Range<usize> {
    let other = if target < dialler { target } else { target - 1 };
    let first = (dialler * (NODES - 1) + other) * PLACES;
    first..first + PLACES
}

/// A node's side of a connection: 0 of the one that dialled, 1 of the other.
pub(super) fn side_of(link: u8, node: usize) -> usize {
    usize::from(dialler(link) != node)
}

/// The node at a side.
pub(super) fn node_at(link: u8, side: usize) -> usize {
    if side == 0 { dialler(link) } else { target(link) }
}

/// Whether more will come in at a side.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) enum Flow {
    #[default]
    Open,
    /// The other end has closed: what is in flight arrives, then the end.
    Closing,
    /// Broken: the end arrives at any time, and what is in flight may be lost.
    Broken,
}

/// One end of a connection.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Side {
    /// The node at this end knows the connection.
    pub(super) here: bool,
    /// Under way to this end, by their numbers.
    pub(super) inbox: Vec<u32>,
    pub(super) flow: Flow,
}

impl Side {
    /// Whether its node can learn that the connection has ended.
    pub(super) fn may_end(&self) -> bool {
        self.here
            && match self.flow {
                Flow::Open => false,
                Flow::Closing => self.inbox.is_empty(),
                Flow::Broken => true,
            }
    }
}

/// A connection; without ends, a free place.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Link {
    pub(super) sides: [Side; 2],
}

impl Link {
    /// Two nodes are connected.
    pub(super) fn open() -> Link {
        let side = || Side { here: true, ..Side::default() };
        Link { sides: [side(), side()] }
    }

    /// Whether it could break.
    pub(super) fn is_whole(&self) -> bool {
        self.sides.iter().all(|side| side.here && side.flow == Flow::Open)
    }

    /// Something is sent from a side; lost if the other has gone.
    pub(super) fn send(&mut self, from: usize, message: u32) {
        let to = &mut self.sides[1 - from];
        if to.here && to.flow == Flow::Open {
            to.inbox.push(message);
        }
    }

    /// A side's node has closed the connection, or has learned that it has ended.
    pub(super) fn leave(&mut self, side: usize, flow: Flow) {
        self.sides[side] = Side::default();
        let other = &mut self.sides[1 - side];
        if !other.here {
            *self = Link::default();
        } else if other.flow == Flow::Open {
            other.flow = flow;
        }
    }

    /// Breaks it at both ends.
    pub(super) fn break_off(&mut self) {
        for side in &mut self.sides {
            side.flow = Flow::Broken;
        }
    }
}

#[test]
fn places_belong_to_their_pairs() {
    let mut seen = 0;
    for from in 0..NODES {
        for to in (0..NODES).filter(|to| *to != from) {
            for place in places(from, to) {
                assert_eq!((dialler(place as u8), target(place as u8)), (from, to));
                seen += 1;
            }
        }
    }
    assert_eq!(seen, LINKS);
}
