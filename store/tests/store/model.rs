//! Random histories against a model that knows no batches, no overlay, no encoding, and forgets no answer.

use gometa_store::{Origin, Purpose};
use proptest::{collection::vec, option, prelude::*};

use gometa_testkit::store::{
    Shared, apply,
    history::{Change, ChangeKind, Comparison, Guarding, Number, Revision, Step},
    open,
    txn::{ActKind, Acting, Comparing, Fact, TxnStep},
};

fn revision() -> impl Strategy<Value = Revision> {
    prop_oneof![3 => Just(Revision::Actual), 1 => (0..20_u64).prop_map(Revision::Any)]
}

fn txn() -> impl Strategy<Value = TxnStep> {
    let key = || prop_oneof![1 => Just(0_u8), 20 => 1..5_u8];
    let fact = prop_oneof![
        2 => (0..20_u64).prop_map(Fact::CreateRevision),
        6 => revision().prop_map(Fact::ModRevision),
        2 => (0..3_u8).prop_map(Fact::Value),
        4 => (0..5_u64, revision()).prop_map(|(more, revision)| Fact::Range { more: more / 4, revision }),
    ];
    let compare = (key(), fact, prop_oneof![4 => Just(0), 1 => 1..4_i32])
        .prop_map(|(key, fact, relation)| Comparing { key, fact, relation });
    let act = || {
        let kind = prop_oneof![
            4 => Just(ActKind::Set),
            2 => Just(ActKind::Delete),
            2 => Just(ActKind::Get),
            2 => Just(ActKind::Range),
            1 => Just(ActKind::DeleteRange)
        ];
        (kind, key(), 0..3_u8).prop_map(|(kind, key, value)| Acting { kind, key, value })
    };
    (vec(compare, 0..3), vec(act(), 0..5), vec(act(), 0..3)).prop_map(|(when, then, otherwise)| TxnStep {
        when,
        then,
        otherwise,
    })
}

fn guard() -> impl Strategy<Value = Option<Guarding>> {
    let key = prop_oneof![1 => Just(0_u8), 20 => 1..5_u8];
    let guard = (key, revision()).prop_map(|(key, created)| Guarding { key, created });
    prop_oneof![2 => Just(None), 1 => guard.prop_map(Some)]
}

fn step() -> impl Strategy<Value = Step> {
    let lag = || prop_oneof![4 => 0..4_u64, 1 => 0..20_u64];
    let number = || {
        prop_oneof![
            6 => lag().prop_map(|lag| Number::Next { lag }),
            2 => (0..8_u64, lag()).prop_map(|(by, lag)| Number::Ahead { by, lag }),
            6 => (0..8_u64, lag()).prop_map(|(back, lag)| Number::Retry { back, lag }),
            1 => (0..1_100_u64, 0..20_u64).prop_map(|(seq, lowest)| Number::Any { seq, lowest }),
        ]
    };
    let kind = prop_oneof![
        Just(ChangeKind::Add),
        Just(ChangeKind::Set),
        Just(ChangeKind::Cas),
        Just(ChangeKind::Delete)
    ];
    let key = prop_oneof![1 => Just(0_u8), 20 => 1..5_u8];
    let change = (kind, key, vec(any::<u8>(), 0..12), option::of(revision()))
        .prop_map(|(kind, key, value, revision)| Change { kind, key, value, revision });
    prop_oneof![
        4 => (0..5_u8).prop_map(|nonce| Step::Create { nonce }),
        1 => vec(0..8_usize, 0..3).prop_map(|sessions| Step::End { sessions }),
        30 => (0..8_usize, number(), change, guard())
            .prop_map(|(session, number, change, guard)| Step::Write { session, number, change, guard }),
        12 => (0..8_usize, number(), txn(), guard())
            .prop_map(|(session, number, txn, guard)| Step::Txn { session, number, txn, guard }),
        2 => (0..8_usize, number(), option::of(0..800_000_u64))
            .prop_map(|(session, number, value)| Step::SetSetting { session, number, value }),
        1 => vec(any::<u8>(), 0..24).prop_map(Step::AnyBytes),
        1 => Just(Step::Skip),
        2 => (0..40_u64).prop_map(|back| Step::RaiseHorizon { back }),
        6 => Just(Step::TakeBatch),
        5 => Just(Step::WriteTable),
        5 => Just(Step::Report),
        2 => Just(Step::Crash),
        4 => (1..5_u8).prop_map(|key| Step::Evict { key }),
        2 => (1..5_u8).prop_map(|key| Step::Hold { key }),
        2 => any::<usize>().prop_map(|hold| Step::Release { hold }),
        4 => (1..5_u8, prop_oneof![Just(Purpose::Apply), Just(Purpose::Get)], any::<bool>())
            .prop_map(|(key, purpose, early)| Step::BeginRead { key, purpose, early }),
        3 => any::<usize>().prop_map(|read| Step::Answer { read }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_history_goes_as_in_the_model_whatever_the_batches_and_crashes(steps in vec(step(), 1..150)) {
        let mut comparison = Comparison::new();
        for step in &steps {
            comparison.step(step);
        }
        comparison.settle();
    }

    #[test]
    fn no_payload_panics_and_none_but_a_command_changes_the_state(payload in vec(any::<u8>(), 0..64)) {
        let mut store = open(&Shared::default());
        let applied = apply(&mut store, 1, payload.into());
        prop_assert!(store.keys() == 0);
        prop_assert_eq!(store.hash() == 0, store.sessions() == 0);
        prop_assert!(applied.origin != Origin::None || store.sessions() == 0);
    }
}
