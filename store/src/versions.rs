//! The history of a key: the versions of it that are kept, newest first.
//!
//! A superseded version is in the history under the revision that superseded it. If no newer version begins at that revision,
//! the key was deleted at it. A version is kept if it was superseded above the horizon, a deletion if it is above the horizon;
//! so the version that the key had at the horizon is the oldest one.

use bytes::Bytes;
use gometa_proto::v1::{GetHistory, KeyHistory, KeyVersion};

use crate::{
    change::past_key,
    range::{Cursor, Room, parse},
    record::RecordView,
    session::Corrupt,
};

/// Reads a page of the history of a key from a table that has applied `revision`. `data` has the latest records, `past` the
/// superseded ones; both of one moment of the table, as the horizon.
///
/// # Errors
/// [`Corrupt`] if a record cannot be decoded.
pub(crate) fn read_history<C: Cursor>(
    get: &GetHistory,
    (horizon, revision): (u64, u64),
    data: &mut C,
    past: &mut C,
) -> Result<KeyHistory, Corrupt> {
    let key = &get.key;
    let before = if get.before_revision == 0 { u64::MAX } else { get.before_revision };
    let mut page = Page::new(get, KeyHistory { revision, oldest_revision: horizon, ..KeyHistory::default() });
    // Of the versions below `before`, only the newest can have been superseded there or above.
    let mut superseded_at = before.max(horizon.saturating_add(1));
    past.seek(&past_key(key, superseded_at));
    let newest = match superseded(past, key)? {
        Some((_, record)) => Some(record),
        None => latest(data, key)?,
    };
    // The revision of the version that was looked at last: of the next newer one.
    let mut newer = newest.map(|record| record.mod_revision);
    if let Some(record) = newest.filter(|record| record.mod_revision < before)
        && !page.push_version(record)
    {
        return Ok(page.history);
    }
    // What was there at the horizon is the last.
    while newer.is_none_or(|revision| revision > horizon) {
        past.seek_before(&past_key(key, superseded_at));
        let Some((at, record)) = superseded(past, key)?.filter(|(at, _)| *at > horizon) else { break };
        let deleted = newer != Some(at);
        if planted!(deleted, leaves_out_deletions => false) && !page.push(deletion(at)) {
            return Ok(page.history);
        }
        (newer, superseded_at) = (Some(record.mod_revision), at);
        probe!("versions.begins-at-horizon", record.mod_revision <= horizon);
        let kept = planted!(true, leaves_out_version_at_horizon => record.mod_revision > horizon);
        if kept && !page.push_version(record) {
            return Ok(page.history);
        }
    }
    Ok(page.history)
}

/// The latest record of a key.
fn latest<'a>(data: &'a mut impl Cursor, key: &Bytes) -> Result<Option<RecordView<'a>>, Corrupt> {
    data.seek(key);
    let record = data.item().filter(|(at, _)| at == key);
    record.map(|(_, record)| RecordView::new(key, record)).transpose()
}

/// The superseded version at which the cursor is, if it is one of this key, with the revision that superseded it.
fn superseded<'a>(past: &'a impl Cursor, key: &Bytes) -> Result<Option<(u64, RecordView<'a>)>, Corrupt> {
    let Some((at, record)) = past.item() else { return Ok(None) };
    let (of, superseded_at) = parse(at)?;
    if of != key {
        return Ok(None);
    }
    Ok(Some((superseded_at, RecordView::new(key, record)?)))
}

fn deletion(revision: u64) -> KeyVersion {
    KeyVersion { revision, deleted: true, ..KeyVersion::default() }
}

/// A page that is being read.
struct Page {
    history: KeyHistory,
    room: Room,
    keys_only: bool,
}

impl Page {
    fn new(get: &GetHistory, history: KeyHistory) -> Page {
        let mut room = Room::of_page();
        if get.limit > 0 {
            room.entries = room.entries.min(usize::try_from(get.limit).unwrap_or(usize::MAX));
        }
        Page { history, room, keys_only: get.keys_only }
    }

    /// Adds a version that is no deletion, as [`push`](Page::push) does. Its value is copied only if it is shown.
    fn push_version(&mut self, record: RecordView<'_>) -> bool {
        let RecordView { create_revision, mod_revision, version, value, .. } = record;
        let value_size = value.len() as u64;
        let value = if self.keys_only { &[] } else { value };
        if !self.has_room(value.len()) {
            return false;
        }
        let value = Bytes::copy_from_slice(value);
        let version = KeyVersion {
            revision: mod_revision,
            deleted: false,
            version,
            create_revision,
            value,
            value_size,
        };
        self.history.versions.push(version);
        true
    }

    /// Adds a version without a value; or returns false if it does not fit, and the page then has its continuation.
    fn push(&mut self, version: KeyVersion) -> bool {
        if !self.has_room(0) {
            return false;
        }
        self.history.versions.push(version);
        true
    }

    fn has_room(&mut self, bytes: usize) -> bool {
        let has_room = self.room.take(bytes);
        if !has_room {
            probe!("versions.continued");
            self.history.next_before = self.history.versions.last().map_or(0, |last| last.revision);
        }
        has_room
    }
}
