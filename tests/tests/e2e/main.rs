//! Tests of real processes: killed, paused, partitioned, wiped, with invalid input.
//!
//! Needs the built programs beside it (`make e2e` builds them) and runs one test at a time (`--test-threads=1`).
//! Random choices come from a seed that each test prints; `GOMETA_TEST_SEED` repeats one. After a failure the
//! directories and logs are kept, and the ends of the logs are shown.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "all of this is tests")]

mod altered;
mod backup;
mod behind;
mod blocked;
mod crashes;
mod damaged;
mod disks;
mod endurance;
mod first_use;
mod flood;
mod flood_bombs;
mod foreign;
mod founding;
mod handover;
mod health;
mod history;
mod hung;
mod inspect;
mod isolation;
mod kills;
mod load;
mod members;
mod moved;
mod nonsense;
mod planted;
mod quarantined;
mod ranges;
mod reads;
mod recover;
mod refused;
mod self_check;
mod serving;
mod slow;
mod snapshots;
mod space;
mod txns;
mod upgrade;
mod wiped;
mod wire;
