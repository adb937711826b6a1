//! A page of a range.

use bytes::Bytes;
use gometa_client::Page;

use crate::{
    entry::gometa_entry_t,
    input::lend,
    macros::{free, optional, read},
};

/// A part of a range, read at one revision: at most 1,000 entries and 1 MiB. Free with gometa_page_free.
pub struct gometa_page_t {
    entries: Vec<gometa_entry_t>,
    next: Option<Bytes>,
    revision: u64,
}

impl From<Box<Page>> for gometa_page_t {
    fn from(page: Box<Page>) -> gometa_page_t {
        let entries = page.entries.into_iter().map(gometa_entry_t::from).collect();
        gometa_page_t { entries, next: page.next, revision: page.revision }
    }
}

/// Returns the number of entries. A page may be short, even empty, and not be the last one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_page_count(page: *const gometa_page_t) -> usize {
    read!(page, 0, |page| page.entries.len())
}

/// Returns an entry by index, in the order of the range. Valid as long as the page: do not free it. NULL if `index` is
/// out of range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_page_entry(
    page: *const gometa_page_t,
    index: usize,
) -> *const gometa_entry_t {
    read!(page, None, |page| page.entries.get(index)).map_or(std::ptr::null(), std::ptr::from_ref)
}

/// Returns where the next page begins, and its length in `*len`, which may be NULL: the `start` of the next page, or
/// its `end` if the range is reversed. Valid as long as the page. NULL and 0 after the last page.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_page_next(page: *const gometa_page_t, len: *mut usize) -> *const u8 {
    let length = optional!(len);
    match read!(page, None, |page| page.next.as_ref()) {
        Some(next) => lend(next, length),
        None => {
            length.put(0);
            std::ptr::null()
        }
    }
}

/// Returns the revision that the page was read at, for gometa_range_set_at_revision.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_page_revision(page: *const gometa_page_t) -> u64 {
    read!(page, 0, |page| page.revision)
}

/// Frees a page and its entries. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_page_free(page: *mut gometa_page_t) {
    free!(page);
}
