//! Charts of a run, as SVG: hcube over each other system, and how rates grow with topics and peers.

use std::path::Path;

use anyhow::{Result, anyhow};
use hcube_compare::figures::{Better, METRICS};
use hcube_compare::report::Report;
use plotters::coord::Shift;
use plotters::prelude::*;

/// One colour a system, in the order of the columns; the first is hcube's. Told apart by the colour-blind too (Okabe, Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
];
const FONT: &str = "sans-serif";
/// Ratios beyond these are drawn at them.
const RATIOS: std::ops::Range<f64> = 0.05..100.0;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws the charts into a folder: `ratios.svg`, and `topics.svg` and `peers.svg` where W9 was measured.
pub fn draw(report: &Report, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join("ratios.svg");
    let area = SVGBackend::new(&path, (1100, 420)).into_drawing_area();
    ratios(report, &area).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    let peers = report.scale.peers.iter().map(|peers| usize::from(*peers)).collect();
    for (kind, steps) in [("topics", report.scale.topics.to_vec()), ("peers", peers)] {
        let lines = grown(report, kind, &steps);
        if !lines.is_empty() {
            let path = folder.join(format!("{kind}.svg"));
            let area = SVGBackend::new(&path, (800, 420)).into_drawing_area();
            growth(kind, &lines, &area).map_err(|error| anyhow!("{}: {error}", path.display()))?;
        }
    }
    Ok(())
}

/// For each metric a group of bars, one for each other system: how many times better hcube is.
fn ratios(report: &Report, area: &Area<'_>) -> Result<(), Box<dyn std::error::Error>> {
    let wanted = [
        "w1",
        "w2",
        "w2-p99",
        "w3-256",
        "w3-1k",
        "w3-16k",
        "w4",
        "w5",
        "w6",
        "w6-p99",
        "w7-gap",
        "w8-loaded",
    ];
    let metrics: Vec<_> = METRICS.iter().filter(|metric| wanted.contains(&metric.name)).collect();
    let others: Vec<_> = report.systems.iter().enumerate().filter(|(_, (name, _))| name != "hcube").collect();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .caption("How many times better hcube is (above 1) or worse (below), median over median", (FONT, 18))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(50)
        .build_cartesian_2d(0.0..metrics.len() as f64, RATIOS.log_scale())?;
    let label = |at: &f64| {
        let metric = metrics.get(at.floor() as usize).filter(|_| (at.fract() - 0.5).abs() < 0.01);
        metric.map_or(String::new(), |metric| metric.name.to_owned())
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(2 * metrics.len() + 1)
        .x_label_formatter(&label)
        .y_label_formatter(&|ratio| format!("{ratio}x"))
        .draw()?;
    let width = 0.8 / others.len().max(1) as f64;
    for (turn, (colour, (name, _))) in others.iter().enumerate() {
        let colour = COLOURS[colour % COLOURS.len()];
        let bars = metrics.iter().enumerate().filter_map(|(at, metric)| {
            let ours = report.results.spread("hcube", metric.name)?.median;
            let theirs = report.results.spread(name, metric.name)?.median;
            let better = if metric.better == Better::More { ours / theirs } else { theirs / ours };
            let better = better.clamp(RATIOS.start, RATIOS.end);
            let left = at as f64 + 0.1 + turn as f64 * width;
            Some(Rectangle::new([(left, 1.0), (left + width * 0.9, better)], colour.filled()))
        });
        chart
            .draw_series(bars)?
            .label(name.as_str())
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
    }
    let all = metrics.len() as f64;
    chart.draw_series(LineSeries::new([(0.0, 1.0), (all, 1.0)], BLACK.stroke_width(1)))?;
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    Ok(area.present()?)
}

/// A line of a chart: its name, its colour, its points.
struct Line {
    name: String,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

fn grown(report: &Report, kind: &str, steps: &[usize]) -> Vec<Line> {
    let mut lines = Vec::new();
    for (turn, (system, _)) in report.systems.iter().enumerate() {
        for load in ["w2", "w4"] {
            let points = steps.iter().filter_map(|step| {
                let spread = report.results.spread(system, &format!("w9-{load}-{kind}-{step}"))?;
                Some((*step as f64, spread.median))
            });
            let points: Vec<_> = points.collect();
            if !points.is_empty() {
                let colour = COLOURS[turn % COLOURS.len()];
                lines.push(Line { name: format!("{system} {load}"), colour, points });
            }
        }
    }
    lines
}

fn growth(kind: &str, lines: &[Line], area: &Area<'_>) -> Result<(), Box<dyn std::error::Error>> {
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let last = points().map(|(step, _)| step).fold(1.0, f64::max);
    let first = points().map(|(step, _)| step).fold(last, f64::min);
    let most = points().map(|(_, rate)| rate).fold(1.0, f64::max);
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .caption(format!("Messages a second with more {kind}: W2 solid dots, W4 rings"), (FONT, 18))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d((first..last * 1.1).log_scale(), 0.0..most * 1.1)?;
    chart.configure_mesh().x_desc(kind).y_desc("msg/s").draw()?;
    for line in lines {
        let (colour, filled) = (line.colour, line.name.ends_with("w2"));
        let style = if filled { colour.filled() } else { colour.stroke_width(2) };
        chart.draw_series(LineSeries::new(line.points.iter().copied(), colour.stroke_width(2)))?;
        chart
            .draw_series(line.points.iter().map(|point| Circle::new(*point, 4, style)))?
            .label(line.name.as_str())
            .legend(move |(x, y)| Circle::new((x + 6, y), 4, style));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    Ok(area.present()?)
}
