//! All scenarios against all faces, and the table of it.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::Context as _;

use super::{
    Face, NAMES, Places,
    arena::Arena,
    play::play,
    scenario::{self, Scenario},
};
use crate::say;

/// What stands in a cell.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Cell {
    Passed,
    Failed,
    /// The face cannot do it, for this reason.
    Without(String),
}

/// What was played, and what came of it.
pub struct Results {
    /// By scenario: topic and name.
    rows: Vec<(String, String)>,
    /// By face: a cell for each scenario.
    columns: Vec<(String, Vec<Cell>)>,
    failures: Vec<String>,
}

/// One face's part of them.
struct Column {
    face: String,
    cells: Vec<Cell>,
    failures: Vec<String>,
}

/// Plays every scenario whose name or topic contains `only` to each of these faces.
///
/// # Errors
/// If a scenario cannot be read or a face not started. What a face does wrong is in the results.
pub async fn conformance(places: &Places<'_>, faces: &[String], only: &str) -> anyhow::Result<Results> {
    let topics = scenario::read(&places.root.join("tests/conformance"))?;
    let all = topics.iter().flat_map(|(topic, content)| {
        content.scenarios.iter().map(move |scenario| (topic.as_str(), scenario))
    });
    let rows: Vec<(&str, &Scenario)> =
        all.filter(|(topic, scenario)| topic.contains(only) || scenario.name.contains(only)).collect();
    anyhow::ensure!(!rows.is_empty(), "no scenario has {only:?} in its name");
    // Two faces at a time, each beside an ensemble of its own: most of it is waiting.
    let next = AtomicUsize::new(0);
    let lane = async || {
        let (mut arena, mut columns) = (Arena::start().await, Vec::new());
        while let Some(face) = faces.get(next.fetch_add(1, Ordering::Relaxed)) {
            columns.push(column(places, face, &rows, &mut arena).await?);
        }
        anyhow::Ok(columns)
    };
    let (mut columns, others) = tokio::try_join!(lane(), lane())?;
    columns.extend(others);
    columns.sort_by_key(|column| faces.iter().position(|face| *face == column.face));
    Ok(Results {
        rows: rows.iter().map(|(topic, scenario)| ((*topic).to_owned(), scenario.name.clone())).collect(),
        failures: columns.iter().flat_map(|column| column.failures.clone()).collect(),
        columns: columns.into_iter().map(|column| (column.face, column.cells)).collect(),
    })
}

async fn column(
    places: &Places<'_>,
    name: &str,
    rows: &[(&str, &Scenario)],
    arena: &mut Arena,
) -> anyhow::Result<Column> {
    let (mut cells, mut failures) = (Vec::new(), Vec::new());
    let mut face = Face::start(name, places).await?;
    for (number, (topic, scenario)) in rows.iter().enumerate() {
        if let Some(verb) = scenario.needs.iter().find(|verb| face.without().contains(*verb)) {
            cells.push(Cell::Without(format!("{name}, {verb}: {}", face.why_without())));
            continue;
        }
        match play(&face, arena, scenario, format!("{name}/{number}/")).await {
            Ok(()) => cells.push(Cell::Passed),
            Err(error) => {
                failures.push(format!("{name}, {topic}: {}: {error:#}", scenario.name));
                say(failures.last().map_or("", String::as_str));
                cells.push(Cell::Failed);
                // It may be anywhere now.
                drop(face);
                face = Face::start(name, places).await.context("after a failure")?;
            }
        }
    }
    if let Err(error) = face.end().await {
        failures.push(format!("{name}: {error:#}"));
    }
    Ok(Column { face: name.to_owned(), cells, failures })
}

impl Results {
    /// For people.
    pub fn text(&self) -> String {
        let widths: Vec<usize> = self.columns.iter().map(|(face, _)| face.len().max(3) + 2).collect();
        let names = self.rows.iter().map(|(_, name)| name.chars().count()).max().unwrap_or(0);
        let head = self.columns.iter().zip(&widths).map(|((face, _), width)| format!("{face:>width$}"));
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

    /// Cells that passed.
    pub fn passed(&self) -> usize {
        self.columns.iter().flat_map(|(_, cells)| cells).filter(|cell| **cell == Cell::Passed).count()
    }

    /// What went wrong, a line each.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }
}

/// The number of a reason, from 1, which becomes the last one if it is new.
fn number_of<'a>(reason: &'a String, reasons: &mut Vec<&'a String>) -> usize {
    let known = reasons.iter().position(|known| *known == reason);
    known.unwrap_or_else(|| {
        reasons.push(reason);
        reasons.len() - 1
    }) + 1
}

/// Where the repository is whose scenarios these are.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Every face's name.
pub fn all_faces() -> Vec<String> {
    NAMES.map(str::to_owned).into()
}
