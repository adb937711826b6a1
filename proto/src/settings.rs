//! The settings of the ensemble: their names, units and bounds.
//!
//! A setting is a number that is replicated, so that every node has the same. One that was never set has its default.

use crate::{
    range::invalid,
    v1::{self, Error},
};

macro_rules! settings {
    ($($(#[$doc:meta])+ $name:ident, default: $default:expr, min: $min:expr, max: $max:expr;)+) => {
        /// A setting of the ensemble.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[non_exhaustive]
        pub enum Setting {
            $($(#[$doc])+ $name,)+
        }

        impl Setting {
            /// All of them, ascending by name.
            pub const ALL: &[Setting] = &[$(Setting::$name,)+];

            /// Its name, which has its unit.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Setting::$name => stringify!($name),)+
                }
            }

            /// Its value unless it is set.
            #[must_use]
            pub const fn default(self) -> u64 {
                match self {
                    $(Setting::$name => $default,)+
                }
            }

            /// Its lowest and its highest value.
            #[must_use]
            pub const fn bounds(self) -> (u64, u64) {
                match self {
                    $(Setting::$name => ($min, $max),)+
                }
            }
        }
    };
}

settings! {
    /// A revision of the history that is younger is kept, unless the history exceeds `HistoryBytesMax`. Minutes; at most a
    /// year.
    HistoryAgeMinutes, default: 60, min: 0, max: 525_600;
    /// The bytes of the history on disk above which its oldest revisions are dropped. A leader whose file system is smaller than
    /// eight times this drops them earlier.
    HistoryBytesMax, default: 1 << 30, min: 1 << 24, max: 1 << 40;
    /// So many revisions of the history are kept, however old, unless the history exceeds `HistoryBytesMax`.
    HistoryRevisionsMin, default: 10_000, min: 1_000, max: 1_000_000_000;
}

impl Setting {
    /// The setting with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Setting> {
        Setting::ALL.iter().copied().find(|setting| setting.name() == name)
    }

    /// The setting as a node lists it.
    #[must_use]
    pub fn on_wire(self, value: Option<u64>) -> v1::Setting {
        let (min, max) = self.bounds();
        v1::Setting { name: self.name().to_owned(), value, default_value: self.default(), min, max }
    }
}

/// Checks the name and the value.
pub(crate) fn check_set_setting(set: &v1::SetSetting) -> Result<(), Error> {
    let Some(setting) = Setting::from_name(&set.name) else {
        let names: Vec<&str> = Setting::ALL.iter().map(|setting| setting.name()).collect();
        let shown: String = set.name.chars().take(64).flat_map(char::escape_default).collect();
        return Err(invalid(&format!("there is no setting {shown}; there are {}", names.join(", "))));
    };
    let ((min, max), name) = (setting.bounds(), setting.name());
    match set.value {
        Some(value) if value < min => Err(invalid(&format!("{name} is at least {min}, not {value}"))),
        Some(value) if value > max => Err(invalid(&format!("{name} is at most {max}, not {value}"))),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_within_their_bounds() {
        for setting in Setting::ALL {
            let (min, max) = setting.bounds();
            assert!((min..=max).contains(&setting.default()), "{setting:?}");
            assert_eq!(Setting::from_name(setting.name()), Some(*setting));
        }
        assert!(Setting::ALL.is_sorted_by_key(|setting| setting.name()));
    }

    #[test]
    fn a_value_out_of_bounds_and_an_unknown_name_are_refused() {
        let check = |name: &str, value| {
            let checked = check_set_setting(&v1::SetSetting { name: name.to_owned(), value });
            checked.map_err(|error| error.message)
        };
        assert_eq!(check("HistoryRevisionsMin", Some(1_000)), Ok(()));
        assert_eq!(check("HistoryRevisionsMin", None), Ok(()));
        let low = check("HistoryRevisionsMin", Some(999));
        assert_eq!(low, Err("HistoryRevisionsMin is at least 1000, not 999".to_owned()));
        let high = check("HistoryAgeMinutes", Some(u64::MAX));
        assert_eq!(high, Err(format!("HistoryAgeMinutes is at most 525600, not {}", u64::MAX)));
        let unknown = check("historyAge\n", Some(1)).unwrap_err();
        assert!(
            unknown.starts_with("there is no setting historyAge\\n; there are HistoryAgeMinutes, "),
            "{unknown}"
        );
    }
}
