//! The memory of the machine.

/// Bytes of memory that can still be had, in the container if there is one; `None` where nobody tells.
pub fn available() -> Option<u64> {
    #[cfg(any(feature = "cpu", feature = "host"))]
    {
        use sysinfo::{MemoryRefreshKind, RefreshKind, System};

        let memory = MemoryRefreshKind::nothing().with_ram();
        let system = System::new_with_specifics(RefreshKind::nothing().with_memory(memory));
        let container = system.cgroup_limits().map_or(u64::MAX, |limits| limits.free_memory);
        Some(system.available_memory()).filter(|&bytes| bytes > 0).map(|bytes| bytes.min(container))
    }
    #[cfg(not(any(feature = "cpu", feature = "host")))]
    None
}
