//! Reading what is left of a damaged log.

use gometa_codec::storage;
use gometa_zab::Founding;

use crate::{
    error::OpenError,
    file::{Directory, Usage},
    layout::{FOUNDING, HEAD, record, segment_name, segment_number},
    scan::{self, Found, Window},
};

/// Finds the founding record of a log that may be damaged, in whatever headers and batches are valid: a sealed one if there
/// is any, which is never replaced, else the newest.
///
/// # Errors
/// An error of the file system, which is no damage.
pub fn founding<D: Directory>(directory: &D) -> Result<Option<Founding>, OpenError> {
    let names = directory.list().map_err(OpenError::io("list", directory.describe("")))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    let mut newest = None;
    for number in numbers {
        let found = in_segment(directory, &segment_name(number))?;
        if found.as_ref().is_some_and(|founding| founding.sealed) {
            return Ok(found);
        }
        newest = newest.or(found);
    }
    Ok(newest)
}

fn in_segment<D: Directory>(directory: &D, name: &str) -> Result<Option<Founding>, OpenError> {
    let io = |action| OpenError::io(action, directory.describe(name));
    let file = directory.open(name, Usage::Read).map_err(io("open"))?;
    let Ok((header, mut position)) = scan::header(&file).map_err(io("read"))? else { return Ok(None) };
    let mut found = header.state.founding.as_deref().cloned();
    let mut window = Window::new(file).map_err(io("look at"))?;
    while !found.as_ref().is_some_and(|founding| founding.sealed) {
        let Found::Batch(head, body) = window.batch(header.salt, position).map_err(io("read"))? else {
            match window.find_batch(&header, position + header.block as u64, 0).map_err(io("read"))? {
                Some(next) => position = next,
                None => break,
            }
            continue;
        };
        let mut at = 0;
        while let Some((kind, range)) = record(&body, at) {
            at = range.end;
            if kind == FOUNDING
                && let Ok(founding) = storage::decode_founding(&body[range])
            {
                found = Some(founding);
            }
        }
        position += (HEAD + head.length).next_multiple_of(header.block) as u64;
    }
    Ok(found)
}
