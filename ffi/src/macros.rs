//! The unsafe code of the exported functions.
//!
//! Every block rests on one claim, which the header asks of the caller: a pointer is NULL or valid for its type until the
//! function returns, a string ends with a zero byte, and a pointer with a length covers that many bytes. So these macros
//! belong into exported functions, and into `unsafe` functions that only such functions call.
//!
//! The first argument is the [`Operation`](gometa_client::Operation) that errors name. Where an argument is invalid, the
//! surrounding function or closure returns the error.

/// The object behind a pointer that must not be NULL.
macro_rules! handle {
    ($operation:ident, $pointer:ident) => {
        // SAFETY: `$pointer` is NULL or a live object; see the module.
        unsafe {
            $crate::input::handle(gometa_client::Operation::$operation, $pointer, stringify!($pointer))
        }?
    };
}

/// The same, to be changed.
macro_rules! handle_mut {
    ($operation:ident, $pointer:ident) => {{
        // SAFETY: `$pointer` is NULL or a live object that no other thread uses; see the module.
        let object = unsafe { $pointer.as_mut() };
        object.ok_or_else(|| {
            let message = concat!(stringify!($pointer), " is NULL");
            $crate::input::invalid(gometa_client::Operation::$operation, message)
        })?
    }};
}

/// A value of an object, or the default if the pointer is NULL.
macro_rules! read {
    ($pointer:ident, $default:expr, $value:expr) => {{
        // SAFETY: `$pointer` is NULL or a live object; see the module.
        let object = unsafe { $pointer.as_ref() };
        object.map_or($default, $value)
    }};
}

/// A string.
macro_rules! text {
    ($operation:ident, $pointer:ident) => {
        // SAFETY: `$pointer` is NULL or a string; see the module.
        unsafe { $crate::input::text(gometa_client::Operation::$operation, $pointer, stringify!($pointer)) }?
    };
}

/// A copy of a key or a value.
macro_rules! bytes {
    ($operation:ident, $pointer:ident, $length:ident) => {{
        let (operation, name) = (gometa_client::Operation::$operation, stringify!($pointer));
        // SAFETY: `$pointer` is NULL or covers `$length` bytes; see the module.
        unsafe { $crate::input::bytes(operation, $pointer, $length, name) }?
    }};
}

/// An output that may be NULL.
macro_rules! optional {
    ($pointer:ident) => {
        // SAFETY: `$pointer` is NULL or writable; see the module.
        unsafe { $crate::input::Output::optional($pointer) }
    };
}

/// An output that must not be NULL.
macro_rules! required {
    ($operation:ident, $pointer:ident) => {
        // SAFETY: `$pointer` is NULL or writable; see the module.
        unsafe {
            $crate::input::required(gometa_client::Operation::$operation, $pointer, stringify!($pointer))
        }?
    };
}

/// Frees an object. NULL is a no-op.
macro_rules! free {
    ($pointer:ident) => {
        // SAFETY: `$pointer` is NULL or an object of this library that the caller does not use again; see the module.
        unsafe { $crate::input::free($pointer) }
    };
}

pub(crate) use {bytes, free, handle, handle_mut, optional, read, required, text};
