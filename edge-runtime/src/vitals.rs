//! What the machine says of this process: its memory, its processor time.

use std::time::Duration;

/// Bytes of memory that this process has in use, if the system tells.
pub fn resident_memory() -> Option<u64> {
    field(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// The most bytes of memory that this process has had in use.
pub fn peak_memory() -> Option<u64> {
    field(&std::fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// Gives back to the system what was freed: loading a model takes much memory that its use does not, and
/// the C library keeps it for later, scattered among what stays.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer and may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Processor time that this process has used, of all its threads.
pub fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.clamp(0, 999_999_999) as u32)
}

/// A size of `/proc/<pid>/status`, in bytes.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_this_process() {
        let status = "Name:\tx\nVmHWM:\t 5678 kB\nVmRSS:\t    1234 kB\nThreads:\t1\n";
        assert_eq!(field(status, "VmRSS:"), Some(1234 * 1024));
        assert_eq!(field(status, "VmHWM:"), Some(5678 * 1024));
        assert_eq!(field("VmRSS:\t many kB\n", "VmRSS:"), None);
        assert_eq!(field("", "VmRSS:"), None);
        let (now, peak) = (resident_memory().unwrap(), peak_memory().unwrap());
        assert!(now > 100_000 && peak >= now, "{now} {peak}");
    }
}
