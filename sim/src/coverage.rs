//! Which of the rare paths that the code marks with `probe!` were walked (see `zab/src/probe.rs`).

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
    let hits = |place| gometa_zab::probe::hits(place) + gometa_store::probe::hits(place);
    let mut probes: Vec<_> =
        gometa_zab::probe::PROBES.iter().enumerate().map(|(place, name)| (*name, hits(place))).collect();
    probes.sort_by_key(|(_, hits)| *hits);
    Some(Coverage { probes })
}

/// The coverage so far; None in a program that has no probes.
#[cfg(not(gometa_instrumented))]
pub fn taken() -> Option<Coverage> {
    None
}

/// What every program that has probes contains, and no other.
#[cfg(gometa_instrumented)]
pub const MARKER: [u8; 32] = gometa_zab::probe::MARKER;

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
    use std::{fs, path::Path};

    use super::*;
    use crate::mutants::tests::places;

    #[test]
    fn every_probe_has_one_place_in_the_code_and_its_line_in_the_table() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut found = Vec::new();
        for member in ["zab", "store", "node", "sim"] {
            places(&root.join(member).join("src"), concat!("probe", "!("), &mut found);
        }
        let mut found: Vec<_> =
            found.iter().filter_map(|place| place.trim_start().strip_prefix('"')).collect();
        found.iter_mut().for_each(|place| *place = place.split('"').next().unwrap_or_default());
        found.sort_unstable();
        let source = fs::read_to_string(root.join("zab/src/probe.rs")).expect("the table is there");
        let lines = source.lines().skip_while(|line| !line.contains("PROBES: &[&str] = &[")).skip(1);
        let table: Vec<_> = lines
            .take_while(|line| *line != "    ];")
            .map(|line| line.trim().trim_matches(['"', ',']))
            .collect();
        assert!(table.is_sorted(), "the table is in alphabetical order");
        assert!(table.len() >= 60, "{} probes are not enough", table.len());
        assert_eq!(found, table);
    }

    #[test]
    fn what_was_not_hit_is_named() {
        let coverage = Coverage { probes: vec![("b", 0), ("a", 7)] };
        assert_eq!(coverage.to_string(), "1 of 2 probes hit; never: b");
        let coverage = Coverage { probes: vec![("b", 2), ("a", 7)] };
        assert_eq!(coverage.to_string(), "2 of 2 probes hit; least: b, 2 times");
    }
}
