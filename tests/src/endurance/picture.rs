//! Curves over time, as SVG.

use std::fmt::Write;

use crate::svg::{DATA, INK, LEFT, RIGHT, WIDTH, document};

/// The sizes of the picture's parts, in pixels.
const PANEL_HEIGHT: f64 = 130.0;
const PLOT_HEIGHT: f64 = 84.0;
const TOP: f64 = 48.0;

/// A value for each second.
pub(crate) struct Curve {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) points: Vec<f64>,
}

/// Draws curves below each other, each from zero to its highest point.
pub(crate) fn picture(title: &str, curves: &[Curve]) -> String {
    let height = TOP + PANEL_HEIGHT * curves.len() as f64;
    let mut text = String::new();
    for (index, curve) in curves.iter().enumerate() {
        panel(&mut text, TOP + PANEL_HEIGHT * index as f64, curve);
    }
    document(title, height, &text)
}

fn panel(text: &mut String, top: f64, curve: &Curve) {
    let most = curve.points.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let (from, bottom) = (top + 24.0, top + 24.0 + PLOT_HEIGHT);
    let width = (WIDTH - LEFT - RIGHT) / (curve.points.len().max(2) - 1) as f64;
    let mut points = String::new();
    for (second, value) in curve.points.iter().enumerate() {
        let (x, y) = (LEFT + second as f64 * width, bottom - value / most * PLOT_HEIGHT);
        let _ = write!(points, "{x:.1},{y:.1} ");
    }
    let (label, right, unit, name) = (LEFT - 8.0, WIDTH - RIGHT, curve.unit, curve.name);
    let seconds = curve.points.len();
    let _ = write!(
        text,
        "<text x=\"{LEFT}\" y=\"{y}\">{name}, {unit}</text>\n\
         <line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\" stroke=\"{INK}\"/>\n\
         <text x=\"{label}\" y=\"{bottom}\" text-anchor=\"end\">0</text>\n\
         <text x=\"{label}\" y=\"{high}\" text-anchor=\"end\">{most:.0}</text>\n\
         <text x=\"{right}\" y=\"{below}\" text-anchor=\"end\">{seconds} s</text>\n\
         <polyline points=\"{points}\" fill=\"none\" stroke=\"{DATA}\" stroke-width=\"1.2\"/>\n",
        y = top + 14.0,
        high = from + 4.0,
        below = bottom + 14.0,
    );
}
