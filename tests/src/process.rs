//! A peer's process, as the state file of `hcube local` names it.

use std::fs;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::Value;

/// A process, named by number and start, so that one that got the same number later is never signalled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its number.
    pub pid: u32,
    start_ticks: u64,
}

impl Peer {
    /// The process in one entry of the state file's `peers`; none where that peer was stopped.
    #[must_use]
    pub fn of_state(entry: &Value) -> Option<Self> {
        let number = |name: &str| entry[name].as_u64();
        Some(Self { pid: u32::try_from(number("pid")?).ok()?, start_ticks: number("start_ticks")? })
    }

    /// Whether it runs: neither ended, nor a zombie, nor another process by now.
    #[must_use]
    pub fn runs(&self) -> bool {
        stat(self.pid).is_some_and(|(state, ticks)| state != 'Z' && ticks == self.start_ticks)
    }

    /// Sends a signal; whether there was anybody to get it.
    #[must_use]
    pub fn signal(&self, signal: Signal) -> bool {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return false };
        // Opened before the look at the start: from here on the number cannot change hands.
        let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
        self.runs() && pidfd_send_signal(&descriptor, signal).is_ok()
    }
}

/// State and start time of a process, fields 3 and 22 of `/proc/PID/stat` (proc(5)).
fn stat(pid: u32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = after_name.split(' ').collect();
    Some((fields.first()?.chars().next()?, fields.get(19)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_was_named_is_signalled() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let (_, start_ticks) = stat(child.id()).unwrap();
        let peer = Peer { pid: child.id(), start_ticks };
        let namesake = Peer { start_ticks: start_ticks + 1, ..peer.clone() };
        assert!(!namesake.runs() && !namesake.signal(Signal::KILL));
        assert!(peer.runs() && peer.signal(Signal::KILL));
        child.wait().unwrap();
        assert!(!peer.runs());
    }
}
