//! Reads JSON objects, with positions in every error. Keys are case-insensitive; unknown ones are refused or collected,
//! duplicate ones refused.

use std::{cell::RefCell, fmt, marker::PhantomData};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::address::{self, Address};

/// The most addresses of members in one file.
pub(crate) const JOIN_MAX: usize = 16;

/// The treatment of unknown keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnknownKeys {
    /// The file is refused.
    Refuse,
    /// They are ignored, with a warning each.
    Warn,
}

/// The name that is most similar to `word`, if one is similar enough.
pub(crate) fn nearest<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    names
        .iter()
        .map(|name| (strsim::jaro_winkler(&word, &name.to_ascii_lowercase()), *name))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// The unknown keys of a file.
pub(super) struct Unknowns {
    policy: UnknownKeys,
    /// With [`UnknownKeys::Warn`], the first keys found, with their errors.
    found: RefCell<Vec<(String, String)>>,
}

const UNKNOWNS_MAX: usize = 16;
/// The number of characters of an unknown key in messages.
const KEY_SHOWN_MAX: usize = 60;

impl Unknowns {
    pub(super) fn new(policy: UnknownKeys) -> Unknowns {
        Unknowns { policy, found: RefCell::default() }
    }

    /// The ignored keys, with their errors.
    pub(super) fn into_warnings(self) -> Vec<(String, String)> {
        self.found.into_inner()
    }

    /// Refuses or records a key that the section `S` does not have.
    fn add<S: Section, E: Error>(&self, key: String) -> Result<(), E> {
        let shown: String = key.chars().take(KEY_SHOWN_MAX).flat_map(char::escape_debug).collect();
        let remedy = match nearest(&key, S::KEYS) {
            Some(name) => format!("did you mean {name}?"),
            None => format!("expected one of {}", S::KEYS.join(", ")),
        };
        let what = format!("unknown key {shown} in {}; {remedy}", S::NAME);
        match self.policy {
            UnknownKeys::Refuse => {
                Err(E::custom(format_args!("{what} (-lenient-flags makes this a warning)")))
            }
            UnknownKeys::Warn => {
                let mut found = self.found.borrow_mut();
                if found.len() < UNKNOWNS_MAX {
                    found.push((key, what));
                }
                Ok(())
            }
        }
    }
}

/// A kind of JSON object.
pub(super) trait Section: Default {
    /// The name in error messages.
    const NAME: &'static str;
    /// The known keys.
    const KEYS: &'static [&'static str];

    /// Reads the value of one of `KEYS`.
    fn read<'de, M: MapAccess<'de>>(
        &mut self,
        key: &'static str,
        map: &mut M,
        unknowns: &Unknowns,
    ) -> Result<(), M::Error>;
}

/// Reads a [`Section`].
pub(super) struct SectionSeed<'a, S>(pub(super) &'a Unknowns, pub(super) PhantomData<S>);

impl<'a, S> SectionSeed<'a, S> {
    pub(super) fn new(unknowns: &'a Unknowns) -> SectionSeed<'a, S> {
        SectionSeed(unknowns, PhantomData)
    }
}

impl<'de, S: Section> DeserializeSeed<'de> for SectionSeed<'_, S> {
    type Value = S;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, S: Section> Visitor<'de> for SectionSeed<'_, S> {
    type Value = S;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as an object {{…}} with the keys {}", S::NAME, S::KEYS.join(", "))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<S, M::Error> {
        let mut section = S::default();
        let mut seen: Vec<&str> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let Some(known) = S::KEYS.iter().copied().find(|known| known.eq_ignore_ascii_case(&key)) else {
                self.0.add::<S, M::Error>(key)?;
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if seen.contains(&known) {
                return Err(M::Error::custom(format_args!("{known} appears twice in {}", S::NAME)));
            }
            seen.push(known);
            section.read(known, &mut map, self.0)?;
        }
        Ok(section)
    }
}

/// Reads a list of sections, at most `max` of them.
pub(super) struct ListSeed<'a, S> {
    pub(super) unknowns: &'a Unknowns,
    pub(super) max: usize,
    pub(super) section: PhantomData<S>,
}

impl<'de, S: Section> DeserializeSeed<'de> for ListSeed<'_, S> {
    type Value = Vec<S>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<S>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, S: Section> Visitor<'de> for ListSeed<'_, S> {
    type Value = Vec<S>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list [{{…}}, …] of {} objects, [] if there are none", S::NAME)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<S>, A::Error> {
        let mut sections = Vec::new();
        while let Some(section) = list.next_element_seed(SectionSeed::new(self.unknowns))? {
            if sections.len() == self.max {
                return Err(A::Error::custom(format_args!("more than {} {} objects", self.max, S::NAME)));
            }
            sections.push(section);
        }
        Ok(sections)
    }
}

/// Reads and parses a string.
pub(super) struct TextSeed<F> {
    pub(super) key: &'static str,
    pub(super) expected: &'static str,
    pub(super) parse: F,
}

impl<'de, T, F: FnOnce(&str) -> Result<T, String>> DeserializeSeed<'de> for TextSeed<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<T, F: FnOnce(&str) -> Result<T, String>> Visitor<'_> for TextSeed<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {}", self.key, self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let (key, expected) = (self.key, self.expected);
        (self.parse)(text).map_err(|why| E::custom(format_args!("{key} {text:?} {why}: expected {expected}")))
    }
}

/// Reads a list of request addresses.
pub(super) struct AddressesSeed {
    pub(super) key: &'static str,
}

impl<'de> DeserializeSeed<'de> for AddressesSeed {
    type Value = Vec<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<String>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for AddressesSeed {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as a list [\"host:port\", …] of the RequestAddrs of members", self.key)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
        let (key, expected) = (self.key, address::EXPECTED);
        let mut addresses = Vec::new();
        while let Some(address) =
            list.next_element_seed(TextSeed { key, expected, parse: Address::parse_announced })?
        {
            addresses.push(address.text);
        }
        if addresses.is_empty() || addresses.len() > JOIN_MAX {
            return Err(A::Error::custom(format_args!(
                "{key}: expected 1 to {JOIN_MAX} addresses of members"
            )));
        }
        Ok(addresses)
    }
}
