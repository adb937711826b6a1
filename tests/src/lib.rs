//! What the tests of real processes share: starting `gometa-server`s, waiting for them, stopping them.
//!
//! Nothing yet. The repository's own rules are in `tests/repo/` and need none of it.
#![forbid(unsafe_code)]
