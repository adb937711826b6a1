//! Breadth first through all states: what is reached first is reached by the shortest way.

use std::time::{Duration, Instant};

use super::{
    scenarios::Scenario,
    tables::{QuickMap, Tables},
    world::{Action, State},
};
use crate::Violation;

/// How far to go.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limits {
    /// Steps from where a scenario begins.
    pub depth: u32,
    /// Distinct states.
    pub states: u64,
    /// Time.
    pub time: Duration,
    /// Whether more may happen than the search is likely to come to the end of.
    pub wide: bool,
}

/// How far a search is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reach {
    /// Distinct states.
    pub states: u64,
    /// Steps taken, most of them to states that were known.
    pub transitions: u64,
    /// Every state within this number of steps was reached and checked.
    pub depth: u32,
    /// There is no other state.
    pub exhausted: bool,
}

/// A violated invariant, and the shortest sequence of steps to it.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// The name of the scenario.
    pub scenario: &'static str,
    /// The violation in the last state.
    pub violation: Violation,
    /// The number of steps.
    pub depth: u32,
    /// The way, in words.
    pub steps: Vec<String>,
}

/// How a state was reached first.
struct Origin {
    /// The state before, by its place in the list of origins.
    state: u32,
    action: Action,
}

/// A search through the states of one scenario after the other.
pub struct Search {
    tables: Tables,
    /// Digests of all states so far, each with the scenario that came by last.
    seen: QuickMap<[u64; 2], u8>,
    began: Instant,
}

impl Default for Search {
    fn default() -> Search {
        Search::new()
    }
}

impl Search {
    /// Nothing is known yet.
    pub fn new() -> Search {
        Search { tables: Tables::new(), seen: QuickMap::default(), began: Instant::now() }
    }

    /// Distinct states so far; one that several scenarios come to counts once.
    pub fn states(&self) -> u64 {
        self.seen.len() as u64
    }

    /// Distinct nodes, connections, judgements, and steps of one node, so far.
    pub fn sizes(&self) -> [usize; 4] {
        self.tables.sizes()
    }

    /// Since the search began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Goes through a scenario as far as the limits allow; `number` must differ from scenario to scenario.
    /// `progress` is called regularly.
    ///
    /// # Errors
    /// The first violation.
    pub fn explore(
        &mut self,
        number: u8,
        scenario: &Scenario,
        limits: Limits,
        mut progress: impl FnMut(&Search, &Reach),
    ) -> Result<Reach, Box<Counterexample>> {
        let began = Instant::now();
        let mut reach = Reach::default();
        let left = if limits.wide { scenario.wide } else { scenario.narrow };
        let root = scenario.begin(&mut self.tables, left).map_err(|violation| {
            let steps = vec!["(on the way to where the scenario begins)".to_owned()];
            Box::new(Counterexample { scenario: scenario.name, violation, depth: 0, steps })
        })?;
        let mut origins = vec![Origin { state: u32::MAX, action: Action::Start { node: 0 } }];
        self.enter(number, &root);
        reach.states = 1;
        let mut frontier = vec![root];
        let mut actions = Vec::new();
        while reach.depth < limits.depth {
            let first = (origins.len() - frontier.len()) as u32;
            let mut next = Vec::new();
            for (at, state) in frontier.iter().enumerate() {
                state.actions(&self.tables, &mut actions);
                let before = first + at as u32;
                for action in &actions {
                    reach.transitions += 1;
                    if reach.transitions % (1 << 20) == 0 {
                        progress(self, &reach);
                    }
                    let after = state.after(&mut self.tables, *action).map_err(|violation| {
                        self.counterexample(scenario, root, &origins, before, *action, violation)
                    })?;
                    if self.enter(number, &after) {
                        origins.push(Origin { state: before, action: *action });
                        next.push(after);
                    }
                }
                reach.states = origins.len() as u64;
                if reach.states >= limits.states || at % 256 == 0 && began.elapsed() >= limits.time {
                    return Ok(reach);
                }
            }
            if next.is_empty() {
                reach.exhausted = true;
                return Ok(reach);
            }
            reach.depth += 1;
            frontier = next;
        }
        Ok(reach)
    }

    /// Whether this state is new to the scenario.
    fn enter(&mut self, number: u8, state: &State) -> bool {
        let digest = state.digest();
        let before = self.seen.insert([digest as u64, (digest >> 64) as u64], number);
        before != Some(number)
    }

    fn counterexample(
        &mut self,
        scenario: &Scenario,
        root: State,
        origins: &[Origin],
        mut at: u32,
        last: Action,
        violation: Violation,
    ) -> Box<Counterexample> {
        let mut way = vec![last];
        while let Origin { state, action } = &origins[at as usize]
            && *state != u32::MAX
        {
            way.push(*action);
            at = *state;
        }
        let mut steps = Vec::new();
        let mut state = root;
        for action in way.iter().rev() {
            steps.push(state.say(&self.tables, *action));
            if let Ok(after) = state.after(&mut self.tables, *action) {
                steps.extend(
                    after.describe_changes(&self.tables, &state).iter().map(|line| format!("    {line}")),
                );
                state = after;
            }
        }
        Box::new(Counterexample { scenario: scenario.name, violation, depth: way.len() as u32, steps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::small_scope::{CHANGES, SCENARIOS};

    fn explore(name: &str, limits: Limits) -> (Search, Reach) {
        let mut search = Search::new();
        let scenario = SCENARIOS.iter().chain(&CHANGES).find(|it| it.name == name);
        let scenario = scenario.expect("the scenario is there");
        let reach = search.explore(0, scenario, limits, |_, _| ());
        (search, reach.unwrap_or_else(|found| panic!("{}: {}", found.violation, found.steps.join("\n"))))
    }

    const LIMITS: Limits =
        Limits { depth: 1_000, states: 60_000, time: Duration::from_secs(600), wide: false };

    #[test]
    fn a_scope_comes_to_its_end_and_is_the_same_again() {
        let (first, reach) = explore("rivals", LIMITS);
        assert!(reach.exhausted && reach.states > 5_000, "{reach:?}");
        assert_eq!(first.states(), reach.states, "without a limit, every state is reached once");
        let (second, again) = explore("rivals", LIMITS);
        assert_eq!(
            (reach.states, reach.transitions, reach.depth),
            (again.states, again.transitions, again.depth)
        );
        assert_eq!(first.sizes(), second.sizes());
    }

    #[test]
    fn limits_end_a_search_and_it_says_so() {
        let (_, reach) = explore("formed", Limits { depth: 6, ..LIMITS });
        assert!(!reach.exhausted && reach.depth == 6, "{reach:?}");
        let (_, reach) = explore("formed", Limits { states: 1_000, ..LIMITS });
        assert!(!reach.exhausted && reach.states >= 1_000 && reach.states < 1_100, "{reach:?}");
    }

    #[test]
    fn nodes_with_the_same_fingerprint_behave_alike() {
        for name in ["rivals", "divergent", "deposed", "promote", "exchange", "sibling", "hand-over"] {
            let (search, _) = explore(name, Limits { wide: true, ..LIMITS });
            let (twins, inputs) = search.tables.compare_twins();
            assert!(twins > 100 && inputs > 1_000, "{name}: {twins} twins, {inputs} inputs");
        }
    }
}
