//! Every planted fault of the log is detected by a scenario.

use std::panic;

use gometa_marks::{LOG_MUTANTS, activate, mutant};

use crate::{crashes, damage, faults, files, layout};

type Scenario = (&'static str, fn());

/// Quick ones first.
const SCENARIOS: [Scenario; 19] = [
    ("bytes", layout::a_segment_has_the_documented_bytes),
    ("reading bytes", layout::the_documented_bytes_are_read),
    ("failed sync", faults::what_is_found_after_a_failed_sync_survives_a_loss_of_power),
    ("full disk", faults::a_full_disk_is_no_damage),
    ("no spare", faults::a_spare_without_room_is_not_made_and_nothing_fails),
    ("read error", faults::an_error_of_reading_is_no_damage),
    ("deletion beside a reader", faults::a_segment_is_not_overwritten_while_it_is_read),
    ("lost batch", damage::a_lost_synced_batch_is_damage_when_the_mark_knows_it),
    ("damaged batch", damage::a_damaged_batch_with_a_later_one_behind_it_is_no_torn_tail),
    ("damaged first batch", damage::a_damaged_first_batch_is_no_torn_tail),
    ("state", damage::a_log_that_does_not_meet_the_state_is_damage),
    ("missing segment", damage::a_missing_cut_or_doubled_segment_is_damage_or_irrelevant),
    ("cleared block", damage::a_cleared_block_is_damage_or_irrelevant),
    ("byte of an entry", damage::a_byte_of_an_entry_is_always_damage),
    ("flipped bit", damage::a_flipped_bit_in_any_byte_is_damage_or_irrelevant),
    ("crash in an operation", crashes::every_step_of_an_operation_may_be_the_last),
    ("crashes", crashes::what_was_reported_survives_any_crash),
    ("bound", files::the_part_of_the_log_within_a_bound_in_bytes_is_known),
    ("files", files::a_log_survives_restarts_and_deletion),
];

#[test]
fn every_planted_fault_is_detected() {
    for (name, scenario) in SCENARIOS {
        assert!(panic::catch_unwind(scenario).is_ok(), "{name} fails without a planted fault");
    }
    panic::set_hook(Box::new(|_| {}));
    let mut found = Vec::new();
    for name in LOG_MUTANTS {
        activate(Some(mutant(name)));
        let detects = |(_, scenario): &&Scenario| panic::catch_unwind(*scenario).is_err();
        found.push((name, SCENARIOS.iter().find(detects).map(|(scenario, _)| *scenario)));
        activate(None);
    }
    let _ = panic::take_hook();
    assert!(found.iter().all(|(_, scenario)| scenario.is_some()), "{found:#?}");
}
