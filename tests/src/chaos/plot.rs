//! Histograms of times, as text and as SVG.

use std::time::Duration;

use super::tally::percentile;
use crate::svg::{DATA, INK, LEFT, RIGHT, WIDTH, document, escaped};

/// The maximum number of columns of a histogram.
const COLUMNS_MAX: u64 = 40;
/// The maximum number of ticks of an axis.
const TICKS_MAX: u64 = 8;
/// The length of the longest bar in characters.
const BAR_WIDTH: usize = 50;

/// The sizes of the picture's parts, in pixels.
const PANEL_HEIGHT: f64 = 230.0;
const TOP: f64 = 64.0;
const PLOT_HEIGHT: f64 = 120.0;

const GRID: &str = "#7d859040";
const MEDIAN: &str = "#d4760a";
const TAIL: &str = "#d1434b";

/// Returns the least of 1, 2, 5, 10, 20, 50, … of which at most `count` cover `sum`.
fn step(sum: u64, most: u64) -> u64 {
    let steps = (0..).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_u64.saturating_pow(power)));
    steps.into_iter().find(|step| sum.div_ceil(*step) <= most).unwrap_or(u64::MAX)
}

/// Returns the number of times in each column, and the width of a column in milliseconds.
fn columns(times: &[Duration]) -> (Vec<u64>, u64) {
    let millis: Vec<u64> = times.iter().map(|time| time.as_millis() as u64).collect();
    let most = millis.iter().max().map_or(1, |most| most + 1);
    let width = step(most, COLUMNS_MAX);
    let mut columns = vec![0; most.div_ceil(width) as usize];
    millis.iter().for_each(|time| columns[(time / width) as usize] += 1);
    (columns, width)
}

/// Draws a histogram as text, one line for each column.
pub fn text(times: &[Duration]) -> String {
    let (columns, width) = columns(times);
    let most = columns.iter().copied().max().unwrap_or(1).max(1) as usize;
    let mut text = String::new();
    for (index, count) in columns.iter().enumerate() {
        let bar = "#".repeat((*count as usize * BAR_WIDTH).div_ceil(most));
        text += format!("{:>6} {count:>4} {bar}", index as u64 * width).trim_end();
        text.push('\n');
    }
    text
}

/// Draws titled histograms below each other, with a common time axis, as SVG.
pub fn svg(title: &str, panels: &[(&str, &[Duration])]) -> String {
    let height = 48.0 + PANEL_HEIGHT * panels.len() as f64;
    let most = panels.iter().flat_map(|(_, times)| times.iter()).max().copied().unwrap_or_default();
    let most_ms = most.as_millis() as u64 + 1;
    let tick = step(most_ms, TICKS_MAX);
    let scale = (WIDTH - LEFT - RIGHT) / (most_ms.div_ceil(tick) * tick) as f64;
    let mut text = String::new();
    for (index, (name, times)) in panels.iter().enumerate() {
        panel(
            &mut text,
            40.0 + PANEL_HEIGHT * index as f64,
            name,
            times,
            (most_ms.div_ceil(tick), tick, scale),
        );
    }
    document(title, height, &text)
}

/// Draws one histogram, `above` pixels below the edge. The axis: number of ticks, their distance in milliseconds, pixels per
/// millisecond.
fn panel(
    text: &mut String,
    above: f64,
    name: &str,
    times: &[Duration],
    (ticks, tick, scale): (u64, u64, f64),
) {
    let base = above + TOP + PLOT_HEIGHT;
    let right = WIDTH - RIGHT;
    let (columns, width) = columns(times);
    let most = columns.iter().copied().max().unwrap_or(1).max(1);
    let rung = step(most, 4);
    let tall = |count: u64| PLOT_HEIGHT * count as f64 / (most.div_ceil(rung) * rung) as f64;
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        *text += &arguments.to_string();
        text.push('\n');
    };
    line(format_args!(
        "<text x=\"{LEFT}\" y=\"{:.1}\" font-weight=\"bold\">{}</text>",
        above + 22.0,
        escaped(name)
    ));
    for count in (0..=most.div_ceil(rung)).map(|rungs| rungs * rung) {
        let y = base - tall(count);
        line(format_args!("<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"{GRID}\"/>"));
        line(format_args!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{count}</text>",
            LEFT - 8.0,
            y + 4.0
        ));
    }
    for (index, count) in columns.iter().enumerate().filter(|(_, count)| **count > 0) {
        let (x, wide, tall) =
            (LEFT + (index as u64 * width) as f64 * scale, width as f64 * scale, tall(*count));
        line(format_args!(
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{tall:.1}\" fill=\"{DATA}\"/>",
            base - tall,
            (wide - 1.0).max(0.5)
        ));
    }
    line(format_args!("<path d=\"M{LEFT} {base:.1}H{right}\" stroke=\"{INK}\"/>"));
    for at in (0..=ticks).map(|ticks| ticks * tick) {
        let x = LEFT + at as f64 * scale;
        line(format_args!("<path d=\"M{x:.1} {base:.1}v5\" stroke=\"{INK}\"/>"));
        line(format_args!("<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{at}</text>", base + 18.0));
    }
    let (middle, low) = ((LEFT + right) / 2.0, base + 36.0);
    line(format_args!(
        "<text x=\"{middle:.1}\" y=\"{low:.1}\" text-anchor=\"middle\">milliseconds after the kill</text>"
    ));
    let halfway = base - PLOT_HEIGHT / 2.0;
    line(format_args!(
        "<text transform=\"translate(16 {halfway:.1}) rotate(-90)\" text-anchor=\"middle\">kills</text>"
    ));
    // Two labels in two rows, since their lines may be close together.
    for (percent, colour, y) in [(50, MEDIAN, above + 38.0), (99, TAIL, above + 54.0)] {
        let time = percentile(times, percent).unwrap_or_default();
        let x = LEFT + time.as_secs_f64() * 1_000.0 * scale;
        let (anchor, shift) = if x > WIDTH * 0.7 { ("end", -5.0) } else { ("start", 5.0) };
        line(format_args!(
            "<path d=\"M{x:.1} {base:.1}V{:.1}\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
            y - 8.0
        ));
        line(format_args!(
            "<text x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">p{percent} {:.0} ms</text>",
            x + shift,
            time.as_secs_f64() * 1_000.0
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_enough() {
        for (sum, most, expected) in
            [(1, 8, 1), (8, 8, 1), (9, 8, 2), (40, 8, 5), (41, 8, 10), (1_234, 8, 200)]
        {
            assert_eq!(step(sum, most), expected, "{sum} in {most}");
        }
    }

    #[test]
    fn every_time_is_in_its_column() {
        let times: Vec<Duration> = [0, 4, 5, 9, 199].map(Duration::from_millis).to_vec();
        let (columns, width) = columns(&times);
        assert_eq!((width, columns.len()), (5, 40));
        assert_eq!((columns[0], columns[1], columns[39], columns.iter().sum::<u64>()), (2, 2, 1, 5));
        assert_eq!(text(&times[..4]).lines().count(), 10);
        assert_eq!(text(&[]), "     0    0\n");
    }

    #[test]
    fn the_picture_says_what_it_shows() {
        let times: Vec<Duration> = (0..200).map(|index| Duration::from_millis(50 + index % 70)).collect();
        let picture = svg("a < b", &[("first", &times), ("every", &times)]);
        for part in
            ["a &lt; b", ">first<", ">every<", "p50 ", "p99 ", ">milliseconds after the kill<", ">kills<"]
        {
            assert!(picture.contains(part), "{part}");
        }
        // As many bars as columns that are not empty, twice.
        assert_eq!(
            picture.matches("<rect ").count(),
            2 * columns(&times).0.iter().filter(|count| **count > 0).count()
        );
    }
}
