//! The version.

use std::ffi::c_char;

/// The major version of the header.
pub const GOMETA_VERSION_MAJOR: u32 = 0;
/// The minor version of the header.
pub const GOMETA_VERSION_MINOR: u32 = 1;
/// The patch version of the header.
pub const GOMETA_VERSION_PATCH: u32 = 0;

/// Returns the version of the library: "0.1.0". Static. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn gometa_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_the_header_is_that_of_the_package() {
        let numbers = format!("{GOMETA_VERSION_MAJOR}.{GOMETA_VERSION_MINOR}.{GOMETA_VERSION_PATCH}");
        assert_eq!(numbers, env!("CARGO_PKG_VERSION"));
    }
}
