//! The memory that this process may have at most: the machine's, or what its control group allows where that's less, as in a
//! container.

use std::fs;
use std::path::{Path, PathBuf};

/// In bytes.
pub fn total() -> Option<u64> {
    let machine = of_machine(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let allowed = limits(Path::new("/sys/fs/cgroup"), &groups).into_iter().min();
    Some(allowed.map_or(machine, |allowed| allowed.min(machine)))
}

fn of_machine(meminfo: &str) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(total.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

/// Every limit of the groups that a process is in, and of those above them: the least one holds. Of the second version of
/// control groups a line is `0::/path`, of the first `5:memory:/path`. In a container the path may be the host's, and the
/// files lie at the root.
fn limits(root: &Path, groups: &str) -> Vec<u64> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) =
            (fields.next(), fields.next().unwrap_or(""), fields.next().unwrap_or(""));
        let (folder, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let own = folder.join(path.trim_start_matches('/'));
        let above: Vec<PathBuf> =
            own.ancestors().take_while(|place| place.starts_with(&folder)).map(Path::to_owned).collect();
        // "max" is no number, and no limit.
        found.extend(
            above
                .iter()
                .filter_map(|place| fs::read_to_string(place.join(file)).ok()?.trim().parse::<u64>().ok()),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_of_a_group_and_those_above_it_holds() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("memory.max", "max\n");
        write("pod/memory.max", "4294967296\n");
        write("pod/a/memory.max", "max\n");
        let least = |groups: &str| limits(root.path(), groups).into_iter().min();
        assert_eq!(least("0::/pod/a\n"), Some(4 << 30));
        assert_eq!(least("0::/\n"), None);
        // The host's path, which isn't there.
        assert_eq!(least("0::/docker/0123\n"), None);
        write("memory.max", "1073741824\n");
        assert_eq!(least("0::/docker/0123\n"), Some(1 << 30));
        write("memory/own/memory.limit_in_bytes", "2147483648\n");
        assert_eq!(least("3:cpu,cpuacct:/own\n5:memory:/own\n"), Some(2 << 30));
        assert_eq!(least(""), None);
    }

    #[test]
    fn this_machine_has_some_memory() {
        assert_eq!(of_machine("MemTotal:       24 kB\nMemFree: 1 kB\n"), Some(24 * 1024));
        assert_eq!(of_machine("MemFree: 1 kB\n"), None);
        #[cfg(target_os = "linux")]
        assert!(total().unwrap() > 1 << 20);
    }
}
