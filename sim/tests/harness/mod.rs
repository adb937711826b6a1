//! What the scripts are played on.

pub(crate) mod commands;
pub(crate) mod ensemble;
pub(crate) mod garbage;
pub(crate) mod show;
