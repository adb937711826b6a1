//! Members that join, are promoted, removed and moved, as an operator does it: with `-join`, `gometa member` and
//! `gometa leader`, without an edit of any file of a running node.

use std::{
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use gometa_client::{Client, Role};
use gometa_tests::{
    ensemble::{Addresses, Ensemble},
    members::prepare,
    program::program,
    random, say,
    wait::{PATIENCE, until},
};
use serde_json::json;
use tokio::task::JoinHandle;

const TIMEOUT: Duration = Duration::from_secs(20);
/// The pause between two writes: a light load.
const THINK: Duration = Duration::from_millis(2);
/// The number of changes under kills.
const CHANGES: usize = 24;

/// Writes one key after the other until it is stopped, and checks at the end that all are there.
struct Load {
    stop: Arc<AtomicBool>,
    task: JoinHandle<(u64, Duration)>,
}

impl Load {
    /// The client knows one node only: it learns of the members by itself.
    async fn begin(address: String) -> Load {
        let client = Client::builder().timeout(TIMEOUT).build([address]).unwrap();
        client.set("load/0", "0").await.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut longest = Duration::ZERO;
            for number in 1_u64.. {
                let began = Instant::now();
                client.add(format!("load/{number}"), number.to_string()).await.expect("no call fails");
                longest = longest.max(began.elapsed());
                if stopped.load(Ordering::Relaxed) {
                    return (number, longest);
                }
                tokio::time::sleep(THINK).await;
            }
            unreachable!("the numbers do not end")
        });
        Load { stop, task }
    }

    /// Ends it, and reads everything through this node. Returns the longest call.
    async fn end(self, address: &str) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        let (last, longest) = self.task.await.unwrap();
        let client = Client::builder().timeout(TIMEOUT).pinned(true).build([address]).unwrap();
        for number in 0..=last {
            let entry = client.get(format!("load/{number}")).await.unwrap();
            assert_eq!(entry.value, number.to_string());
        }
        longest
    }
}

fn gometa(peers: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program("gometa"));
    command.args(["--peers", peers, "--timeout", "20s"]).args(arguments);
    command.output().unwrap()
}

/// The output of a command that succeeds.
fn done(peers: &str, arguments: &[&str]) -> String {
    let output = gometa(peers, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The error of a command that fails with this status.
fn refused(peers: &str, arguments: &[&str], status: i32) -> String {
    let output = gometa(peers, arguments);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn spawn_joining(ensemble: &mut Ensemble, node: usize, flags: &[&str]) {
    let mut command = Command::new(program("gometa-server"));
    command.args(flags);
    ensemble.spawn_with(node, command);
}

async fn votes(ensemble: &Ensemble, node: usize) {
    ensemble.status_when(node, "is a voter", |status| status.votes && status.role != Role::Looking).await;
}

fn named(ensemble: &Ensemble, node: usize) -> String {
    ensemble.addresses(node).message.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ensemble_grows_from_one_node_to_five_and_shrinks_to_another_one() {
    let mut ensemble = prepare(5, 1);
    ensemble.spawn(0);
    ensemble.ready(0).await;
    let first = ensemble.request(0);
    let load = Load::begin(first.clone()).await;

    // By themselves, and by a command.
    spawn_joining(&mut ensemble, 1, &["-voter"]);
    votes(&ensemble, 1).await;
    spawn_joining(&mut ensemble, 2, &[]);
    ensemble.status_when(2, "is a learner", |status| status.role == Role::Learning).await;
    let learner = named(&ensemble, 2);
    let list = done(&first, &["member", "list"]);
    assert!(list.lines().any(|line| line.contains(&learner) && line.contains("learner")), "{list}");
    assert!(done(&first, &["member", "promote", &learner, "--wait", "20s"]).contains("3 voters, 0 learners"));
    assert!(done(&first, &["member", "promote", &learner]).contains("was a voter already"));

    // Each starts again, whatever its file lists.
    for node in 0..3 {
        ensemble.kill(node);
        ensemble.restart(node).await;
        votes(&ensemble, node).await;
    }
    for node in 3..5 {
        spawn_joining(&mut ensemble, node, &["-voter=true"]);
        votes(&ensemble, node).await;
    }
    assert!(done(&first, &["member", "safe-to-stop", &named(&ensemble, 1)]).starts_with("safe"));
    let two = [named(&ensemble, 0), named(&ensemble, 1), named(&ensemble, 2)];
    let three = gometa(&first, &["member", "safe-to-stop", &two[0], &two[1], &two[2]]);
    assert_eq!(three.status.code(), Some(5), "{three:?}");

    // The leader first, then each of the others but the last.
    let last = ensemble.request(4);
    let leader = ensemble.leader().await;
    if leader == 4 {
        done(&last, &["leader", "transfer", &named(&ensemble, 3)]);
    }
    let leader = ensemble.leader().await;
    let mut removed = vec![leader];
    removed.extend((0..4).filter(|node| *node != leader));
    for (count, node) in removed.into_iter().enumerate() {
        let answer = done(&last, &["member", "remove", &named(&ensemble, node)]);
        assert!(answer.contains("is removed"), "{answer}");
        ensemble.status_when(node, "was removed", |status| status.detail.contains("was removed")).await;
        if count == 1 {
            let id = format!("{:016x}", ensemble.status(node).await.unwrap().node);
            let again = done(&last, &["member", "remove", &id]);
            assert!(again.contains("was no member"), "{again}");
        }
        assert!(ensemble.terminate(node).await.success());
    }
    let refusal = refused(&last, &["member", "remove", &named(&ensemble, 4)], 4);
    assert!(refusal.contains("last voter"), "{refusal}");
    assert!(done(&last, &["member", "list"]).lines().count() == 3);

    let longest = load.end(&last).await;
    say(&format!("from one node to five and to another one: the longest call took {longest:?}"));
    ensemble.kill(4);
    ensemble.restart(4).await;
    ensemble.client_of(4, TIMEOUT).set("alone", "x").await.unwrap();

    // One that was removed joins again when it is told to, with its data.
    spawn_joining(&mut ensemble, 0, &[&format!("-join={last}"), "-voter"]);
    votes(&ensemble, 0).await;
    ensemble.converged(&[0, 4]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_join_is_refused_with_advice() {
    let mut ensemble = prepare(3, 1);
    ensemble.spawn(0);
    ensemble.ready(0).await;
    let (member, own) = (ensemble.request(0), ensemble.request(1));

    // Nobody, itself, and no address.
    for (flags, words) in [
        (vec![format!("-join={own}")], "of this node itself"),
        (vec!["-join=nowhere".to_owned()], "has no port"),
        (vec!["-join=".to_owned(), "-voter".to_owned()], "-join"),
    ] {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        spawn_joining(&mut ensemble, 1, &flags);
        let (status, line) = ensemble.end(1).await;
        assert!(!status.success() && line.contains(words), "{line}");
        assert!(!ensemble.data(1).exists(), "nothing is made");
    }
    let mut configuration = ensemble.configuration(1);
    configuration["Join"] = json!([]);
    ensemble.configure(1, &configuration);
    ensemble.spawn(1);
    let (status, line) = ensemble.end(1).await;
    assert!(!status.success() && line.contains("expected 1 to 16 addresses"), "{line}");

    // A node that does not answer; another one does.
    let nobody = Addresses::free(ensemble.addresses(0).request.ip()).request;
    configuration["Join"] = json!([nobody.to_string()]);
    ensemble.configure(1, &configuration);
    ensemble.spawn(1);
    ensemble.logged(1, &["WARN", "cannot join yet", &nobody.to_string()]).await;
    let status = ensemble.status(1).await.unwrap();
    assert!(status.detail.contains("waits for a member of its ensemble"), "{status:?}");
    ensemble.kill(1);
    configuration["Join"] = json!([nobody.to_string(), member]);
    ensemble.configure(1, &configuration);
    ensemble.spawn(1);
    ensemble.status_when(1, "is a learner", |status| status.role == Role::Learning).await;

    // The id of a member at another address.
    let id = format!("{:016x}", ensemble.status(0).await.unwrap().node);
    let mut configuration = ensemble.configuration(2);
    configuration["Host"]["Id"] = json!(id);
    ensemble.configure(2, &configuration);
    ensemble.spawn(2);
    ensemble.logged(2, &["WARN", "cannot join yet", "is a member already", "set another Id"]).await;
    ensemble.kill(2);
    ensemble.wipe(2);
    let object = configuration["Host"].as_object_mut().unwrap();
    object.remove("Id");
    ensemble.configure(2, &configuration);

    // Requests that name what is not there, or what is not up to date.
    assert!(refused(&member, &["member", "promote", "7"], 3).contains("is no member"));
    assert!(refused(&member, &["member", "promote", "nobody:5002"], 2).contains("neither a node id nor"));
    assert!(refused(&member, &["leader", "transfer", &named(&ensemble, 1)], 4).contains("promote it first"));
    let stale = ["member", "promote", &named(&ensemble, 1), "--follows", "0:0"];
    assert!(refused(&member, &stale, 4).contains("the members have changed"));
    ensemble.kill(1);
    let behind = refused(&member, &["member", "promote", &named(&ensemble, 1)], 4);
    assert!(behind.contains("not connected"), "{behind}");
    assert!(done(&member, &["member", "remove", &named(&ensemble, 1)]).contains("1 voter, 0 learners"));

    // A node that is to found nothing waits, and says so.
    let mut configuration = ensemble.configuration(2);
    let object = configuration.as_object_mut().unwrap();
    object.remove("Join");
    object.insert("Peer".to_owned(), json!([]));
    ensemble.configure(2, &configuration);
    spawn_joining(&mut ensemble, 2, &["-bootstrap=never"]);
    ensemble.logged(2, &["WARN", "no ensemble is founded", "-bootstrap=never"]).await;
    let status = ensemble.status(2).await.unwrap();
    assert!(status.ensemble.is_none(), "{status:?}");
}

/// Gives a node that is stopped new addresses, all three, and starts it.
async fn moves(ensemble: &mut Ensemble, nodes: &[usize]) {
    for node in nodes {
        assert!(ensemble.terminate(*node).await.success());
    }
    for node in nodes {
        ensemble.readdress(*node).await;
        ensemble.spawn(*node);
    }
    for node in nodes {
        ensemble.ready(*node).await;
    }
}

/// Waits until a node lists these members at their addresses.
async fn listed(ensemble: &Ensemble, through: usize, members: &[usize]) {
    let through = ensemble.request(through);
    until("the members are listed at their new addresses", PATIENCE, || async {
        let list = done(&through, &["member", "list"]);
        let all = members.iter().all(|member| list.contains(&named(ensemble, *member)));
        if all { Ok(()) } else { Err(list) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_move_to_other_addresses_one_after_the_other_and_two_at_once() {
    let mut ensemble = Ensemble::start(3).await;
    let all = ensemble.all();
    let load = Load::begin(ensemble.request(0)).await;
    for node in &all {
        moves(&mut ensemble, &[*node]).await;
        listed(&ensemble, (node + 1) % 3, &[*node]).await;
        ensemble.converged(&all).await;
    }
    load.end(&ensemble.request(0)).await;

    // No file of another node has any of these addresses.
    moves(&mut ensemble, &[0, 1]).await;
    ensemble.converged(&all).await;
    ensemble.client_of(2, TIMEOUT).set("after", "x").await.unwrap();
    // Before that, one of the two that starts last does not find the other one if that leads already.
    listed(&ensemble, 2, &[0, 1]).await;
    for node in &all {
        ensemble.kill(*node);
    }
    ensemble.start_all().await;
    ensemble.converged(&all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_not_committed_is_shown_until_it_is() {
    let mut ensemble = prepare(2, 1);
    // The leader goes on for a while without the paused node.
    ensemble.configure_all("ElectionTimeoutMs", &json!(5_000));
    ensemble.start_all().await;
    let client = ensemble.client_of(0, Duration::from_secs(2));
    let members = ensemble.status(1).await.unwrap();
    assert_eq!(ensemble.status(0).await.unwrap().pending_change, "");
    ensemble.pause(1);
    client.promote_member(members.node, None).await.expect_err("one voter of two has it");
    let paused = ensemble.addresses(1).message.to_string();
    let shows = |words: &[&str], pending: &str| words.iter().all(|word| pending.contains(word));
    let words = ["make a learner a voter", "version", "not known to be committed", &paused];
    let status = |status: &gometa_client::NodeStatus| shows(&words, &status.pending_change);
    ensemble.status_when(0, "shows the change that is not committed", status).await;
    let all = [ensemble.request(0), ensemble.request(1)].join(",");
    let shown = String::from_utf8(gometa(&all, &["status"]).stdout).unwrap();
    assert!(shown.contains("note: change of the members not made yet") && shown.contains(&paused), "{shown}");
    ensemble.logged(0, &["change of the members not made yet", "make a learner a voter", &paused]).await;

    ensemble.resume(1);
    votes(&ensemble, 1).await;
    for node in [0, 1] {
        ensemble.status_when(node, "has nothing pending", |status| status.pending_change.is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_the_members_under_kills_lose_nothing() {
    let mut random = random::of_this_run("members");
    let mut ensemble = prepare(5, 3);
    (0..3).for_each(|node| ensemble.spawn(node));
    for node in 0..3 {
        ensemble.ready(node).await;
    }
    let load = Load::begin(ensemble.request(0)).await;
    let mut members = vec![0, 1, 2];
    let mut outside = vec![3, 4];
    for change in 0..CHANGES {
        let peers: Vec<String> = members.iter().map(|node| ensemble.request(*node)).collect();
        let peers = peers.join(",");
        if members.len() > 3 || outside.is_empty() {
            let node = members.remove(random.below(members.len() as u64) as usize);
            done(&peers, &["member", "remove", &named(&ensemble, node)]);
            ensemble.kill(node);
            outside.push(node);
        } else {
            let node = outside.remove(0);
            spawn_joining(&mut ensemble, node, &[&format!("-join={peers}"), "-voter"]);
            votes(&ensemble, node).await;
            members.push(node);
        }
        if change.is_multiple_of(3) {
            let killed = members[random.below(members.len() as u64) as usize];
            ensemble.kill(killed);
            ensemble.restart(killed).await;
        }
        for node in &members {
            votes(&ensemble, *node).await;
        }
    }
    let statuses = ensemble.converged(&members).await;
    assert!(statuses.iter().all(|status| status.votes), "{statuses:?}");
    let longest = load.end(&ensemble.request(members[0])).await;
    say(&format!("{CHANGES} changes of the members under kills: the longest call took {longest:?}"));
}
