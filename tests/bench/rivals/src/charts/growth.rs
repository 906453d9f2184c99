//! W9: how the rates of W2 and W4 go as topics and peers become more, a panel each.

use std::collections::BTreeMap;

use hcube_compare::report::{Charted, number};
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{Area, Drawn, FAINT, GREY, colour_of, legend, line, step, text};

/// Pixels across and down.
pub const SIZE: (u32, u32) = (960, 680);
const PANEL: (i32, i32) = (470, 300);
const TOP: i32 = 80;
/// Within a panel: left and upper edge of the plot, its width and height.
const PLOT: (i32, i32, i32, i32) = (66, 30, 380, 210);

/// Rates of one system: topics or peers, messages a second.
type Points = BTreeMap<u32, f64>;

/// One load that grows in one way.
struct Panel {
    title: &'static str,
    kind: &'static str,
    lines: Vec<(String, Points)>,
}

/// A chart that can be drawn.
pub struct Chart {
    systems: Vec<String>,
    panels: Vec<Panel>,
}

impl Chart {
    /// Of what was measured; none where nothing was.
    pub fn of(charted: &Charted) -> Option<Self> {
        let kinds = [
            ("w2", "topics", "W2: 64 in flight, one of so many topics"),
            ("w4", "topics", "W4: 256 in flight over all topics"),
            ("w2", "peers", "W2: 64 in flight, one topic on so many peers"),
            ("w4", "peers", "W4: 256 in flight, 100 topics on so many peers"),
        ];
        let panel = |(load, kind, title)| {
            let prefix = format!("w9-{load}-{kind}-");
            let lines =
                charted.systems.iter().map(|system| (system.clone(), points(charted, system, &prefix)));
            Panel { title, kind, lines: lines.filter(|(_, points)| !points.is_empty()).collect() }
        };
        let panels: Vec<Panel> =
            kinds.into_iter().map(panel).filter(|panel| !panel.lines.is_empty()).collect();
        let takes_part =
            |system: &&String| panels.iter().any(|panel| panel.lines.iter().any(|(name, _)| name == *system));
        let systems: Vec<String> = charted.systems.iter().filter(takes_part).cloned().collect();
        (!systems.is_empty()).then_some(Self { systems, panels })
    }

    /// Draws it into an area of that size.
    pub fn draw(&self, area: &Area<'_>) -> Drawn {
        text(area, "W9: messages a second as topics and peers become more", (20, 20), 18, BLACK, HPos::Left)?;
        legend(area, self.systems.iter().map(String::as_str), (20, 48))?;
        for (turn, panel) in self.panels.iter().enumerate() {
            let (across, down) = (turn as i32 % 2, turn as i32 / 2);
            panel.draw(area, (across * PANEL.0, TOP + down * PANEL.1))?;
        }
        Ok(())
    }
}

impl Panel {
    fn draw(&self, area: &Area<'_>, (x, y): (i32, i32)) -> Drawn {
        let (left, top, width, height) = (x + PLOT.0, y + PLOT.1, PLOT.2, PLOT.3);
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let most = points().map(|(_, rate)| *rate).fold(1.0, f64::max);
        let mut steps: Vec<u32> = points().map(|(step, _)| *step).collect();
        steps.sort_unstable();
        steps.dedup();
        let row = |rate: f64| top + height - (rate / (most * 1.05) * f64::from(height)) as i32;
        // Each step is as far from the next, whatever it counts.
        let column = |count: u32| {
            let place = steps.iter().position(|step| *step == count).unwrap_or_default() as i32;
            left + 20 + (width - 40) * place / (steps.len() as i32 - 1).max(1)
        };
        text(area, self.title, (left, y + 10), 14, BLACK, HPos::Left)?;
        let step = step(most);
        for turn in 0..=(most / step) as u32 {
            let rate = f64::from(turn) * step;
            line(area, vec![(left, row(rate)), (left + width, row(rate))], FAINT, 1)?;
            text(area, &number(rate), (left - 6, row(rate)), 12, GREY, HPos::Right)?;
        }
        for count in &steps {
            let at = (column(*count), top + height + 14);
            text(area, &whole(*count), at, 12, GREY, HPos::Center)?;
        }
        text(area, self.kind, (left + width / 2, top + height + 32), 12, GREY, HPos::Center)?;
        text(area, "msg/s", (left - 6, y + 10), 12, GREY, HPos::Right)?;
        for (system, points) in &self.lines {
            let colour = colour_of(system);
            let places: Vec<_> = points.iter().map(|(count, rate)| (column(*count), row(*rate))).collect();
            for place in &places {
                area.draw(&Circle::new(*place, 4, colour.filled()))?;
            }
            line(area, places, colour, 2)?;
        }
        Ok(())
    }
}

/// A count, thousands apart.
fn whole(count: u32) -> String {
    if count < 1000 { count.to_string() } else { number(f64::from(count)) }
}

/// The figures whose names begin so and end in a number.
fn points(charted: &Charted, system: &str, prefix: &str) -> Points {
    let metrics = charted.results.figures.get(system).into_iter().flat_map(BTreeMap::keys);
    let point = |metric: &String| {
        let count = metric.strip_prefix(prefix)?.parse().ok()?;
        Some((count, charted.results.spread(system, metric)?.median))
    };
    metrics.filter_map(point).collect()
}
