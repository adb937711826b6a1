//! Strings for C.

use std::ffi::CString;

/// A string that ends with a zero byte; zero bytes within are shown as the sign for them.
pub(crate) fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{2400}")).unwrap_or_default()
}
