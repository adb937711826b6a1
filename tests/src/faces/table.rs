//! All scenarios against all faces, and the table of it.

use std::path::Path;

use anyhow::Context as _;

use super::{Face, NAMES, Places, arena::Arena, play::play, scenario};
use crate::say;

/// What stands in a cell.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Cell {
    Passed,
    Failed,
    /// The face cannot do it: number of the reason, from 0.
    Without(usize),
}

/// What was played, and what came of it.
pub struct Results {
    /// By scenario: topic, name, a cell for each face.
    rows: Vec<(String, String, Vec<Cell>)>,
    faces: Vec<String>,
    reasons: Vec<String>,
    failures: Vec<String>,
}

/// Plays every scenario whose name or topic contains `only` to each of these faces.
///
/// # Errors
/// If a scenario cannot be read or a face not started. What a face does wrong is in the results.
pub async fn conformance(places: &Places<'_>, faces: &[String], only: &str) -> anyhow::Result<Results> {
    let topics = scenario::read(&places.root.join("tests/conformance"))?;
    let mut rows = Vec::new();
    for (topic, content) in &topics {
        for scenario in &content.scenarios {
            if topic.contains(only) || scenario.name.contains(only) {
                rows.push((topic, scenario, Vec::new()));
            }
        }
    }
    anyhow::ensure!(!rows.is_empty(), "no scenario has {only:?} in its name");
    let mut arena = Arena::start().await;
    let (mut reasons, mut failures) = (Vec::new(), Vec::new());
    for name in faces {
        let mut face = Face::start(name, places).await?;
        for (number, (topic, scenario, cells)) in rows.iter_mut().enumerate() {
            if let Some(verb) = scenario.needs.iter().find(|verb| face.without().contains(*verb)) {
                let reason = format!("{name}, {verb}: {}", face.why_without());
                let at = reasons.iter().position(|known| *known == reason).unwrap_or_else(|| {
                    reasons.push(reason);
                    reasons.len() - 1
                });
                cells.push(Cell::Without(at));
                continue;
            }
            let prefix = format!("{name}/{number}/");
            match play(&face, &mut arena, scenario, prefix).await {
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
    }
    let rows = rows.into_iter().map(|(topic, scenario, cells)| (topic.clone(), scenario.name.clone(), cells));
    Ok(Results { rows: rows.collect(), faces: faces.to_vec(), reasons, failures })
}

impl Results {
    /// For people.
    pub fn text(&self) -> String {
        let widths: Vec<usize> = self.faces.iter().map(|face| face.len().max(3) + 2).collect();
        let names = self.rows.iter().map(|(_, name, _)| name.chars().count()).max().unwrap_or(0) + 2;
        let mut text = String::new();
        let head: String =
            self.faces.iter().zip(&widths).map(|(face, width)| format!("{face:>width$}")).collect();
        text += &format!("{:names$}{head}\n", "");
        let mut topic = "";
        for (of, name, cells) in &self.rows {
            if of != topic {
                topic = of;
                text += &format!("{topic}\n");
            }
            let line: String = cells
                .iter()
                .zip(&widths)
                .map(|(cell, width)| match cell {
                    Cell::Passed => format!("{:>width$}", "ok"),
                    Cell::Failed => format!("{:>width$}", "FAIL"),
                    Cell::Without(reason) => format!("{:>width$}", format!("[{}]", reason + 1)),
                })
                .collect();
            text += &format!("  {name:width$}{line}\n", width = names - 2);
        }
        for (number, reason) in self.reasons.iter().enumerate() {
            text += &format!("[{}] {reason}\n", number + 1);
        }
        text
    }

    /// Cells that passed.
    pub fn passed(&self) -> usize {
        self.rows.iter().flat_map(|(_, _, cells)| cells).filter(|cell| **cell == Cell::Passed).count()
    }

    /// What went wrong, a line each.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }
}

/// Where the repository is whose scenarios these are.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Every face's name.
pub fn all_faces() -> Vec<String> {
    NAMES.map(str::to_owned).into()
}
