pub(crate) mod frame_budget;
pub(crate) mod frame_reader;
pub(crate) mod listen;
pub(crate) mod outbox;
pub(crate) mod transport;
