//! What is kept once and named by a number: nodes, messages, connections, judgements, and steps that were taken.
//!
//! A state of the ensemble is then a handful of numbers, and a step that was taken in one state is looked up in the
//! next. Numbers are given in the order of discovery, which the order of the search decides, so a search can be
//! repeated.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hash, Hasher},
};

use gometa_zab::Message;
use xxhash_rust::xxh3::Xxh3;

use super::{
    judge::Ghost,
    links::{Link, NODES},
    node::{Input, Node, Outcome, Output},
};
use crate::Violation;

/// For keys that are small, or random already.
#[derive(Clone, Copy, Default)]
pub(super) struct Quick(u64);

impl Hasher for Quick {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 29
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(26) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

pub(super) type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;

/// Things and their numbers.
struct Numbered<K, T> {
    numbers: QuickMap<K, u32>,
    things: Vec<T>,
}

impl<K: Eq + Hash, T> Numbered<K, T> {
    fn new() -> Numbered<K, T> {
        Numbered { numbers: QuickMap::default(), things: Vec::new() }
    }

    /// The number of the thing with this key; it is only made if it is new.
    fn number(&mut self, key: K, make: impl FnOnce() -> T) -> u32 {
        let things = &mut self.things;
        *self.numbers.entry(key).or_insert_with(|| {
            let number = u32::try_from(things.len()).expect("memory ends before numbers do");
            things.push(make());
            number
        })
    }

    fn get(&self, number: u32) -> &T {
        &self.things[number as usize]
    }
}

/// What a node gives to the network, by numbers.
#[derive(Clone, Copy, Debug)]
pub(super) enum NumberedOutput {
    Send { link: u8, message: u32 },
    Close { link: u8 },
}

/// What an input makes of a node.
struct Step {
    node: u32,
    outputs: Box<[NumberedOutput]>,
}

/// Everything that is kept once.
pub(super) struct Tables {
    nodes: Numbered<u128, Node>,
    messages: Numbered<Message, Message>,
    links: Numbered<Link, Link>,
    ghosts: Numbered<u128, Ghost>,
    steps: Numbered<(u32, Input), Step>,
    /// By judgement before and step: the judgement after.
    judged: QuickMap<(u32, u32), u32>,
    /// Nodes that were taken for others with the same fingerprint, some of them, with the number of those.
    #[cfg(test)]
    twins: Vec<(u32, Node)>,
}

fn fingerprint(value: &impl Hash) -> u128 {
    let mut hasher = Xxh3::new();
    value.hash(&mut hasher);
    hasher.digest128()
}

impl Tables {
    pub(super) fn new() -> Tables {
        let mut tables = Tables {
            nodes: Numbered::new(),
            messages: Numbered::new(),
            links: Numbered::new(),
            ghosts: Numbered::new(),
            steps: Numbered::new(),
            judged: QuickMap::default(),
            #[cfg(test)]
            twins: Vec::new(),
        };
        // Number 0 is a free place.
        tables.link_number(Link::default());
        tables
    }

    pub(super) fn node(&self, number: u32) -> &Node {
        self.nodes.get(number)
    }

    pub(super) fn message(&self, number: u32) -> &Message {
        self.messages.get(number)
    }

    pub(super) fn link(&self, number: u32) -> &Link {
        self.links.get(number)
    }

    /// The number of a connection in this condition.
    pub(super) fn link_number(&mut self, link: Link) -> u32 {
        let copy = link.clone();
        self.links.number(link, || copy)
    }

    /// Nodes of an ensemble that the first `founders` of them have just formed, and nothing known of them. Those from
    /// number `present` on are never started.
    pub(super) fn formed(&mut self, founders: usize, present: usize) -> ([u32; NODES], u32) {
        let nodes = std::array::from_fn(|index| {
            let node = Node::formed(index, founders, index >= present);
            self.nodes.number(node.fingerprint(), || node)
        });
        let ghost = Ghost::new(NODES, founders);
        (nodes, self.ghosts.number(fingerprint(&ghost), || ghost))
    }

    /// What an input makes of a node, and of what is known: their new numbers, and the step's (see [`Tables::output`]).
    pub(super) fn step(&mut self, node: u32, ghost: u32, input: Input) -> Result<(u32, u32, u32), Violation> {
        let mut fresh = None;
        let number = match self.steps.numbers.get(&(node, input)) {
            Some(number) => *number,
            None => {
                let outcome = self.take(node, input);
                let step = self.enter(&outcome);
                let number = self.steps.number((node, input), || step);
                fresh = Some(outcome);
                number
            }
        };
        let after = match self.judged.get(&(ghost, number)) {
            Some(after) => *after,
            None => {
                let outcome = fresh.unwrap_or_else(|| self.take(node, input));
                let after = self.ghosts.get(ghost).after(self.nodes.get(node), &outcome)?;
                let after = self.ghosts.number(fingerprint(&after), || after);
                self.judged.insert((ghost, number), after);
                after
            }
        };
        Ok((self.steps.get(number).node, after, number))
    }

    /// The outputs of a step, one by one.
    pub(super) fn output(&self, step: u32, at: usize) -> Option<NumberedOutput> {
        self.steps.get(step).outputs.get(at).copied()
    }

    fn take(&self, node: u32, input: Input) -> Outcome {
        let message = match input {
            Input::Message { message, .. } => Some(self.message(message)),
            _ => None,
        };
        self.nodes.get(node).take(input, message)
    }

    fn enter(&mut self, outcome: &Outcome) -> Step {
        let key = outcome.node.fingerprint();
        #[cfg(test)]
        if let Some(number) = self.nodes.numbers.get(&key)
            && self.twins.len() < 5_000
        {
            self.twins.push((*number, outcome.node.fork()));
        }
        let node = self.nodes.number(key, || outcome.node.fork());
        let outputs = outcome
            .outputs
            .iter()
            .map(|output| match output {
                Output::Send { link, message } => {
                    let number = self.messages.number(*message.clone(), || *message.clone());
                    NumberedOutput::Send { link: *link, message: number }
                }
                Output::Close { link } => NumberedOutput::Close { link: *link },
            })
            .collect();
        Step { node, outputs }
    }

    /// Puts every input that was given to a node to those that were taken for it: they must change as it changed, and
    /// send what it sent. Returns how many there were, and how many inputs.
    #[cfg(test)]
    pub(super) fn compare_twins(&self) -> (usize, usize) {
        let mut given: HashMap<u32, Vec<(Input, u32)>> = HashMap::new();
        for (&(node, input), step) in &self.steps.numbers {
            given.entry(node).or_default().push((input, *step));
        }
        let mut inputs = 0;
        for (number, twin) in &self.twins {
            for (input, step) in given.get(number).into_iter().flatten() {
                let message = match input {
                    Input::Message { message, .. } => Some(self.message(*message)),
                    _ => None,
                };
                let ours = twin.take(*input, message);
                let theirs = self.nodes.get(*number).take(*input, message);
                let became = self.nodes.numbers.get(&ours.node.fingerprint());
                assert_eq!(became, Some(&self.steps.get(*step).node), "{input:?}");
                assert_eq!(ours.outputs, theirs.outputs, "{input:?}");
                inputs += 1;
            }
        }
        (self.twins.len(), inputs)
    }

    /// How many nodes, connections, judgements and steps are kept.
    pub(super) fn sizes(&self) -> [usize; 4] {
        [self.nodes.things.len(), self.links.things.len(), self.ghosts.things.len(), self.steps.things.len()]
    }
}
