//! 26. **Versions**: a page of the history of a key has the versions and deletions that the log made of it, newest first, from
//!     the one asked for on down to the version that the key had at the horizon; its continuation leaves out nothing.

use bytes::Bytes;
use gometa_proto::v1::{Consistency, GetHistory, KeyVersion, Response, response::Result as Answer};

use super::{Check, ensure, model::Model};

const VERSIONS: &str = "26 versions";

/// The most versions of a page.
const VERSIONS_MAX: u64 = 1_000;

/// Judges the answer. `shown` is the highest revision that any answer had shown when it was asked for.
pub(super) fn judge(
    model: &Model,
    node: usize,
    shown: u64,
    get: &GetHistory,
    response: &Response,
    answer: &Answer,
) -> Check {
    let page = match answer {
        Answer::KeyHistory(page) => page,
        Answer::Error(_) => return Ok(()),
        other => {
            ensure!(false, VERSIONS, "n{node} answers {get:?} with {other:?}");
            return Ok(());
        }
    };
    let local = get.consistency == Consistency::Local as i32;
    let oldest = if local { get.min_revision } else { shown };
    ensure!(
        page.revision >= oldest && page.revision <= response.revision,
        VERSIONS,
        "n{node} answers {get:?} as of {}, {oldest} was shown or demanded: {response:?}",
        page.revision
    );
    let horizon = model.horizon_at(page.revision);
    let expected = versions(model, get, page.revision, horizon);
    let limit = if get.limit == 0 { VERSIONS_MAX } else { get.limit.min(VERSIONS_MAX) };
    let (read, left) = expected.split_at(expected.len().min(limit as usize));
    let next_before = match (read.last(), left.is_empty()) {
        (Some(last), false) => last.revision,
        _ => 0,
    };
    ensure!(
        page.versions == read && page.next_before == next_before && page.oldest_revision == horizon,
        VERSIONS,
        "n{node} answers {get:?} with {page:?}, the key has {expected:?} above {horizon}"
    );
    Ok(())
}

/// All versions below the one asked for that are kept at a revision, newest first.
fn versions(model: &Model, get: &GetHistory, revision: u64, horizon: u64) -> Vec<KeyVersion> {
    let mut versions = Vec::new();
    for (at, record) in model.states(&get.key).filter(|(at, _)| *at <= revision) {
        let below = get.before_revision == 0 || at < get.before_revision;
        // A version at the horizon or below it is the one that the key had there, and the last.
        if below && (at > horizon || record.is_some()) {
            versions.push(match record {
                Some(record) => KeyVersion {
                    revision: at,
                    deleted: false,
                    version: record.version,
                    create_revision: record.create_revision,
                    value: if get.keys_only { Bytes::new() } else { record.value.clone() },
                    value_size: record.value.len() as u64,
                },
                None => KeyVersion { revision: at, deleted: true, ..KeyVersion::default() },
            });
        }
        if at <= horizon {
            break;
        }
    }
    versions
}
