//! Runs the built command against a scripted node.

mod command;

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use gometa_proto::v1::{Request, Role, SessionEnded, SessionOpened, request::Operation, response};
use gometa_testkit::scripted_server::{Node, view, welcome};

pub(crate) use self::command::{gometa, text};

/// Runs the command with standard input beside a node, which never ends.
pub(crate) async fn run_beside(
    mut command: Command,
    input: &'static [u8],
    serving: impl Future<Output = ()>,
) -> Output {
    let running = tokio::task::spawn_blocking(move || {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // The command may have exited before.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    });
    tokio::select! {
        output = running => output.unwrap(),
        () = serving => unreachable!("it never ends"),
    }
}

/// Runs the command with standard input and a node whose answers are `answer`'s.
pub(crate) async fn run_with(
    command: Command,
    input: &'static [u8],
    node: &Node,
    mut answer: impl FnMut(&Request) -> response::Result,
) -> Output {
    let serving = async {
        loop {
            let leading = welcome(view(Role::Leading, &node.address, &[&node.address]));
            let mut link = node.accept_with(leading).await;
            while let Some(request) = link.next_request().await {
                let result = session(&request).unwrap_or_else(|| answer(&request));
                link.answer(&request, result).await;
            }
        }
    };
    run_beside(command, input, serving).await
}

/// The answer to a request about sessions.
pub(crate) fn session(request: &Request) -> Option<response::Result> {
    match &request.operation {
        Some(Operation::OpenSession(_)) => {
            Some(response::Result::SessionOpened(SessionOpened { session: 1, timeout_ms: 30_000 }))
        }
        Some(Operation::EndSession(_)) => {
            Some(response::Result::SessionEnded(SessionEnded { existed: true }))
        }
        _ => None,
    }
}

pub(crate) async fn run(
    arguments: &[&str],
    input: &'static [u8],
    answer: impl FnMut(&Request) -> response::Result,
) -> Output {
    let node = Node::start().await;
    let mut command = gometa(arguments);
    command.env("GOMETA_PEERS", &node.address);
    run_with(command, input, &node, answer).await
}

pub(crate) fn operation(request: &Request) -> Operation {
    request.operation.clone().unwrap()
}
