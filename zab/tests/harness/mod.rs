//! What the scripts are played on.

pub(crate) mod commands;
pub(crate) mod disk;
pub(crate) mod ensemble;
pub(crate) mod show;
