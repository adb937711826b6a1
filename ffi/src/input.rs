//! Pointers from C, checked before they are followed.

use std::{
    ffi::{CStr, CString, c_char, c_void},
    panic::{AssertUnwindSafe, catch_unwind},
    slice,
};

use bytes::Bytes;
use gometa_client::{Error, ErrorKind, Operation};

/// The error for an invalid argument.
pub(crate) fn invalid(operation: Operation, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, operation, message)
}

/// The object behind a pointer that must not be NULL.
///
/// # Safety
/// The pointer is NULL or points to a live value that is not changed during `'a`.
pub(crate) unsafe fn handle<'a, T>(
    operation: Operation,
    pointer: *const T,
    name: &str,
) -> Result<&'a T, Error> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or_else(|| invalid(operation, format!("{name} is NULL")))
}

/// A copy of a key or a value. NULL is valid if the length is 0.
///
/// # Safety
/// The pointer is NULL or points to `length` readable bytes.
pub(crate) unsafe fn bytes(
    operation: Operation,
    pointer: *const c_void,
    length: usize,
    name: &str,
) -> Result<Bytes, Error> {
    if length == 0 {
        return Ok(Bytes::new());
    }
    if pointer.is_null() {
        return Err(invalid(operation, format!("{name} is NULL, and its length is {length}")));
    }
    if length > isize::MAX as usize {
        let message = format!("a {name} of {length} bytes exceeds every limit");
        return Err(Error::new(ErrorKind::TooLarge, operation, message));
    }
    // SAFETY: not NULL, not longer than memory, and the caller's promise.
    Ok(Bytes::copy_from_slice(unsafe { slice::from_raw_parts(pointer.cast::<u8>(), length) }))
}

/// A string.
///
/// # Safety
/// The pointer is NULL or points to bytes that end with a zero byte and are not changed during `'a`.
pub(crate) unsafe fn text<'a>(
    operation: Operation,
    pointer: *const c_char,
    name: &str,
) -> Result<&'a str, Error> {
    if pointer.is_null() {
        return Err(invalid(operation, format!("{name} is NULL")));
    }
    // SAFETY: not NULL, and the caller's promise.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|_| invalid(operation, format!("{name} is not UTF-8")))
}

/// An output that must not be NULL.
///
/// # Safety
/// The pointer is NULL or may be written to.
pub(crate) unsafe fn required<T>(
    operation: Operation,
    pointer: *mut T,
    name: &str,
) -> Result<Output<T>, Error> {
    if pointer.is_null() {
        return Err(invalid(operation, format!("{name} is NULL: the result cannot be written")));
    }
    Ok(Output(pointer))
}

/// Where the caller wants a result, or NULL.
pub(crate) struct Output<T>(*mut T);

impl<T> Output<T> {
    /// An output that may be NULL.
    ///
    /// # Safety
    /// The pointer is NULL or may be written to.
    pub(crate) unsafe fn optional(pointer: *mut T) -> Output<T> {
        Output(pointer)
    }

    /// Writes a value. NULL is a no-op.
    pub(crate) fn put(self, value: T) {
        if !self.0.is_null() {
            // SAFETY: writable, by the promise at construction. The old value is not dropped: it may be uninitialised.
            unsafe { self.0.write(value) };
        }
    }
}

impl<T> Output<*mut T> {
    /// Moves a value to the heap and writes its address: the caller owns it from now on. NULL is a no-op.
    pub(crate) fn give(self, value: T) {
        if !self.0.is_null() {
            self.put(Box::into_raw(Box::new(value)));
        }
    }

    /// The same for a value that may be absent: then NULL is written.
    pub(crate) fn give_or_null(self, value: Option<T>) {
        match value {
            Some(value) => self.give(value),
            None => self.put(std::ptr::null_mut()),
        }
    }
}

/// Takes an object back from the caller and drops it. NULL is a no-op.
///
/// # Safety
/// The pointer is NULL or came from [`Output::give`], and is not used again.
pub(crate) unsafe fn free<T>(pointer: *mut T) {
    if pointer.is_null() {
        return;
    }
    // SAFETY: the caller's promise.
    let value = unsafe { Box::from_raw(pointer) };
    // A panic must not unwind into the caller.
    drop(catch_unwind(AssertUnwindSafe(move || drop(value))));
}

/// Bytes of an object for the caller to read, and their length.
pub(crate) fn lend(bytes: &[u8], length: Output<usize>) -> *const u8 {
    length.put(bytes.len());
    bytes.as_ptr()
}

/// A string for C. A zero byte within becomes U+2400.
pub(crate) fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{2400}")).unwrap_or_default()
}
