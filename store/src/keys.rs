//! Keys: executes operations on the records of the overlay and the table.

use bytes::Bytes;
use gometa_proto::{
    ErrorKind,
    v1::{self, CommandOutcome, Deleted, KeyRecord, Written, command_outcome, request::Operation},
};

use crate::{
    change::ChangedKey,
    failure,
    history::History,
    overlay::{Found, Overlay},
    table::{Lookup, Table},
};

/// All keys.
pub(crate) struct Keys {
    pub(crate) overlay: Overlay,
    /// Number of keys.
    count: u64,
    /// The feature level at which operations are executed.
    pub(crate) level: u32,
}

impl Keys {
    /// Creates the state for a table with `count` keys; `hash` is the sum of their records' hashes.
    pub(crate) fn new(count: u64, hash: u128) -> Keys {
        Keys { overlay: Overlay::new(hash), count, level: 1 }
    }

    /// Number of keys.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Returns a key's value, version and revisions.
    ///
    /// # Panics
    /// If the table's record of the key cannot be decoded.
    pub(crate) fn get(&self, table: &impl Table, key: &[u8]) -> Lookup<v1::Entry> {
        let record = match self.overlay.find(table, key) {
            Found::InOverlay(record) => record,
            Found::InTable(record) => record.map(|(record, _)| record),
            Found::NotInMemory => return Lookup::NotInMemory,
        };
        let Some(record) = record else { return Lookup::Absent };
        Lookup::Found(v1::Entry {
            key: Bytes::copy_from_slice(key),
            value: record.value,
            version: record.version,
            create_revision: record.create_revision,
            mod_revision: record.mod_revision,
            is_group: false,
        })
    }

    /// Executes an operation of the log entry at `revision`; `found` is its key's state, looked up just before. What it
    /// changes is added to the history.
    ///
    /// # Panics
    /// If the operation is valid and the record of its key is not in memory.
    pub(crate) fn execute(
        &mut self,
        history: &mut History,
        revision: u64,
        operation: &Operation,
        found: Found,
    ) -> CommandOutcome {
        // First: a program that does not know the operation cannot check it.
        if operation.kind().level() > self.level {
            return failure(ErrorKind::Unsupported, 0);
        }
        if let Err(error) = operation.check() {
            return failure(error.error_kind(), 0);
        }
        match operation {
            Operation::Add(add) => match found.record() {
                Some(record) => failure(ErrorKind::AlreadyExists, record.mod_revision),
                None => written(self.put(history, revision, &add.key, &add.value, found)),
            },
            Operation::Set(set) => written(self.put(history, revision, &set.key, &set.value, found)),
            Operation::Cas(cas) => {
                if planted!(found.revision() != cas.revision, cas_ignores_revision => false) {
                    return failure(ErrorKind::CasMismatch, found.revision());
                }
                written(self.put(history, revision, &cas.key, &cas.value, found))
            }
            Operation::Delete(delete) => {
                if delete.revision.is_some_and(|expected| expected != found.revision()) {
                    return failure(ErrorKind::CasMismatch, found.revision());
                }
                let deleted = self.remove(history, revision, &delete.key, found);
                CommandOutcome { result: Some(command_outcome::Result::Deleted(deleted)) }
            }
            #[cfg(gometa_next_level)]
            Operation::Append(append) => {
                let before = found.record().map(|record| record.value.clone()).unwrap_or_default();
                let value = Bytes::from([&before[..], &append.value[..]].concat());
                if value.len() > gometa_proto::limits::VALUE_MAX {
                    return failure(ErrorKind::TooLarge, found.revision());
                }
                written(self.put(history, revision, &append.key, &value, found))
            }
            // Not here: `node` makes the commands CreateSession and EndSessions of the first two; changes of the members are
            // log entries of their own; reads are not logged; `transact` executes transactions; settings are no keys.
            Operation::OpenSession(_)
            | Operation::EndSession(_)
            | Operation::Get(_)
            | Operation::Range(_)
            | Operation::GetHistory(_)
            | Operation::Txn(_)
            | Operation::ListSettings(_)
            | Operation::SetSetting(_)
            | Operation::Status(_)
            | Operation::AddLearner(_)
            | Operation::PromoteMember(_)
            | Operation::RemoveMember(_)
            | Operation::ReplaceMember(_)
            | Operation::CancelPromotion(_)
            | Operation::FinalizeUpgrade(_)
            | Operation::TransferLeadership(_)
            | Operation::ListMembers(_)
            | Operation::SafeToStop(_)
            | Operation::BeginBackup(_)
            | Operation::ReadBackup(_) => failure(ErrorKind::Unsupported, 0),
        }
    }

    /// Sets a key.
    pub(crate) fn put(
        &mut self,
        history: &mut History,
        revision: u64,
        key: &Bytes,
        value: &Bytes,
        found: Found,
    ) -> Written {
        let (create_revision, version) = match found.record() {
            Some(record) => (record.create_revision, record.version + 1),
            None => {
                self.count += 1;
                (revision, 1)
            }
        };
        let record = KeyRecord {
            create_revision,
            mod_revision: revision,
            version,
            value: value.clone(),
            #[cfg(gometa_next_level)]
            level: if self.level > 1 { self.level } else { 0 },
        };
        self.change(history, revision, key, Some(record), found);
        Written { revision, version }
    }

    /// Removes a key, if it exists.
    pub(crate) fn remove(
        &mut self,
        history: &mut History,
        revision: u64,
        key: &Bytes,
        found: Found,
    ) -> Deleted {
        let existed = found.record().is_some();
        probe!("keys.delete-absent", !existed);
        if existed {
            self.count -= 1;
            self.change(history, revision, key, None, found);
        }
        Deleted { revision: if existed { revision } else { 0 }, existed }
    }

    /// Gives a key another record; `None` removes it.
    fn change(
        &mut self,
        history: &mut History,
        revision: u64,
        key: &Bytes,
        record: Option<KeyRecord>,
        found: Found,
    ) {
        let superseded = planted!(found.record().cloned(), forgets_superseded_version => None);
        history.add(revision, ChangedKey { key: key.clone(), deleted: record.is_none(), superseded });
        self.overlay.change(key.clone(), record, found);
    }
}

fn written(written: Written) -> CommandOutcome {
    CommandOutcome { result: Some(command_outcome::Result::Written(written)) }
}
