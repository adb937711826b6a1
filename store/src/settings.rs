//! The settings of the ensemble: one record of those that are not the default.

use std::collections::BTreeMap;

use bytes::Bytes;
use gometa_proto::{
    Setting,
    v1::{CommandOutcome, SetSetting, SettingRecord, SettingsRecord, Written, command_outcome},
};
use prost::Message;

use crate::{
    hash::record_hash,
    session::Corrupt,
    table::{Space, Table},
};

/// The key of the record.
pub const SETTINGS_KEY: &[u8] = b"settings";

/// The settings, and whether their record is in the table.
#[derive(Default)]
pub(crate) struct Settings {
    /// By name.
    values: BTreeMap<String, u64>,
    changed: bool,
}

impl Settings {
    /// Loads the record of a table.
    ///
    /// # Errors
    /// [`Corrupt`] if it cannot be decoded.
    pub(crate) fn load(table: &impl Table) -> Result<Settings, Corrupt> {
        let mut loaded = Ok(Settings::default());
        table.scan(Space::Settings, &mut |_, record| {
            loaded = SettingsRecord::decode(record)
                .map(|record| {
                    let values = record.settings.into_iter().map(|setting| (setting.name, setting.value));
                    Settings { values: values.collect(), changed: false }
                })
                .map_err(|error| Corrupt::new(format!("the record of the settings: {error}")));
        });
        loaded
    }

    /// The value of a setting that is not the default.
    pub(crate) fn get(&self, setting: Setting) -> Option<u64> {
        self.values.get(setting.name()).copied()
    }

    /// Changes a setting, whose name and value were checked, at a revision.
    pub(crate) fn set(&mut self, revision: u64, set: &SetSetting) -> CommandOutcome {
        match set.value {
            Some(value) => {
                self.values.insert(set.name.clone(), value);
            }
            None => {
                self.values.remove(&set.name);
            }
        }
        self.changed = true;
        let written = Written { revision, version: 0 };
        CommandOutcome { result: Some(command_outcome::Result::Written(written)) }
    }

    fn record(&self) -> Option<Bytes> {
        let setting = |(name, value): (&String, &u64)| SettingRecord { name: name.clone(), value: *value };
        let settings: Vec<SettingRecord> = self.values.iter().map(setting).collect();
        (!settings.is_empty()).then(|| SettingsRecord { settings }.encode_to_vec().into())
    }

    pub(crate) fn hash(&self) -> u128 {
        self.record().map_or(0, |record| record_hash(Space::Settings, SETTINGS_KEY, &record))
    }

    /// Adds the record to a batch if it has changed since the last one.
    pub(crate) fn take(&mut self, writes: &mut Vec<(Space, Bytes, Option<Bytes>)>) {
        if std::mem::take(&mut self.changed) {
            writes.push((Space::Settings, Bytes::from_static(SETTINGS_KEY), self.record()));
        }
    }
}
