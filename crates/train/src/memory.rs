//! How much memory the process has used.

/// The highest resident memory of this process so far, in bytes: `VmHWM` of `/proc/self/status`
/// (proc(5)). `None` where the system has no such file.
pub fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_uses_some_memory_and_less_than_a_terabyte() {
        let peak = super::peak().unwrap();
        assert!((1 << 20..1 << 40).contains(&peak), "{peak}");
    }
}
