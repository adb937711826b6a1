//! Pages: reading keys in order, at the present of a table or at an earlier revision.
//!
//! A key's record in the table is its latest one. If that is too new, or there is none, the version at a revision is the one
//! that was superseded first after it, unless that one is too new as well: then the key did not exist.

use bytes::{Bytes, BytesMut};
use gometa_proto::{
    Bounds, end_of_prefix,
    limits::{COUNT_KEYS_MAX, PAGE_BYTES_MAX, PAGE_ENTRIES_MAX, PAGE_KEYS_MAX},
    v1::{Entry, KeyRecord, Page, Range},
};

use crate::{
    change::{parse_past_key, past_key},
    record::RecordView,
    session::Corrupt,
};

/// A place in ordered records, or behind their end.
pub trait Cursor {
    /// Goes to the first record whose key is this one or a higher one.
    fn seek(&mut self, key: &[u8]);
    /// Goes to the last record whose key is lower.
    fn seek_before(&mut self, key: &[u8]);
    /// Goes to the last record.
    fn seek_to_last(&mut self);
    /// The key and the record; `None` behind either end.
    fn item(&self) -> Option<(&[u8], &[u8])>;
}

/// What an answer still has room for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Entries.
    pub(crate) entries: usize,
    /// Bytes of keys and values.
    pub(crate) bytes: usize,
    /// Keys that may be looked at.
    pub(crate) keys: usize,
    /// Whether nothing is in it: the first entry fits whatever its size.
    pub(crate) is_empty: bool,
}

impl Room {
    /// The room of a page of its own.
    pub(crate) fn of_page() -> Room {
        Room { entries: PAGE_ENTRIES_MAX, bytes: PAGE_BYTES_MAX, keys: PAGE_KEYS_MAX, is_empty: true }
    }

    /// Takes the room of an entry with so many bytes; returns whether there was enough.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        if self.entries == 0 || (bytes > self.bytes && !self.is_empty) {
            return false;
        }
        self.entries -= 1;
        self.bytes -= bytes.min(self.bytes);
        self.is_empty = false;
        true
    }
}

/// Reads a page at a revision: the present one of the table, for which `past` may be `None`, or an earlier one that is not
/// below the horizon. `data` has the latest records, `past` the superseded ones; both of one moment of the table.
///
/// # Errors
/// [`Corrupt`] if a record cannot be decoded.
pub fn read_page<C: Cursor>(
    range: &Range,
    revision: u64,
    data: &mut C,
    past: Option<&mut C>,
) -> Result<Page, Corrupt> {
    let mut room = Room::of_page();
    if range.count_only {
        (room.entries, room.keys) = (usize::MAX, COUNT_KEYS_MAX);
    }
    read_page_within(&mut room, range, revision, data, past)
}

/// Reads a page that fits into the room, and takes that.
pub(crate) fn read_page_within<C: Cursor>(
    room: &mut Room,
    range: &Range,
    revision: u64,
    data: &mut C,
    past: Option<&mut C>,
) -> Result<Page, Corrupt> {
    let mut reader = Reader { bounds: range.bounds(), reverse: range.reverse, revision, data, past };
    let mut page = Page { revision, ..Page::default() };
    let limit = match range.limit {
        0 => u64::MAX,
        _ if range.count_only => u64::MAX,
        limit => limit,
    };
    // The end of the part of the range that is done, in the direction of reading.
    let mut place = reader.begin();
    let (mut key, mut entries) = (Vec::new(), Entries::default());
    while reader.next_key(&place, &mut key)? {
        if page.count >= limit || room.keys == 0 {
            page.next = continuation(range, &key);
            break;
        }
        room.keys -= 1;
        let mut group = None;
        if let Some(record) = reader.record_at(&key)? {
            group = group_of(range, &key);
            let (shown, record) = match group {
                Some(group) => (group, RecordView::default()),
                None if range.keys_only => (&key[..], RecordView { value: &[], ..record }),
                None => (&key[..], record),
            };
            if !range.count_only {
                if !room.take(shown.len() + record.value.len()) {
                    page.next = continuation(range, &key);
                    break;
                }
                entries.push(shown, record, group.is_some());
            }
            page.count += 1;
        }
        match group {
            // No other key of the group is looked at.
            Some(group) => place.pass_prefix(group, range.reverse),
            None => place.pass(&key, range.reverse),
        }
    }
    page.entries = entries.finish();
    Ok(page)
}

/// Entries whose keys and values share their memory: an allocation for each would take longer than reading it.
#[derive(Default)]
struct Entries {
    entries: Vec<Entry>,
    bytes: BytesMut,
    /// The lengths of the key and the value of each.
    lengths: Vec<(usize, usize)>,
}

impl Entries {
    fn push(&mut self, key: &[u8], record: RecordView<'_>, is_group: bool) {
        let RecordView { create_revision, mod_revision, version, value, .. } = record;
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.lengths.push((key.len(), value.len()));
        self.entries.push(Entry { version, create_revision, mod_revision, is_group, ..Entry::default() });
    }

    fn finish(mut self) -> Vec<Entry> {
        let mut rest = self.bytes.freeze();
        for (entry, (key, value)) in self.entries.iter_mut().zip(self.lengths) {
            entry.key = rest.split_to(key);
            entry.value = rest.split_to(value);
        }
        self.entries
    }
}

/// Reads a key at a revision, as [`read_page`] does.
pub(crate) fn read_key<C: Cursor>(
    key: &Bytes,
    revision: u64,
    data: &mut C,
    past: Option<&mut C>,
) -> Result<Option<KeyRecord>, Corrupt> {
    data.seek(key);
    let bounds = Bounds { start: key.clone(), end: None };
    let mut reader = Reader { bounds, reverse: false, revision, data, past };
    Ok(reader.record_at(key)?.map(RecordView::to_record))
}

/// A key with its record.
pub(crate) fn entry(key: Bytes, record: KeyRecord) -> Entry {
    let KeyRecord { create_revision, mod_revision, version, value, .. } = record;
    Entry { key, value, version, create_revision, mod_revision, is_group: false }
}

/// The start, or in reverse the end, of the page that begins with a key.
fn continuation(range: &Range, key: &[u8]) -> Bytes {
    let forward = planted!(Bytes::copy_from_slice(key), continues_behind_next_key => successor(key));
    if range.reverse { successor(key) } else { forward }
}

/// The lowest key above another one.
fn successor(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

/// The group of a key, if the range has a delimiter and the key contains it behind the prefix.
fn group_of<'a>(range: &Range, key: &'a [u8]) -> Option<&'a [u8]> {
    let delimiter = &range.delimiter;
    if delimiter.is_empty() {
        return None;
    }
    let begin = range.prefix.len();
    let at = key.get(begin..)?.windows(delimiter.len()).position(|part| part == delimiter)?;
    Some(&key[..begin + at + delimiter.len()])
}

/// Where to go on reading. The buffer is used again for each key.
pub(crate) enum Place {
    /// Ascending: at this key or above.
    At(Vec<u8>),
    /// Descending: below this key.
    Below(Vec<u8>),
    /// Descending: from the last key on.
    Last,
    /// No key is left.
    End,
}

impl Place {
    /// Goes behind a key in the direction of reading.
    pub(crate) fn pass(&mut self, key: &[u8], reverse: bool) {
        let mut buffer = self.take();
        buffer.extend_from_slice(key);
        if reverse {
            *self = Place::Below(buffer);
        } else {
            // The lowest key above it.
            buffer.push(0);
            *self = Place::At(buffer);
        }
    }

    /// Goes behind all keys that begin with a prefix.
    fn pass_prefix(&mut self, prefix: &[u8], reverse: bool) {
        if reverse {
            return self.pass(prefix, true);
        }
        *self = end_of_prefix(prefix).map_or(Place::End, |end| Place::At(end.into()));
    }

    /// The buffer, empty.
    fn take(&mut self) -> Vec<u8> {
        match std::mem::replace(self, Place::End) {
            Place::At(mut buffer) | Place::Below(mut buffer) => {
                buffer.clear();
                buffer
            }
            Place::Last | Place::End => Vec::new(),
        }
    }
}

/// Reads the keys of a range in order, from both kinds of records.
pub(crate) struct Reader<'a, C> {
    bounds: Bounds,
    reverse: bool,
    revision: u64,
    data: &'a mut C,
    past: Option<&'a mut C>,
}

impl<'a, C: Cursor> Reader<'a, C> {
    /// A reader of the latest records, of a table that has applied `revision`.
    pub(crate) fn of_table(bounds: Bounds, revision: u64, data: &'a mut C) -> Reader<'a, C> {
        Reader { bounds, reverse: false, revision, data, past: None }
    }

    pub(crate) fn begin(&self) -> Place {
        match (self.reverse, &self.bounds.end) {
            (false, _) => Place::At(self.bounds.start.to_vec()),
            (true, Some(end)) => Place::Below(end.to_vec()),
            (true, None) => Place::Last,
        }
    }

    /// The record of the key that [`Reader::next_key`] has found, of a reader of the latest records only.
    pub(crate) fn latest(&self) -> &[u8] {
        self.data.item().map(|(_, record)| record).expect("the cursor is at the key")
    }

    /// Finds the next key of the range, which may not exist at the revision; false if there is none.
    pub(crate) fn next_key(&mut self, place: &Place, key: &mut Vec<u8>) -> Result<bool, Corrupt> {
        if matches!(place, Place::End) {
            return Ok(false);
        }
        seek(self.data, place, false);
        let data = self.data.item().map(|(at, _)| at);
        let past = match &mut self.past {
            Some(past) => {
                seek(&mut **past, place, true);
                past.item().map(|(at, _)| parse(at)).transpose()?
            }
            None => None,
        };
        let past = past.as_ref().map(|(key, _)| &key[..]);
        let next = match (data, past) {
            (Some(data), Some(past)) => Some(if self.reverse { data.max(past) } else { data.min(past) }),
            (data, past) => data.or(past),
        };
        let within = |key: &[u8]| match self.reverse {
            true => *key >= self.bounds.start[..],
            false => self.bounds.end.as_ref().is_none_or(|end| *key < end[..]),
        };
        let Some(next) = next.filter(|next| within(next)) else { return Ok(false) };
        key.clear();
        key.extend_from_slice(next);
        Ok(true)
    }

    /// The record of a key at the revision. The cursor of the latest records is at the key, if it has it.
    pub(crate) fn record_at(&mut self, key: &[u8]) -> Result<Option<RecordView<'_>>, Corrupt> {
        let latest = self.data.item().filter(|(at, _)| *at == key);
        let latest = latest.map(|(_, record)| RecordView::new(key, record)).transpose()?;
        if let Some(latest) = latest.filter(|record| record.mod_revision <= self.revision) {
            return Ok(Some(latest));
        }
        let Some(past) = &mut self.past else { return Ok(None) };
        past.seek(&past_key(key, self.revision + 1));
        let Some((at, record)) = past.item() else { return Ok(None) };
        let (of, _) = parse(at)?;
        if of != key {
            return Ok(None);
        }
        let record = RecordView::new(key, record)?;
        let existed = record.mod_revision <= self.revision;
        Ok(planted!(existed, reads_later_version => true).then_some(record))
    }
}

/// Goes to the first key from a place on, which is not the end.
fn seek<C: Cursor>(cursor: &mut C, place: &Place, is_past: bool) {
    match place {
        Place::At(key) if is_past => cursor.seek(&past_key(key, 0)),
        Place::Below(key) if is_past => cursor.seek_before(&past_key(key, 0)),
        Place::At(key) => cursor.seek(key),
        Place::Below(key) => cursor.seek_before(key),
        Place::Last | Place::End => cursor.seek_to_last(),
    }
}

pub(crate) fn parse(past: &[u8]) -> Result<(Bytes, u64), Corrupt> {
    parse_past_key(past)
        .ok_or_else(|| Corrupt::new(format!("the history has a record {:?}", Bytes::copy_from_slice(past))))
}
