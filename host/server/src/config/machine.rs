//! What this machine has, for defaults that depend on it. Looks, and decides nothing.

use std::fs;

/// Memory that this process may use, in bytes: the machine's, or less where a control group says so. None where neither is
/// told in files.
pub(super) fn memory_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .into_iter()
        .find_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    machine.into_iter().chain(group).min()
}

/// Out of the text of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found_among_the_others() {
        assert_eq!(total("MemFree:  5 kB\nMemTotal:       16316412 kB\n"), Some(16_316_412 * 1024));
        assert_eq!(total("MemTotal: many\n"), None);
    }
}
