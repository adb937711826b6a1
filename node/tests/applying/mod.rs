//! How far a node applies ahead of its table.

use gometa_proto::v1::{self, request::Operation, response::Result as Answer};

use gometa_testkit::{
    ensemble::Ensemble as _,
    nodes::{Nodes, UNSTORED_BYTES_MAX, context},
};

const VALUE: usize = 100 << 10;
const WRITES: u64 = 100;

#[test]
fn applying_waits_for_a_table_that_does_not_take_what_is_applied() {
    let mut ensemble = Nodes::new(1);
    ensemble.run(50);
    let session = ensemble.open_session(0, 1);
    for seq in 1..=WRITES {
        let set = v1::Set { key: format!("k{seq}").into(), value: vec![0; VALUE].into() };
        let written = ensemble.call(0, context(session, seq), Operation::Set(set));
        assert!(matches!(written, Some(Answer::Written(_))), "{written:?}");
    }
    let status = ensemble.status(0);
    // All of it is applied again, by a node whose table takes nothing.
    ensemble.kill(0);
    ensemble.members[0].storage.forget_table();
    ensemble.members[0].stalls = true;
    ensemble.start(0);
    ensemble.run(2_000);
    let unstored = ensemble.members[0].unstored;
    assert!(unstored > 0 && unstored <= UNSTORED_BYTES_MAX + VALUE, "{unstored} bytes wait for the table");
    assert!(ensemble.status(0).applied_revision < status.applied_revision);
    ensemble.go_on(0);
    ensemble.run(2_000);
    let now = ensemble.status(0);
    assert_eq!((now.applied_revision, now.state_hash), (status.applied_revision, status.state_hash));
}
