//! The store's behaviour, seen from outside: each test's name is the claim.

mod batches;
mod model;
mod operations;
mod sessions;
mod txns;
mod versions;
