//! How much memory is left, and what kind of swap there is.

use std::fs;

use hive_core::machine::facts::{Memory, Swap};
use hive_core::units::Permille;

use crate::Roots;

/// Reads both; plenty of memory and no swap where the kernel does not tell.
pub(super) fn read(roots: &Roots) -> Memory {
    let text = |path: &str| fs::read_to_string(roots.proc.join(path)).unwrap_or_default();
    let zswap = fs::read_to_string(roots.sys.join("module/zswap/parameters/enabled"));
    Memory {
        available: available(&text("meminfo")),
        swap: swap(&text("swaps"), zswap.is_ok_and(|on| on.trim() == "Y")),
    }
}

fn available(meminfo: &str) -> Permille {
    let of = |key: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    match (of("MemAvailable:"), of("MemTotal:")) {
        (Some(available), Some(total)) if total > 0.0 => Permille::from_share(available / total),
        _ => Permille::from_share(1.0),
    }
}

/// Compressed only if all of it is: a page goes where the kernel likes.
fn swap(swaps: &str, zswap: bool) -> Swap {
    let mut devices = swaps.lines().skip(1).filter(|line| !line.trim().is_empty());
    let mut seen = false;
    let all_zram = devices.all(|line| {
        seen = true;
        line.starts_with("/dev/zram")
    });
    match (seen, all_zram || zswap) {
        (false, _) => Swap::None,
        (true, true) => Swap::Compressed,
        (true, false) => Swap::Disk,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Filename\tType\tSize\tUsed\tPriority\n";

    #[test]
    fn swap_is_compressed_only_where_all_of_it_is() {
        let zram = "/dev/zram0 partition 786428 0 100\n";
        let disk = "/dev/sda2 partition 786428 0 -2\n";
        assert_eq!(swap("", false), Swap::None);
        assert_eq!(swap(HEAD, true), Swap::None);
        assert_eq!(swap(&format!("{HEAD}{zram}"), false), Swap::Compressed);
        assert_eq!(swap(&format!("{HEAD}{zram}{disk}"), false), Swap::Disk);
        assert_eq!(swap(&format!("{HEAD}{disk}"), true), Swap::Compressed);
    }

    #[test]
    fn a_kernel_that_tells_nothing_is_never_short_of_memory() {
        assert_eq!(available(""), Permille::from_share(1.0));
        let text = "MemTotal:       1000 kB\nMemFree: 3 kB\nMemAvailable:    150 kB\n";
        assert_eq!(available(text), Permille::from_share(0.15));
    }
}
