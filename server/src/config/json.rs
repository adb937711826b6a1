//! Reading JSON objects with positions in every error: keys matched without regard to case, unknown ones refused or
//! collected, doubled ones refused.

use std::{cell::RefCell, fmt, marker::PhantomData};

use super::UnknownKeys;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What happens to keys that no section knows.
pub(super) struct Unknowns {
    policy: UnknownKeys,
    /// With [`UnknownKeys::Warn`], the keys met so far: the key, and what is wrong. Only the first few are kept.
    met: RefCell<Vec<(String, String)>>,
}

const UNKNOWNS_MAX: usize = 16;
/// Characters of an unknown key that are shown.
const KEY_SHOWN_MAX: usize = 60;

impl Unknowns {
    pub(super) fn new(policy: UnknownKeys) -> Unknowns {
        Unknowns { policy, met: RefCell::default() }
    }

    /// The keys that were passed over, and what is wrong with each.
    pub(super) fn into_warnings(self) -> Vec<(String, String)> {
        self.met.into_inner()
    }

    /// Takes note of a key that the section `S` does not know.
    fn meet<S: Section, E: Error>(&self, key: String) -> Result<(), E> {
        let shown: String = key.chars().take(KEY_SHOWN_MAX).flat_map(char::escape_debug).collect();
        let remedy = match super::nearest(&key, S::KEYS) {
            Some(name) => format!("did you mean {name}?"),
            None => format!("expected one of {}", S::KEYS.join(", ")),
        };
        let what = format!("unknown key {shown} in {}; {remedy}", S::NAME);
        match self.policy {
            UnknownKeys::Refuse => {
                Err(E::custom(format_args!("{what} (-lenient-flags makes this a warning)")))
            }
            UnknownKeys::Warn => {
                let mut met = self.met.borrow_mut();
                if met.len() < UNKNOWNS_MAX {
                    met.push((key, what));
                }
                Ok(())
            }
        }
    }
}

/// One kind of JSON object.
pub(super) trait Section: Default {
    /// As error messages call it.
    const NAME: &'static str;
    /// The keys it knows.
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
                self.0.meet::<S, M::Error>(key)?;
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if seen.contains(&known) {
                return Err(M::Error::custom(format_args!("{known} stands twice in {}", S::NAME)));
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

/// Reads a string and makes something of it.
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

/// Reads a whole number within bounds, both included.
pub(super) struct NumberSeed {
    pub(super) key: &'static str,
    /// What it counts, for people.
    pub(super) unit: &'static str,
    pub(super) min: u64,
    pub(super) max: u64,
}

impl<'de> DeserializeSeed<'de> for NumberSeed {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_u64(self)
    }
}

impl Visitor<'_> for NumberSeed {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as a whole number of {} from {} to {}", self.key, self.unit, self.min, self.max)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<u64, E> {
        if (self.min..=self.max).contains(&value) {
            return Ok(value);
        }
        let NumberSeed { key, unit, min, max } = self;
        Err(E::custom(format_args!("{key} is {value}: expected {unit} from {min} to {max}")))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<u64, E> {
        let NumberSeed { key, unit, min, max } = self;
        Err(E::custom(format_args!("{key} is {value}: expected {unit} from {min} to {max}")))
    }
}
