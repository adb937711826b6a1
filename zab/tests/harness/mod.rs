//! Ensembles of `Zab`s for scripts.

mod commands;
mod ensemble;

pub(crate) use ensemble::Zabs;
