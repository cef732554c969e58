//! Reads CPU time and memory of a process from the operating system.

use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;
use std::fs;
use std::time::Duration;

/// A process that is measured.
#[derive(Clone, Copy, Debug)]
pub struct Process(pub u32);

impl Process {
    pub fn this() -> Self {
        Self(std::process::id())
    }

    /// The CPU time of all threads of the process, including those that have ended, in user and kernel mode. Exact to a
    /// nanosecond, where /proc counts ticks of 10 ms.
    pub fn cpu(self) -> Result<Duration, String> {
        let clock = clock_getcpuclockid(Pid::from_raw(self.0 as i32));
        let time =
            clock.and_then(ClockId::now).map_err(|error| format!("no CPU time of process {}: {error}", self.0))?;
        Ok(Duration::from(time))
    }

    /// The resident memory in bytes, counted page by page, since the sums in /proc/PID/status lag behind.
    pub fn resident(self) -> Result<u64, String> {
        let path = format!("/proc/{}/smaps_rollup", self.0);
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let kilobytes =
            text.lines().find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB")?.parse().ok());
        kilobytes.map(|kilobytes: u64| kilobytes * 1024).ok_or_else(|| format!("{path} has no Rss"))
    }
}

/// The average number of processes that wanted to run during the last minute.
pub fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
