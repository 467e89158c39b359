//! What the machine says of this process: its memory and its time on a processor.

/// Bytes of memory that this process has in use, if the system tells.
pub fn resident_memory() -> Option<u64> {
    field(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// The most bytes of memory that this process has had in use.
pub fn peak_memory() -> Option<u64> {
    field(&std::fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// A size of `/proc/<pid>/status`, in bytes.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Seconds that the calling thread has run on a processor, if the system tells: what it waited while
/// others ran is not in it.
pub fn thread_time() -> Option<f64> {
    on_processor(&std::fs::read_to_string("/proc/thread-self/schedstat").ok()?)
}

/// The first number of `/proc/<pid>/schedstat`, nanoseconds, in seconds.
fn on_processor(schedstat: &str) -> Option<f64> {
    let nanoseconds: u64 = schedstat.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_this_thread() {
        assert_eq!(on_processor("1500000000 12 3\n"), Some(1.5));
        assert_eq!(on_processor("some"), None);
        assert_eq!(on_processor(""), None);
    }

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
