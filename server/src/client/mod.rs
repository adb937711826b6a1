pub(crate) mod admission;
pub(crate) mod port;
pub(crate) mod registry;
