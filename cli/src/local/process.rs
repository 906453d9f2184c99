//! A process that another command started: found again, and never mistaken for one that got its number.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// How often the end of a process is looked for.
const POLL: Duration = Duration::from_millis(10);

/// A process, named by what no other process has in common with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number, which is reused after it ended.
    pub pid: u32,
    /// When it started, in clock ticks since the machine did.
    start_ticks: u64,
    /// Which start of the machine that was.
    boot_id: String,
}

impl Process {
    /// The process that has this number now; none where it has ended.
    pub fn of(pid: u32) -> Option<Self> {
        let start_ticks = start_ticks(pid)?;
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        Some(Self { pid, start_ticks, boot_id })
    }

    /// Whether it still runs, with any of its threads. One that ended and was not waited for does not.
    pub fn is_running(&self) -> bool {
        !has_ended(self.pid) && Self::of(self.pid).as_ref() == Some(self)
    }

    /// Sends a signal; whether there was anybody to get it.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(false) };
        // The descriptor stays with this process, so after the check below its number cannot change hands.
        let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(false) };
        if !self.is_running() {
            return Ok(false);
        }
        match pidfd_send_signal(&descriptor, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for its end; whether it came in time.
    pub async fn ends_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.is_running() {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
        true
    }
}

/// Whether the process is gone with all its threads. Its first thread may be a zombie long before that, while the
/// others still hold its ports and its directory (pidfd_open(2)).
fn has_ended(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return true };
    let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else { return true };
    let mut ends = [PollFd::new(&descriptor, PollFlags::IN)];
    poll(&mut ends, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

/// Start time from `/proc/PID/stat` (proc(5), field 22).
fn start_ticks(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, which may itself hold spaces and parentheses.
    let (_, fields) = text.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    fields.nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_runs_until_it_is_told_to_end() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        assert!(process.is_running());
        assert!(process.signal(Signal::TERM).unwrap());
        child.wait().unwrap();
        assert!(!process.is_running());
        assert!(!process.signal(Signal::TERM).unwrap());
    }

    #[test]
    fn a_reused_number_is_never_signalled() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        let earlier = Process { start_ticks: process.start_ticks - 1, ..process.clone() };
        let rebooted = Process { boot_id: "another".into(), ..process.clone() };
        for stranger in [earlier, rebooted] {
            assert!(!stranger.is_running());
            assert!(!stranger.signal(Signal::KILL).unwrap());
        }
        assert!(process.is_running());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn a_process_nobody_waited_for_has_ended() {
        let mut child = Command::new("true").spawn().unwrap();
        let process = Process::of(child.id());
        if let Some(process) = process {
            assert!(process.ends_within(Duration::from_secs(10)).await);
        }
        child.wait().unwrap();
    }
}
