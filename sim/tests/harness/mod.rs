//! Ensembles of whole nodes for scripts.

pub(crate) mod commands;
pub(crate) mod ensemble;
pub(crate) mod garbage;
pub(crate) mod show;
