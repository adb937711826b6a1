//! Whom clients hear of: the members that the ensemble has recorded, and no others.

use crate::harness::Ensemble;

/// The request addresses in what a node told its clients last.
fn told(ensemble: &Ensemble, index: usize) -> Vec<String> {
    let mut told: Vec<String> =
        ensemble.members[index].view.members.iter().map(|member| member.request_address.clone()).collect();
    told.sort();
    told
}

#[test]
fn a_node_without_an_ensemble_names_itself_only() {
    let mut ensemble = Ensemble::new(3);
    ensemble.kill(2);
    ensemble.run(500);
    assert_eq!(told(&ensemble, 0), ["127.0.0.1:5003"]);
    assert_eq!(told(&ensemble, 1), ["127.0.0.1:6003"]);
    ensemble.start(2);
    ensemble.run(500);
    for index in 0..3 {
        assert_eq!(told(&ensemble, index), ["127.0.0.1:5003", "127.0.0.1:6003", "127.0.0.1:7003"]);
    }
}
