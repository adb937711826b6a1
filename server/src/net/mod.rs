pub(crate) mod frame_budget;
pub(crate) mod listen;
pub(crate) mod outbox;
