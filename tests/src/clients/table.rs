//! All scenarios with all clients, and the table of the results.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::Context as _;

use super::{
    Driver, NAMES, Places,
    cluster::Cluster,
    play::{Unsupported, play},
    scenario::{self, Scenario},
};
use crate::say;

/// The result of a scenario with a client.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Cell {
    Passed,
    Failed,
    /// Not applicable to the client, for this reason.
    Without(String),
}

/// The results of all scenarios.
pub struct Results {
    /// Topic and name of each scenario.
    rows: Vec<(String, String)>,
    /// A cell for each scenario, by client.
    columns: Vec<(String, Vec<Cell>)>,
    failures: Vec<String>,
}

/// The results of one client.
struct Column {
    client: String,
    cells: Vec<Cell>,
    failures: Vec<String>,
}

/// Plays every scenario whose name or topic contains `only` to each of these clients.
///
/// # Errors
/// If a scenario cannot be read or a driver not started. Failed scenarios are in the results.
pub async fn conformance(places: &Places<'_>, clients: &[String], only: &str) -> anyhow::Result<Results> {
    let topics = scenario::read(&places.root.join("tests/conformance"))?;
    let all = topics.iter().flat_map(|(topic, content)| {
        content.scenarios.iter().map(move |scenario| (topic.as_str(), scenario))
    });
    let rows: Vec<(&str, &Scenario)> =
        all.filter(|(topic, scenario)| topic.contains(only) || scenario.name.contains(only)).collect();
    anyhow::ensure!(!rows.is_empty(), "no scenario has {only:?} in its name");
    // Two clients at a time, each with its own ensemble: most of the time is waiting.
    let next = AtomicUsize::new(0);
    let lane = async || {
        let (mut cluster, mut columns) = (Cluster::start().await, Vec::new());
        while let Some(client) = clients.get(next.fetch_add(1, Ordering::Relaxed)) {
            columns.push(column(places, client, &rows, &mut cluster).await?);
        }
        anyhow::Ok(columns)
    };
    let (mut columns, others) = tokio::try_join!(lane(), lane())?;
    columns.extend(others);
    columns.sort_by_key(|column| clients.iter().position(|client| *client == column.client));
    Ok(Results {
        rows: rows.iter().map(|(topic, scenario)| ((*topic).to_owned(), scenario.name.clone())).collect(),
        failures: columns.iter().flat_map(|column| column.failures.clone()).collect(),
        columns: columns.into_iter().map(|column| (column.client, column.cells)).collect(),
    })
}

async fn column(
    places: &Places<'_>,
    name: &str,
    rows: &[(&str, &Scenario)],
    cluster: &mut Cluster,
) -> anyhow::Result<Column> {
    let (mut cells, mut failures) = (Vec::new(), Vec::new());
    let mut driver = Driver::start(name, places).await?;
    for (number, (topic, scenario)) in rows.iter().enumerate() {
        if let Some(verb) = scenario.needs.iter().find(|verb| driver.without().contains(*verb)) {
            cells.push(Cell::Without(format!("{name}, {verb}: {}", driver.why_without(verb))));
            continue;
        }
        match play(&driver, cluster, scenario, format!("{name}/{number}/")).await {
            Ok(()) => cells.push(Cell::Passed),
            // The examples of the wire implement only some operations.
            Err(error) if name.starts_with("raw-") && error.is::<Unsupported>() => {
                let why = error.downcast_ref::<Unsupported>().map(ToString::to_string).unwrap_or_default();
                cells.push(Cell::Without(format!("{name} {why}")));
                drop(driver);
                driver = Driver::start(name, places).await.context("after an unsupported call")?;
            }
            Err(error) => {
                failures.push(format!("{name}, {topic}: {}: {error:#}", scenario.name));
                say(failures.last().map_or("", String::as_str));
                cells.push(Cell::Failed);
                // Its state is unknown now.
                drop(driver);
                driver = Driver::start(name, places).await.context("after a failure")?;
            }
        }
    }
    if let Err(error) = driver.end().await {
        failures.push(format!("{name}: {error:#}"));
    }
    Ok(Column { client: name.to_owned(), cells, failures })
}

impl Results {
    /// Returns the table as text.
    pub fn text(&self) -> String {
        let widths: Vec<usize> = self.columns.iter().map(|(client, _)| client.len().max(3) + 2).collect();
        let names = self.rows.iter().map(|(_, name)| name.chars().count()).max().unwrap_or(0);
        let head = self.columns.iter().zip(&widths).map(|((client, _), width)| format!("{client:>width$}"));
        let mut text = format!("{:names$}  {}\n", "", head.collect::<String>());
        let (mut topic, mut reasons) = ("", Vec::new());
        for (row, (of, name)) in self.rows.iter().enumerate() {
            if of != topic {
                topic = of;
                text += &format!("{topic}\n");
            }
            text += &format!("  {name:names$}");
            for ((_, cells), width) in self.columns.iter().zip(&widths) {
                let cell = match &cells[row] {
                    Cell::Passed => "ok".to_owned(),
                    Cell::Failed => "FAIL".to_owned(),
                    Cell::Without(reason) => format!("[{}]", number_of(reason, &mut reasons)),
                };
                text += &format!("{cell:>width$}");
            }
            text.push('\n');
        }
        for (number, reason) in reasons.iter().enumerate() {
            text += &format!("[{}] {reason}\n", number + 1);
        }
        text
    }

    /// Returns the number of passed cells.
    pub fn passed(&self) -> usize {
        self.columns.iter().flat_map(|(_, cells)| cells).filter(|cell| **cell == Cell::Passed).count()
    }

    /// Returns the failures, one line each.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }
}

/// Returns the number of a reason, from 1, and appends it if it is new.
fn number_of<'a>(reason: &'a String, reasons: &mut Vec<&'a String>) -> usize {
    let known = reasons.iter().position(|known| *known == reason);
    known.unwrap_or_else(|| {
        reasons.push(reason);
        reasons.len() - 1
    }) + 1
}

/// Returns the root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Returns the names of all clients.
pub fn all_clients() -> Vec<String> {
    NAMES.map(str::to_owned).into()
}
