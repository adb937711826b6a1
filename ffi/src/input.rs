//! Pointers from C, looked at before they are followed.

use std::{
    ffi::{CStr, c_char, c_void},
    slice,
};

use gometa_client::{Error, ErrorKind, Operation};

/// What was wanted, for the errors of its arguments.
#[derive(Clone, Copy)]
pub(crate) struct Arguments(pub(crate) Operation);

impl Arguments {
    /// The error for an argument that makes no sense.
    pub(crate) fn invalid(self, what: impl Into<String>) -> Error {
        Error::new(ErrorKind::InvalidArgument, self.0, what)
    }

    /// What a handle points to.
    ///
    /// # Safety
    /// The pointer is NULL or points to a live value that nobody changes for as long as `'a`.
    pub(crate) unsafe fn handle<'a, T>(self, pointer: *const T, name: &str) -> Result<&'a T, Error> {
        // SAFETY: the caller's promise.
        unsafe { pointer.as_ref() }.ok_or_else(|| self.invalid(format!("{name} is NULL")))
    }

    /// The bytes of a key or a value.
    ///
    /// # Safety
    /// The pointer is NULL or points to `length` bytes that nobody changes for as long as `'a`.
    pub(crate) unsafe fn bytes<'a>(
        self,
        pointer: *const c_void,
        length: usize,
        name: &str,
    ) -> Result<&'a [u8], Error> {
        if length == 0 {
            return Ok(&[]);
        }
        if pointer.is_null() {
            return Err(self.invalid(format!("{name} is NULL, and its length {length}")));
        }
        if length > isize::MAX as usize {
            let message = format!("a {name} of {length} bytes exceeds every limit");
            return Err(Error::new(ErrorKind::TooLarge, self.0, message));
        }
        // SAFETY: not NULL, not longer than memory, and the caller's promise.
        Ok(unsafe { slice::from_raw_parts(pointer.cast::<u8>(), length) })
    }

    /// A string that ends with a zero byte.
    ///
    /// # Safety
    /// The pointer is NULL or points to bytes that end with a zero, and that nobody changes for as long as `'a`.
    pub(crate) unsafe fn text<'a>(self, pointer: *const c_char, name: &str) -> Result<&'a str, Error> {
        if pointer.is_null() {
            return Err(self.invalid(format!("{name} is NULL")));
        }
        // SAFETY: not NULL, and the caller's promise.
        let text = unsafe { CStr::from_ptr(pointer) };
        text.to_str().map_err(|_| self.invalid(format!("{name} is not UTF-8")))
    }

    /// A place for an output that the caller must give.
    ///
    /// # Safety
    /// The pointer is NULL or may be written to.
    pub(crate) unsafe fn output<T>(self, pointer: *mut T, name: &str) -> Result<Output<T>, Error> {
        if pointer.is_null() {
            return Err(self.invalid(format!("{name} is NULL: there is no place for the result")));
        }
        Ok(Output(pointer))
    }
}

/// A place for an output.
pub(crate) struct Output<T>(*mut T);

impl<T> Output<T> {
    /// A place for an output that the caller may do without.
    ///
    /// # Safety
    /// The pointer is NULL or may be written to.
    pub(crate) unsafe fn optional(pointer: *mut T) -> Output<T> {
        Output(pointer)
    }

    /// Writes it.
    pub(crate) fn put(self, value: T) {
        if !self.0.is_null() {
            // SAFETY: it may be written to, as was promised when this was made; what is there is not dropped, for it
            // may be nothing.
            unsafe { self.0.write(value) };
        }
    }
}

impl<T> Output<*mut T> {
    /// Gives the caller an object of its own.
    pub(crate) fn give(self, value: T) {
        if !self.0.is_null() {
            self.put(Box::into_raw(Box::new(value)));
        }
    }
}

/// Takes an object back from C and drops it. NULL is a no-op.
///
/// # Safety
/// The pointer is NULL or came from [`Output::give`], and is not used again.
pub(crate) unsafe fn free<T>(pointer: *mut T) {
    if pointer.is_null() {
        return;
    }
    // SAFETY: the caller's promise.
    let value = unsafe { Box::from_raw(pointer) };
    // A destructor that panics is a fault of ours, and must not be the caller's.
    drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || drop(value))));
}

/// Gives C a view of bytes, and their length where it asks for it.
///
/// # Safety
/// `length` is NULL or may be written to.
pub(crate) unsafe fn lend(bytes: &[u8], length: *mut usize) -> *const u8 {
    // SAFETY: the caller's promise.
    unsafe { Output::optional(length) }.put(bytes.len());
    bytes.as_ptr()
}
