//! The settings of the ensemble.

use std::ffi::{CString, c_char};

use gometa_client::Setting;

use crate::{
    input::c_string,
    macros::{free, read},
};

/// The settings of the ensemble, ascending by name, as known to one node. Free with gometa_settings_free.
pub struct gometa_settings_t {
    settings: Vec<(CString, Setting)>,
}

impl From<Vec<Setting>> for gometa_settings_t {
    fn from(settings: Vec<Setting>) -> gometa_settings_t {
        let named = settings.into_iter().map(|setting| (c_string(&setting.name), setting));
        gometa_settings_t { settings: named.collect() }
    }
}

/// A value of a setting, or the default if the index is out of range.
macro_rules! field {
    ($settings:ident, $index:ident, $default:expr, $value:expr) => {
        read!($settings, None, |settings| settings.settings.get($index)).map_or($default, $value)
    };
}

/// Returns the number of settings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_settings_count(settings: *const gometa_settings_t) -> usize {
    read!(settings, 0, |settings| settings.settings.len())
}

/// Returns the name of a setting by index, which has its unit. Valid as long as `settings`. Empty if out of range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_settings_name(
    settings: *const gometa_settings_t,
    index: usize,
) -> *const c_char {
    field!(settings, index, c"".as_ptr(), |(name, _)| name.as_ptr())
}

/// Returns the value of a setting by index: the default unless it is set. 0 if `index` is out of range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_settings_value(settings: *const gometa_settings_t, index: usize) -> u64 {
    field!(settings, index, 0, |(_, setting)| setting.value)
}

/// Returns whether a setting is set, by index, maybe to its default. False if `index` is out of range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_settings_is_set(settings: *const gometa_settings_t, index: usize) -> bool {
    field!(settings, index, false, |(_, setting)| setting.is_set)
}

/// Returns the default of a setting by index, 0 if `index` is out of range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_settings_default(settings: *const gometa_settings_t, index: usize) -> u64 {
    field!(settings, index, 0, |(_, setting)| setting.default)
}

/// Returns the lowest value of a setting by index, 0 if `index` is out of range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_settings_min(settings: *const gometa_settings_t, index: usize) -> u64 {
    field!(settings, index, 0, |(_, setting)| setting.min)
}

/// Returns the highest value of a setting by index, 0 if `index` is out of range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_settings_max(settings: *const gometa_settings_t, index: usize) -> u64 {
    field!(settings, index, 0, |(_, setting)| setting.max)
}

/// Frees a list of settings. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_settings_free(settings: *mut gometa_settings_t) {
    free!(settings);
}
