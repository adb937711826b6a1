use std::collections::BTreeMap;

use super::*;
use crate::settings::Settings;

struct Bench {
    network: Network,
    queue: BTreeMap<(u64, u64), Transit>,
    sequence: u64,
    now: u64,
    seen: Vec<Arrival>,
}

impl Bench {
    fn new(change: impl FnOnce(&mut NetworkSettings)) -> Bench {
        let mut settings = Settings::quiet(1, 3).network;
        change(&mut settings);
        let mut network = Network::new(1, 3, settings);
        for host in 0..3 {
            network.host_up(host, 1);
        }
        Bench { network, queue: BTreeMap::new(), sequence: 0, now: 0, seen: Vec::new() }
    }

    fn run(&mut self, until: u64) {
        loop {
            for (at, transit) in self.network.out.drain(..) {
                self.sequence += 1;
                self.queue.insert((at, self.sequence), transit);
            }
            let Some((&(at, sequence), _)) = self.queue.first_key_value() else { break };
            if at > until {
                break;
            }
            let transit = self.queue.remove(&(at, sequence)).expect("just seen");
            self.now = at;
            self.seen.extend(self.network.perform(at, transit));
        }
        self.now = until;
    }

    fn connect(&mut self, from: usize, to: usize) -> (LinkId, LinkId) {
        self.network.dial(self.now, from, to);
        let until = self.now + 300_000;
        self.run(until);
        let seen = std::mem::take(&mut self.seen);
        match &seen[..] {
            [Arrival::Accepted { link: theirs, .. }, Arrival::Connected { link: ours, .. }] => {
                (*ours, *theirs)
            }
            other => panic!("no connection: {other:?}"),
        }
    }

    fn frames(&self) -> Vec<u8> {
        let first = |arrival: &Arrival| match arrival {
            Arrival::Frame { bytes, .. } => Some(bytes[0]),
            _ => None,
        };
        self.seen.iter().filter_map(first).collect()
    }
}

fn byte(value: u8) -> Bytes {
    Bytes::copy_from_slice(&[value])
}

#[test]
fn frames_keep_their_order_and_the_end_comes_last() {
    let mut bench = Bench::new(|settings| settings.delay_max = 50_000);
    let (ours, theirs) = bench.connect(0, 1);
    for value in 0..100 {
        bench.network.send(bench.now, 0, ours, byte(value));
    }
    bench.network.close(bench.now, 0, ours);
    bench.run(10_000_000);
    assert_eq!(bench.frames(), (0..100).collect::<Vec<_>>());
    assert_eq!(bench.seen.last(), Some(&Arrival::Closed { host: 1, link: theirs }));
    assert!(!bench.network.is_open(0, ours) && !bench.network.is_open(1, theirs));
}

#[test]
fn a_partition_holds_frames_back_and_loses_datagrams() {
    let mut bench = Bench::new(|_| ());
    let (ours, _) = bench.connect(0, 1);
    bench.network.block(0, 1);
    bench.network.send(bench.now, 0, ours, byte(1));
    bench.network.send_datagram(bench.now, 0, 1, byte(2));
    bench.network.send_datagram(bench.now, 1, 0, byte(3));
    bench.run(2_000_000);
    assert_eq!(bench.seen, [Arrival::Datagram { host: 0, bytes: byte(3), genuine: true }]);
    bench.network.unblock(bench.now, 0, 1);
    bench.run(4_000_000);
    assert_eq!(bench.frames(), [1]);
}

#[test]
fn dialling_into_a_partition_or_a_dead_machine_fails() {
    let mut bench = Bench::new(|_| ());
    bench.network.block(0, 1);
    bench.network.dial(0, 0, 1);
    bench.network.host_down(0, 2, false);
    bench.network.dial(0, 0, 2);
    bench.run(1_000_000);
    let failed = |peer| Arrival::ConnectFailed { host: 0, peer };
    assert_eq!(bench.seen, [failed(2), failed(1)]);
}

#[test]
fn an_answer_that_cannot_return_leaves_the_connection_half_open() {
    let mut bench = Bench::new(|_| ());
    bench.network.block(1, 0);
    bench.network.dial(0, 0, 1);
    bench.run(1_000_000);
    // The dialling end has given up; the accepting one does not know.
    assert!(matches!(bench.seen[0], Arrival::Accepted { host: 1, .. }), "{:?}", bench.seen);
    assert_eq!(bench.seen[1], Arrival::ConnectFailed { host: 0, peer: 1 });
    // The accepting end learns it when it sends.
    bench.network.unblock(bench.now, 1, 0);
    bench.network.send(bench.now, 1, LinkId(1), byte(1));
    bench.run(2_000_000);
    assert_eq!(bench.seen[2..], [Arrival::Closed { host: 1, link: LinkId(1) }]);
}

#[test]
fn a_killed_process_is_noticed_at_once_a_machine_without_power_is_not() {
    let mut bench = Bench::new(|_| ());
    let (_, theirs) = bench.connect(0, 1);
    bench.network.host_down(bench.now, 0, false);
    bench.run(bench.now + 100_000);
    assert_eq!(bench.seen, [Arrival::Closed { host: 1, link: theirs }]);

    let mut bench = Bench::new(|_| ());
    let (_, theirs) = bench.connect(0, 1);
    bench.network.host_down(bench.now, 0, true);
    bench.network.send(bench.now, 1, theirs, byte(1));
    bench.run(bench.now + 1_000_000);
    assert_eq!(bench.seen, []);
    // Sent again to the machine that has come back, it is refused there.
    bench.network.host_up(0, 2);
    bench.run(bench.now + 1_000_000);
    assert_eq!(bench.seen, [Arrival::Closed { host: 1, link: theirs }]);
}

#[test]
fn what_was_sent_before_a_kill_still_arrives_after_the_restart() {
    let mut bench = Bench::new(|settings| {
        settings.delay_min = 20_000;
        settings.delay_max = 20_000;
    });
    let (ours, _) = bench.connect(0, 1);
    bench.network.send(bench.now, 0, ours, byte(9));
    bench.network.host_down(bench.now, 0, false);
    bench.network.host_up(0, 2);
    bench.run(bench.now + 100_000);
    assert_eq!(bench.frames(), [9]);
}

#[test]
fn link_ids_are_never_used_twice_in_a_boot() {
    let mut bench = Bench::new(|_| ());
    let (first, _) = bench.connect(0, 1);
    bench.network.close(bench.now, 0, first);
    bench.run(bench.now + 100_000);
    bench.seen.clear();
    let (second, _) = bench.connect(0, 1);
    assert_ne!(first, second);
    assert_eq!(bench.network.peer_of(0, second), Some(1));
}

#[test]
fn strange_datagrams_are_marked() {
    let mut bench = Bench::new(|settings| {
        settings.flip = 500_000;
        settings.garbage = 500_000;
        settings.loss = 300_000;
        settings.duplicate = 100_000;
        settings.replay = 100_000;
    });
    for value in 0..200 {
        bench.network.send_datagram(bench.now, 0, 1, Bytes::copy_from_slice(&[7, 7, 7, value]));
    }
    bench.run(10_000_000);
    let mut genuine = 0;
    for arrival in &bench.seen {
        if let Arrival::Datagram { bytes, genuine: true, .. } = arrival {
            assert_eq!(bytes[..3], [7, 7, 7]);
            genuine += 1;
        }
    }
    assert!(genuine > 50 && genuine < bench.seen.len(), "{genuine} of {}", bench.seen.len());
}

#[test]
fn nothing_arrives_behind_what_a_reset_has_lost() {
    let (mut halves, mut late) = (0, 0);
    for seed in 0..200 {
        let mut bench = Bench::new(|settings| settings.delay_max = 20_000);
        bench.network.random = Random::new(seed, Stream::Network);
        let (ours, _) = bench.connect(0, 1);
        let frame = |value: u8| Bytes::from(vec![value; 9]);
        for value in 0..10 {
            bench.network.send(bench.now, 0, ours, frame(value));
        }
        bench.network.reset_between(bench.now, 0, 1);
        // An end that has not detected it continues to send.
        for value in 10..20 {
            bench.network.send(bench.now, 0, ours, frame(value));
        }
        bench.run(bench.now + 2 * KEEPALIVE);
        let arrived: Vec<&Bytes> = bench.seen.iter().filter_map(bytes_of).collect();
        let whole = arrived.iter().take_while(|bytes| bytes.len() == 9).count();
        assert!(arrived.iter().enumerate().all(|(at, bytes)| bytes.iter().all(|byte| *byte == at as u8)));
        assert!(whole <= 10 && arrived.len() <= whole + 1, "{arrived:?}");
        halves += arrived.len() - whole;
        late += usize::from(bench.seen.iter().any(|seen| matches!(seen, Arrival::Closed { host: 0, .. })));
        assert!(!bench.network.is_open(0, ours));
    }
    assert!(halves > 5 && late == 200, "{halves} {late}");
}

fn bytes_of(arrival: &Arrival) -> Option<&Bytes> {
    match arrival {
        Arrival::Frame { bytes, .. } => Some(bytes),
        _ => None,
    }
}

#[test]
fn a_slow_connection_is_slow_for_all_of_its_life_and_may_end_behind_its_successor() {
    let mut bench = Bench::new(|settings| {
        settings.delay_min = 1_000;
        settings.delay_max = 1_000;
        settings.slow_link = 1_000_000;
    });
    let (old, _) = bench.connect(0, 1);
    bench.network.connections[0].lag = 500_000;
    for value in 0..3 {
        bench.network.send(bench.now, 0, old, byte(value));
    }
    bench.network.close(bench.now, 0, old);
    bench.network.settings.slow_link = 0;
    let (new, theirs) = bench.connect(0, 1);
    bench.network.send(bench.now, 0, new, byte(9));
    let until = bench.now + 2_000_000;
    bench.run(until);
    assert_eq!(bench.frames(), [9, 0, 1, 2]);
    assert!(matches!(bench.seen[0], Arrival::Frame { link, .. } if link == theirs));
    assert_eq!((bench.network.counts.slow_links, bench.network.counts.late_messages), (1, 3));
}

#[test]
fn datagrams_overtake_each_other() {
    let mut bench = Bench::new(|settings| settings.delay_max = 50_000);
    for value in 0..100 {
        bench.network.send_datagram(bench.now, 0, 1, byte(value));
    }
    bench.run(1_000_000);
    assert_eq!(bench.seen.len(), 100);
    assert!(bench.network.counts.reordered_datagrams > 10);
}
