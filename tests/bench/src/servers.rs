//! Processes of a system: found, measured and ended by their own ids, never by a name.

use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How long a killed process may take to be gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server process. It is killed when dropped.
#[derive(Debug)]
pub struct Server {
    /// Its number.
    pub pid: u32,
    // Stays with this process, whoever gets the number afterwards.
    handle: OwnedFd,
    /// Where it is our own child, it has to be waited for.
    child: Option<Mutex<Child>>,
}

impl Server {
    /// A process that somebody else started.
    ///
    /// # Errors
    /// When there is none of this number.
    pub fn of(pid: u32) -> Result<Self> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).context("a process id is positive")?;
        let handle =
            pidfd_open(raw, PidfdFlags::empty()).with_context(|| format!("process {pid} is gone"))?;
        Ok(Self { pid, handle, child: None })
    }

    /// Starts a process that says what it has to say into a file.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let out = fs::File::create(log)?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let mut server = Self::of(child.id())?;
        server.child = Some(Mutex::new(child));
        Ok(server)
    }

    /// Resident memory, in bytes.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn resident_bytes(&self) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        Ok(kib.context("a process has VmRSS (proc(5))")? * 1024)
    }

    /// Processor time so far, of its own and of the kernel for it.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn processor_seconds(&self) -> Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        let fields = text.rsplit_once(") ").map(|(_, rest)| rest.split(' ')).context("proc(5)")?;
        let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
        Ok(ticks / 100.0)
    }

    /// Sends SIGKILL and waits for the end.
    ///
    /// # Errors
    /// When it does not end.
    pub fn kill(&self) -> Result<()> {
        // That it has gone already is as good.
        let _ = pidfd_send_signal(&self.handle, Signal::KILL);
        let began = Instant::now();
        while !self.has_ended() {
            ensure!(began.elapsed() < PATIENCE, "process {} does not end", self.pid);
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        if let Some(child) = &self.child {
            let mut child = child.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            return !matches!(child.try_wait(), Ok(None));
        }
        let mut ends = [PollFd::new(&self.handle, PollFlags::IN)];
        poll(&mut ends, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// All servers of a system, in the order of their numbers.
#[derive(Debug, Default)]
pub struct Servers(pub Vec<Server>);

impl Servers {
    /// Resident memory of each, in bytes.
    ///
    /// # Errors
    /// When one has ended.
    pub fn resident_bytes(&self) -> Result<Vec<u64>> {
        self.0.iter().map(Server::resident_bytes).collect()
    }

    /// Processor time of all so far.
    ///
    /// # Errors
    /// When one has ended.
    pub fn processor_seconds(&self) -> Result<f64> {
        self.0.iter().map(Server::processor_seconds).sum()
    }

    /// Fails with the end of its log when one has ended.
    ///
    /// # Errors
    /// As said.
    pub fn check(&self, log_of: impl Fn(usize) -> std::path::PathBuf) -> Result<()> {
        for (number, server) in self.0.iter().enumerate() {
            if server.has_ended() {
                let log = log_of(number);
                let text = fs::read_to_string(&log).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                let end = lines[lines.len().saturating_sub(8)..].join("\n");
                bail!("server {number} has ended; its log says:\n{end}");
            }
        }
        Ok(())
    }
}

/// So many ports that nobody uses now.
///
/// # Errors
/// When there are none.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    // Held together, so that none is given out twice.
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<std::io::Result<_>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// Whether a port is free.
#[must_use]
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_server_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(Command::new("sleep").arg("60"), &dir.path().join("log")).unwrap();
        assert!(!server.has_ended() && server.resident_bytes().unwrap() > 0);
        let pid = server.pid;
        drop(server);
        assert!(Server::of(pid).is_err());
    }

    #[test]
    fn free_ports_differ() {
        let mut ports = free_ports(8).unwrap();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 8);
    }
}
