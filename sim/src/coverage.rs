//! Which of the rare paths that the code marks with `probe!` were walked (see `gometa_marks`).

use std::fmt;

/// The probes and their hits in this process so far.
#[derive(Clone, Default, Debug)]
pub struct Coverage {
    /// Each probe's name and hits, fewest hits first.
    pub probes: Vec<(&'static str, u64)>,
}

/// The coverage so far; None in a program that has no probes.
#[cfg(gometa_instrumented)]
pub fn taken() -> Option<Coverage> {
    let names = gometa_marks::PROBES.iter().enumerate();
    let mut probes: Vec<_> = names.map(|(index, (name, _))| (*name, gometa_marks::hits(index))).collect();
    probes.sort_by_key(|(_, hits)| *hits);
    Some(Coverage { probes })
}

/// The coverage so far; None in a program that has no probes.
#[cfg(not(gometa_instrumented))]
pub fn taken() -> Option<Coverage> {
    None
}

impl Coverage {
    /// The probes that were not hit.
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
    fn what_was_not_hit_is_named() {
        let coverage = Coverage { probes: vec![("b", 0), ("a", 7)] };
        assert_eq!(coverage.to_string(), "1 of 2 probes hit; never: b");
        let coverage = Coverage { probes: vec![("b", 2), ("a", 7)] };
        assert_eq!(coverage.to_string(), "2 of 2 probes hit; least: b, 2 times");
    }
}
