//! Counts of the rare paths that `probe!` marks (see `gometa_marks`).

use std::fmt;

/// The probes, and how often this process has executed each.
#[derive(Clone, Default, Debug)]
pub struct Coverage {
    /// Each probe's name and hits, fewest hits first.
    pub probes: Vec<(&'static str, u64)>,
}

/// Returns the coverage so far; `None` in a build without probes.
#[cfg(gometa_instrumented)]
pub fn taken() -> Option<Coverage> {
    let names = gometa_marks::PROBES.iter().enumerate();
    let mut probes: Vec<_> = names.map(|(index, (name, _))| (*name, gometa_marks::hits(index))).collect();
    probes.sort_by_key(|(_, hits)| *hits);
    Some(Coverage { probes })
}

/// Returns the coverage so far; `None` in a build without probes.
#[cfg(not(gometa_instrumented))]
pub fn taken() -> Option<Coverage> {
    None
}

impl Coverage {
    /// The names of probes without hits.
    pub fn unhit(&self) -> Vec<&'static str> {
        self.probes.iter().filter(|(_, hits)| *hits == 0).map(|(name, _)| *name).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (all, unhit) = (self.probes.len(), self.unhit());
        write!(f, "{} of {all} probes hit", all - unhit.len())?;
        match self.probes.first() {
            Some(_) if !unhit.is_empty() => write!(f, "; never: {}", unhit.join(", ")),
            Some((name, hits)) => write!(f, "; least: {name}, {hits} times"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_without_hits_are_listed() {
        let coverage = Coverage { probes: vec![("b", 0), ("a", 7)] };
        assert_eq!(coverage.to_string(), "1 of 2 probes hit; never: b");
        let coverage = Coverage { probes: vec![("b", 2), ("a", 7)] };
        assert_eq!(coverage.to_string(), "2 of 2 probes hit; least: b, 2 times");
    }
}
