//! 24. **Pages**: a page has what the log made of its range at its revision, and nothing between two pages is left out; a page
//!     is refused as compacted only if it is below a horizon that the log has.

use bytes::Bytes;
use gometa_proto::v1::{Consistency, Entry, ErrorKind, Page, Range, Response, response::Result as Answer};

use super::{Check, ensure, model::Model};

const PAGE: &str = "24 pages";

/// The most entries of a page.
const ENTRIES_MAX: u64 = 1_000;

/// Judges the answer to a range. `shown` is the highest revision that any answer had shown when it was asked for.
pub(super) fn judge(
    model: &Model,
    node: usize,
    shown: u64,
    range: &Range,
    response: &Response,
    answer: &Answer,
) -> Check {
    let at = range.at_revision;
    let local = range.consistency == Consistency::Local as i32;
    let page = match answer {
        Answer::Page(page) => page,
        Answer::Error(error) if error.kind == ErrorKind::Compacted as u32 => {
            let horizon = error.actual_revision;
            ensure!(
                at > 0 && at < horizon && horizon <= model.horizon,
                PAGE,
                "n{node} answers {range:?} with {error:?}, the log has horizon {}",
                model.horizon
            );
            return Ok(());
        }
        Answer::Error(error) if error.kind == ErrorKind::InvalidArgument as u32 => {
            ensure!(
                !local && at > shown,
                PAGE,
                "n{node} answers {range:?} with {error:?}, {shown} was shown"
            );
            return Ok(());
        }
        Answer::Error(_) => return Ok(()),
        other => {
            ensure!(false, PAGE, "n{node} answers {range:?} with {other:?}");
            return Ok(());
        }
    };
    let oldest = if local { range.min_revision } else { shown };
    let right_time = if at > 0 { page.revision == at } else { page.revision >= oldest };
    ensure!(
        right_time && page.revision <= response.revision,
        PAGE,
        "n{node} answers {range:?} as of {}, {oldest} was shown or demanded: {response:?}",
        page.revision
    );
    let expected = entries(model, range, page.revision);
    ensure!(
        is_first_page(range, page, &expected),
        PAGE,
        "n{node} answers {range:?} with {page:?}, the range has {expected:?}"
    );
    Ok(())
}

/// Whether a page has the first of these entries, and its continuation is before the next one.
fn is_first_page(range: &Range, page: &Page, expected: &[Expected]) -> bool {
    let count = page.count as usize;
    let Some((read, left)) = expected.split_at_checked(count) else { return false };
    let full = page.count == if range.limit == 0 { ENTRIES_MAX } else { range.limit.min(ENTRIES_MAX) };
    let right = match range.count_only {
        true => page.entries.is_empty(),
        false => page.entries.iter().eq(read.iter().map(|expected| &expected.entry)),
    };
    let continued = match left.first() {
        None => true,
        // Whatever is left has a continuation before it.
        Some(_) if page.next.is_empty() => false,
        Some(next) if range.reverse => next.highest < page.next,
        Some(next) => next.lowest >= page.next,
    };
    right && continued && (page.next.is_empty() || full)
}

/// An entry, and the keys that make it: of a group, several.
#[derive(Debug)]
struct Expected {
    entry: Entry,
    lowest: Bytes,
    highest: Bytes,
}

/// All entries of a range at a revision, in its order.
fn entries(model: &Model, range: &Range, revision: u64) -> Vec<Expected> {
    let Range { start, end, prefix, delimiter, .. } = range;
    let mut entries: Vec<Expected> = Vec::new();
    for key in model.all_keys() {
        let inside = key >= start && (end.is_empty() || key < end) && key.starts_with(prefix);
        let Some(record) = model.key_at(key, revision).filter(|_| inside) else { continue };
        let behind = &key[prefix.len()..];
        let found = behind.windows(delimiter.len().max(1)).position(|part| part == delimiter);
        let entry = match found {
            Some(place) => {
                let key = key.slice(..prefix.len() + place + delimiter.len());
                Entry { key, is_group: true, ..Entry::default() }
            }
            None => Entry {
                key: key.clone(),
                value: if range.keys_only { Default::default() } else { record.value.clone() },
                version: record.version,
                create_revision: record.create_revision,
                mod_revision: record.mod_revision,
                is_group: false,
            },
        };
        match entries.last_mut().filter(|last| last.entry.key == entry.key) {
            Some(last) => last.highest = key.clone(),
            None => entries.push(Expected { entry, lowest: key.clone(), highest: key.clone() }),
        }
    }
    if range.reverse {
        entries.reverse();
    }
    entries
}
