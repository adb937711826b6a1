//! Round trips, damaged and invalid input, limits, and the exact bytes of the formats.

mod golden;
mod invalid;
mod limits;
mod round_trips;
mod snapshot;
mod strategies;
