//! Charts of a run, as SVG: for each of W1 to W8 how the systems stand to hcube, and how W9's rates go as topics and peers
//! become more. They are drawn by hand, in pixels, because they are few shapes and shall stay small files.

mod bars;
mod growth;

use std::path::Path;

use anyhow::{Result, anyhow};
use hcube_compare::report::Charted;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// One colour a system, by its name, the same in every chart. Told apart by the colour-blind too (Okabe, Ito).
const COLOURS: [(&str, RGBColor); 6] = [
    ("hcube", RGBColor(0, 114, 178)),
    ("hcube-http", RGBColor(86, 180, 233)),
    ("nats-default", RGBColor(230, 159, 0)),
    ("nats-sync", RGBColor(213, 94, 0)),
    ("kafka-default", RGBColor(0, 158, 115)),
    ("kafka-sync", RGBColor(204, 121, 167)),
];
const FAINT: RGBColor = RGBColor(221, 221, 221);
const GREY: RGBColor = RGBColor(90, 90, 90);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Draws the charts into a folder: `w1.svg` to `w9.svg`, those that there are figures for.
pub fn draw(charted: &Charted, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for group in &bars::GROUPS {
        if let Some(chart) = bars::Chart::of(group, charted) {
            write(&folder.join(format!("{}.svg", group.name)), chart.size(), |area| chart.draw(area))?;
        }
    }
    if let Some(chart) = growth::Chart::of(charted) {
        write(&folder.join("w9.svg"), growth::SIZE, |area| chart.draw(area))?;
    }
    Ok(())
}

fn write(path: &Path, size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Drawn) -> Result<()> {
    let area = SVGBackend::new(path, size).into_drawing_area();
    let drawn = area.fill(&WHITE).map_err(Into::into).and_then(|()| draw(&area));
    drawn.and_then(|()| Ok(area.present()?)).map_err(|error| anyhow!("{}: {error}", path.display()))
}

fn colour_of(system: &str) -> RGBColor {
    COLOURS.iter().find(|(name, _)| *name == system).map_or(GREY, |(_, colour)| *colour)
}

/// Writes a line of text, so many pixels high, beside, above or below a point.
fn text(area: &Area<'_>, line: &str, at: (i32, i32), size: u32, colour: RGBColor, across: HPos) -> Drawn {
    let style = ("sans-serif", size).into_font().color(&colour).pos(Pos::new(across, VPos::Center));
    Ok(area.draw(&Text::new(line, at, style))?)
}

fn line(area: &Area<'_>, points: Vec<(i32, i32)>, colour: RGBColor, width: u32) -> Drawn {
    Ok(area.draw(&PathElement::new(points, colour.stroke_width(width)))?)
}

/// The systems' colours in a row.
fn legend<'a>(area: &Area<'_>, systems: impl Iterator<Item = &'a str>, (mut x, y): (i32, i32)) -> Drawn {
    for system in systems {
        area.draw(&Rectangle::new([(x, y - 5), (x + 11, y + 6)], colour_of(system).filled()))?;
        text(area, system, (x + 16, y), 13, BLACK, HPos::Left)?;
        x += LEGEND_WIDTH;
    }
    Ok(())
}

/// Pixels of each system in a legend.
const LEGEND_WIDTH: i32 = 112;

/// The step between an axis' lines: few of them, at round numbers.
fn step(most: f64) -> f64 {
    let power = 10_f64.powf(most.log10().floor());
    let steps = [0.1, 0.2, 0.5, 1.0, 2.0].map(|part| part * power);
    steps.into_iter().find(|step| most / step <= 6.0).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use hcube_compare::figures::{METRICS, Results};

    use super::*;

    /// A run in which everything was measured in three rounds, with figures far apart.
    fn everything() -> Charted {
        let systems: Vec<String> = COLOURS.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut results = Results::default();
        for (turn, system) in systems.iter().enumerate() {
            for round in 0..3 {
                for (number, metric) in METRICS.iter().enumerate() {
                    let figure = 10.0 + (number * 37 + turn * 91 + round * 5) as f64 * (1 + turn) as f64;
                    results.add(system, metric.name, figure);
                }
                for (load, kind, steps) in
                    [("w2", "topics", &[1, 100, 10_000][..]), ("w4", "peers", &[3, 5, 8, 16])]
                {
                    for step in steps {
                        let figure = 1000.0 * (turn + 1) as f64 - f64::from(*step) / 20.0;
                        results.add(system, &format!("w9-{load}-{kind}-{step}"), figure);
                    }
                }
            }
        }
        Charted { systems, results }
    }

    #[test]
    fn charts_of_a_full_run_are_small_files() {
        let folder = tempfile::tempdir().unwrap();
        draw(&everything(), folder.path()).unwrap();
        for group in 1..=9 {
            let text = std::fs::read_to_string(folder.path().join(format!("w{group}.svg"))).unwrap();
            assert!(text.starts_with("<svg") && text.contains("hcube"), "w{group}");
            assert!(text.len() < 40_000, "w{group}: {} bytes", text.len());
        }
    }

    #[test]
    fn what_was_not_measured_has_no_chart() {
        let folder = tempfile::tempdir().unwrap();
        let mut results = Results::default();
        results.add("nats-sync", "w1", 900.0);
        results.add("hcube", "w2", 900.0);
        draw(&Charted { systems: vec!["hcube".into(), "nats-sync".into()], results }, folder.path()).unwrap();
        let names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(names, ["w2.svg"]);
    }

    #[test]
    fn axes_have_few_lines_at_round_numbers() {
        assert_eq!([1.0, 3.7, 9.0, 45_000.0].map(step), [0.2, 1.0, 2.0, 10_000.0]);
    }
}
