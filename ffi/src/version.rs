//! Which version this is.

use std::ffi::c_char;

/// The major version that the header belongs to.
pub const GOMETA_VERSION_MAJOR: u32 = 0;
/// The minor version that the header belongs to.
pub const GOMETA_VERSION_MINOR: u32 = 1;
/// The patch version that the header belongs to.
pub const GOMETA_VERSION_PATCH: u32 = 0;

/// The version of the library that runs: "0.1.0". It lives as long as the program. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn gometa_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_numbers_are_the_packages() {
        let numbers = format!("{GOMETA_VERSION_MAJOR}.{GOMETA_VERSION_MINOR}.{GOMETA_VERSION_PATCH}");
        assert_eq!(numbers, env!("CARGO_PKG_VERSION"));
    }
}
