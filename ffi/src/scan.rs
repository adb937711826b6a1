//! The scan: all pages of a range, one call for each.

use gometa_client::{Error, OnSharedRuntime, Operation, Range, Request, SharedPages};

use crate::{
    client::{gometa_client_t, with_client},
    error::gometa_error_t,
    future::gometa_future_t,
    future_results::give_page,
    guard::guarded,
    macros::{free, handle, required},
    page::gometa_page_t,
    range::gometa_range_t,
    status::gometa_status_t,
};

/// The pages of a range, all at one revision. Free with gometa_scan_free. It keeps its client's connection, also after
/// the client is freed.
pub struct gometa_scan_t {
    /// Dropped before the client: a page that is read ahead uses it.
    pages: OnSharedRuntime<SharedPages>,
    client: gometa_client_t,
}

impl gometa_scan_t {
    fn new(client: &gometa_client_t, range: Range) -> Result<gometa_scan_t, Error> {
        Ok(gometa_scan_t { pages: client.hold(|_| SharedPages::new(range))?, client: client.other()? })
    }

    /// The request of the next page.
    fn request(&self) -> Result<Request, Error> {
        let (pages, _) = self.pages.get(Operation::Range)?;
        Ok(Request::NextPage(pages.clone()))
    }
}

/// Creates a scan of a range, which is copied. Does no IO: gometa_scan_next reads the pages. Free `*scan` with
/// gometa_scan_free. Timeouts are those of `client`, for each page.
///
/// Returns GOMETA_INVALID_ARGUMENT if `range` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_client_scan(
    client: *const gometa_client_t,
    range: *const gometa_range_t,
    scan: *mut *mut gometa_scan_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    with_client!(Range, client, error, |client: &gometa_client_t| {
        let output = required!(Range, scan);
        output.give(gometa_scan_t::new(client, handle!(Range, range).range())?);
        Ok(())
    })
}

/// Reads the next page of a scan; after the last one `*page` is NULL. Blocks. Free `*page` with gometa_page_free. The
/// first page fixes the revision of the others; each is requested while the one before is used.
///
/// Returns the errors of gometa_client_range; GOMETA_COMPACTED also if the scan takes longer than history is kept.
/// After an error the scan has ended: further calls return GOMETA_OK and a NULL page. After the client is closed, a
/// page that has been read ahead may be returned before GOMETA_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_scan_next(
    scan: *mut gometa_scan_t,
    page: *mut *mut gometa_page_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Range, error, {
        let scan = handle!(Range, scan);
        let output = required!(Range, page);
        scan.client
            .close_on_panic(|client| give_page(Operation::Range, client.call(scan.request()?)?, output))
    })
}

/// Starts gometa_scan_next. Read the result with gometa_future_page. Start one after the other: the pages of futures
/// that are in flight together come in any order. If the future is cancelled, or freed before it is ready, the next call
/// returns the page.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_scan_next_async(
    scan: *mut gometa_scan_t,
    future: *mut *mut gometa_future_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Range, error, {
        let scan = handle!(Range, scan);
        let output = required!(Range, future);
        scan.client.close_on_panic(|client| {
            output.give(client.start(scan.request()?)?);
            Ok(())
        })
    })
}

/// Frees a scan, and cancels the request of the page that is read ahead. Futures of its pages that are in flight
/// continue. If it is the last handle of its client, it ends the session like gometa_client_free. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_scan_free(scan: *mut gometa_scan_t) {
    free!(scan);
}
