//! How much of the processors went to whoever is not part of the comparison: figures that others disturbed say so.

use std::fs;

use crate::servers::Servers;

/// Processor time at the beginning of a look, in ticks (USER_HZ, proc(5)).
#[derive(Debug)]
pub struct Strangers {
    busy: f64,
    all: f64,
    ours: f64,
}

impl Strangers {
    /// Begins to look.
    #[must_use]
    pub fn begin(servers: &Servers) -> Self {
        let (busy, all) = machine();
        Self { busy, all, ours: ours(servers) }
    }

    /// The share of all processors since then that neither the servers nor this process had, in percent; none where
    /// nothing was counted.
    #[must_use]
    pub fn percent(&self, servers: &Servers) -> Option<f64> {
        let (busy, all) = machine();
        let all = all - self.all;
        // A server that was killed takes its count with it.
        let ours = (ours(servers) - self.ours).max(0.0);
        (all > 0.0).then(|| 100.0 * ((busy - self.busy - ours) / all).clamp(0.0, 1.0))
    }
}

/// Busy and all ticks of the machine so far. Time that the hypervisor gave to others counts as busy.
fn machine() -> (f64, f64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    // user nice system idle iowait irq softirq steal; what guests had is in user already.
    let ticks: Vec<f64> =
        line.split_whitespace().skip(1).take(8).filter_map(|field| field.parse().ok()).collect();
    let all: f64 = ticks.iter().sum();
    let idle: f64 = ticks.iter().skip(3).take(2).sum();
    (all - idle, all)
}

fn ours(servers: &Servers) -> f64 {
    let own = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = own.rsplit_once(") ").map(|(_, rest)| rest.split(' '));
    let own: f64 =
        fields.into_iter().flatten().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    own + servers.0.iter().filter_map(|server| server.processor_seconds().ok()).sum::<f64>() * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_percentage() {
        let servers = Servers::default();
        let strangers = Strangers::begin(&servers);
        std::thread::sleep(std::time::Duration::from_millis(50));
        let share = strangers.percent(&servers).unwrap();
        assert!((0.0..=100.0).contains(&share));
    }
}
