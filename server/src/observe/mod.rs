pub(crate) mod counters;
pub(crate) mod events;
pub(crate) mod integrity;
pub(crate) mod members;
pub(crate) mod pending;
pub(crate) mod ready;
pub(crate) mod steps;
pub(crate) mod storage;
