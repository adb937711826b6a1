//! What goes in comes out; what is damaged, does not; nothing panics; the formats stay what they are.

mod golden;
mod hostile;
mod refused;
mod round_trips;
mod strategies;
