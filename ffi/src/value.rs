//! The value of a key.

use bytes::Bytes;

use crate::{
    input::lend,
    macros::{free, optional, read},
};

/// A value that a transaction has read. Free with gometa_value_free.
pub struct gometa_value_t {
    value: Bytes,
}

impl From<Bytes> for gometa_value_t {
    fn from(value: Bytes) -> gometa_value_t {
        gometa_value_t { value }
    }
}

/// Returns the bytes of a value, and their length in `*len`, which may be NULL. Not NULL if it is empty. NULL and 0 if
/// `value` is NULL, as it is if the key does not exist.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_value_bytes(value: *const gometa_value_t, len: *mut usize) -> *const u8 {
    let length = optional!(len);
    match read!(value, None, Some) {
        Some(value) => lend(&value.value, length),
        None => {
            length.put(0);
            std::ptr::null()
        }
    }
}

/// Frees a value. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_value_free(value: *mut gometa_value_t) {
    free!(value);
}
