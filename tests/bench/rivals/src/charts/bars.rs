//! One workload: for each of its figures a cluster of bars, a system each, as multiples of hcube's.

use hcube_compare::figures::{Better, METRICS, Metric, Spread};
use hcube_compare::report::{Charted, number};
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{Area, Drawn, FAINT, GREY, LEGEND_WIDTH, colour_of, legend, line, step, text};

/// Charts that belong together.
pub struct Group {
    /// The file's name.
    pub name: &'static str,
    title: &'static str,
    /// The metrics, with a title each.
    metrics: &'static [(&'static str, &'static str)],
}

/// W1 to W8.
pub const GROUPS: [Group; 8] = [
    Group {
        name: "w1",
        title: "W1: one message of 256 B in flight",
        metrics: &[("w1", "rate"), ("w1-p50", "latency p50"), ("w1-p99", "latency p99")],
    },
    Group {
        name: "w2",
        title: "W2: 64 messages of 256 B in flight, one topic",
        metrics: &[
            ("w2", "rate"),
            ("w2-p50", "latency p50"),
            ("w2-p99", "latency p99"),
            ("w2-cpu", "processor time of servers"),
            ("w2-written", "written to disk"),
        ],
    },
    Group {
        name: "w3",
        title: "W3: as much as possible into one topic",
        metrics: &[
            ("w3-256", "256 B, rate"),
            ("w3-1k", "1 KiB, rate"),
            ("w3-16k", "16 KiB, rate"),
            ("w3-256-written", "256 B, written to disk"),
            ("w3-1k-written", "1 KiB, written to disk"),
            ("w3-16k-written", "16 KiB, written to disk"),
        ],
    },
    Group {
        name: "w4",
        title: "W4: 256 messages of 256 B in flight, 100 topics",
        metrics: &[
            ("w4", "rate"),
            ("w4-p50", "latency p50"),
            ("w4-p99", "latency p99"),
            ("w4-written", "written to disk"),
        ],
    },
    Group { name: "w5", title: "W5: one consumer reads back", metrics: &[("w5", "rate")] },
    Group {
        name: "w6",
        title: "W6: one publisher, 50 live subscribers",
        metrics: &[
            ("w6", "at full speed"),
            ("w6-p50", "delivery p50 at 200/s"),
            ("w6-p99", "delivery p99 at 200/s"),
        ],
    },
    Group {
        name: "w7",
        title: "W7: kill -9 of the leader",
        metrics: &[("w7-gap", "nothing acknowledged for")],
    },
    Group {
        name: "w8",
        title: "W8: start and memory",
        metrics: &[
            ("w8-start", "start to first acknowledgement"),
            ("w8-idle", "idle, largest server"),
            ("w8-loaded", "after W3, all servers"),
        ],
    },
];

/// Bars that are higher end here and say how high they are.
const MOST: f64 = 8.0;
const BAR_WIDTH: i32 = 30;
const LEFT: i32 = 50;
const TOP: i32 = 100;
const PLOT_HEIGHT: i32 = 230;
const HEIGHT: u32 = 408;
const WIDTH_LEAST: i32 = 580;
const CLUSTER_WIDTH_LEAST: i32 = 170;
/// Where hcube stands.
const OURS: RGBColor = RGBColor(160, 200, 225);

/// A metric that hcube and others have figures of.
struct Cluster {
    title: &'static str,
    metric: &'static Metric,
    ours: Spread,
    /// Systems with their figures.
    bars: Vec<(String, Spread)>,
}

/// A chart that can be drawn.
pub struct Chart {
    title: &'static str,
    systems: Vec<String>,
    clusters: Vec<Cluster>,
    /// Most of the rounds that a figure comes from.
    rounds: usize,
}

impl Chart {
    /// Of what was measured; none where hcube has no figure to be compared with.
    pub fn of(group: &'static Group, charted: &Charted) -> Option<Self> {
        let clusters: Vec<Cluster> =
            group.metrics.iter().filter_map(|(name, title)| cluster(name, title, charted)).collect();
        let takes_part = |system: &&String| {
            clusters.iter().any(|cluster| cluster.bars.iter().any(|(name, _)| name == *system))
        };
        let systems = charted.systems.iter().filter(takes_part).cloned().collect();
        let rounds = clusters.iter().map(|cluster| cluster.ours.rounds).max()?;
        Some(Self { title: group.title, systems, clusters, rounds })
    }

    /// Pixels across and down.
    pub fn size(&self) -> (u32, u32) {
        ((self.right() + 20).unsigned_abs(), HEIGHT)
    }

    fn cluster_width(&self) -> i32 {
        let bars = self.systems.len() as i32 * BAR_WIDTH + 30;
        // Few clusters have the room that the lines above them take.
        let above = (self.systems.len() as i32 * LEGEND_WIDTH).max(WIDTH_LEAST) - LEFT;
        bars.max(CLUSTER_WIDTH_LEAST).max(above / self.clusters.len() as i32)
    }

    fn right(&self) -> i32 {
        LEFT + self.cluster_width() * self.clusters.len() as i32
    }

    /// Draws it into an area of that size.
    pub fn draw(&self, area: &Area<'_>) -> Drawn {
        text(area, self.title, (LEFT - 30, 20), 18, BLACK, HPos::Left)?;
        let rounds = match self.rounds {
            1 => "one round".to_owned(),
            rounds => format!("medians of {rounds} rounds, lines from min to max"),
        };
        let tallest = self.clusters.iter().flat_map(Cluster::multiples).fold(1.0, f64::max);
        let cut = if tallest > MOST { format!("; bars beyond {MOST}x end there") } else { String::new() };
        let about = format!("multiples of hcube's figure; {rounds}{cut}");
        text(area, &about, (LEFT - 30, 42), 13, GREY, HPos::Left)?;
        legend(area, self.systems.iter().map(String::as_str), (LEFT - 30, 66))?;
        let tallest = tallest.min(MOST);
        let scale = Scale { most: tallest * 1.08 };
        self.draw_axis(area, &scale, tallest)?;
        // Behind bars and figures, which must stay legible.
        line(area, vec![(LEFT, scale.y(1.0)), (self.right(), scale.y(1.0))], OURS, 2)?;
        for (turn, cluster) in self.clusters.iter().enumerate() {
            let left = LEFT + turn as i32 * self.cluster_width();
            cluster.draw(area, &scale, (left, left + self.cluster_width()))?;
        }
        Ok(())
    }

    fn draw_axis(&self, area: &Area<'_>, scale: &Scale, tallest: f64) -> Drawn {
        let right = self.right();
        let step = step(tallest);
        for turn in 0..=(tallest / step) as u32 {
            let multiple = f64::from(turn) * step;
            line(area, vec![(LEFT, scale.y(multiple)), (right, scale.y(multiple))], FAINT, 1)?;
            let label = format!("{}x", (multiple * 100.0).round() / 100.0);
            text(area, &label, (LEFT - 6, scale.y(multiple)), 12, GREY, HPos::Right)?;
        }
        Ok(())
    }
}

impl Cluster {
    fn multiples(&self) -> impl Iterator<Item = f64> {
        self.bars.iter().map(|(_, spread)| spread.median / self.ours.median)
    }

    fn draw(&self, area: &Area<'_>, scale: &Scale, (left, right): (i32, i32)) -> Drawn {
        let middle = i32::midpoint(left, right);
        let first = middle - self.bars.len() as i32 * BAR_WIDTH / 2;
        for (turn, (system, spread)) in self.bars.iter().enumerate() {
            let x = first + turn as i32 * BAR_WIDTH;
            let multiple = spread.median / self.ours.median;
            let bar = [(x + 2, scale.y(multiple)), (x + BAR_WIDTH - 2, scale.y(0.0))];
            area.draw(&Rectangle::new(bar, colour_of(system).filled()))?;
            let [low, high] = [spread.min, spread.max].map(|figure| scale.y(figure / self.ours.median));
            if low != high {
                line(area, vec![(x + BAR_WIDTH / 2, low), (x + BAR_WIDTH / 2, high)], BLACK, 1)?;
            }
            let above = scale.y(multiple).min(high) - 9;
            text(area, &times(multiple), (x + BAR_WIDTH / 2, above), 11, BLACK, HPos::Center)?;
        }
        let better = if self.metric.better == Better::More { "more is better" } else { "less is better" };
        let below = TOP + PLOT_HEIGHT;
        text(area, self.title, (middle, below + 18), 13, BLACK, HPos::Center)?;
        let ours = format!("hcube: {} {}", number(self.ours.median), self.metric.unit);
        text(area, &ours, (middle, below + 36), 12, GREY, HPos::Center)?;
        text(area, better, (middle, below + 54), 12, GREY, HPos::Center)
    }
}

/// The vertical axis, from nothing to the most.
struct Scale {
    most: f64,
}

impl Scale {
    fn y(&self, multiple: f64) -> i32 {
        let share = (multiple / self.most).clamp(0.0, 1.0);
        TOP + PLOT_HEIGHT - (share * f64::from(PLOT_HEIGHT)) as i32
    }
}

fn cluster(name: &str, title: &'static str, charted: &Charted) -> Option<Cluster> {
    let metric = METRICS.iter().find(|metric| metric.name == name)?;
    let ours = charted.results.spread("hcube", name).filter(|ours| ours.median > 0.0)?;
    let bar = |system: &String| Some((system.clone(), charted.results.spread(system, name)?));
    let bars = charted.systems.iter().filter_map(bar).collect();
    Some(Cluster { title, metric, ours, bars })
}

fn times(multiple: f64) -> String {
    let digits = if multiple >= 10.0 {
        0
    } else if multiple >= 1.0 {
        1
    } else {
        2
    };
    format!("{multiple:.digits$}")
}
