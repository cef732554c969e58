//! `[memory] max`: how much memory the process may take.
//!
//! Where nothing is configured that is half of what there is: the other half is for the system, which keeps the files of the store and the buffers of
//! connections in memory, and for other programs.

use super::values::bytes_with_unit;
use std::fmt;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The ceiling on the memory that clients can make grow, with what the program itself takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryMax {
    /// Half of what the process may have: of the least limit of its cgroups, or where there is none of the machine's memory. At least
    /// [`MemoryMax::LEAST_AUTO`].
    #[default]
    Auto,
    /// So many bytes, at least [`MemoryMax::LEAST`].
    Bytes(u64),
}

/// A [`MemoryMax`] in bytes, and where these come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryBound {
    pub(crate) bytes: u64,
    pub(crate) source: BoundSource,
}

/// Where the bytes of a [`MemoryBound`] come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BoundSource {
    Configured,
    /// Half of what its cgroup may take.
    Cgroup,
    /// Half of the machine's memory.
    Machine,
    /// The system tells of no memory at all, or half of it is less than is taken.
    Least,
}

impl MemoryMax {
    /// What [`MemoryMax::Auto`] takes at least, in bytes.
    pub const LEAST_AUTO: u64 = 32 << 20;
    /// The least that may be configured, in bytes.
    pub const LEAST: u64 = 16 << 20;
    pub(crate) const MOST: u64 = 1 << 44;

    pub(super) const ALLOWED: &'static str =
        "\"auto\", or bytes from 16777216 (16 MiB) to 17592186044416, or a string like \"256MiB\" or \"1GiB\"";

    /// A number of bytes, if it is allowed.
    pub(super) fn of_integer(bytes: i128) -> Option<Self> {
        let bytes = u64::try_from(bytes).ok()?;
        (Self::LEAST..=Self::MOST).contains(&bytes).then_some(Self::Bytes(bytes))
    }

    /// As it is written in a string of the configuration file.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            _ => Self::of_integer(bytes_with_unit(text)?.into()),
        }
    }

    /// As `--memory-max` takes it.
    ///
    /// # Errors
    /// What is allowed.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Self::of_text(text).ok_or_else(|| "auto, or bytes from 16MiB on, like 256MiB, is wanted".to_owned())
    }

    /// The bytes, on this machine.
    pub(crate) fn bound(self) -> MemoryBound {
        self.bound_below(Path::new("/"))
    }

    /// The same with the files of the system below `root`.
    fn bound_below(self, root: &Path) -> MemoryBound {
        if let Self::Bytes(bytes) = self {
            return MemoryBound { bytes, source: BoundSource::Configured };
        }
        let machine = machine_memory(root);
        let cgroup = cgroup_limit(root).filter(|limit| machine.is_none_or(|machine| *limit < machine));
        let (all, source) = match (cgroup, machine) {
            (Some(limit), _) => (limit, BoundSource::Cgroup),
            (None, Some(machine)) => (machine, BoundSource::Machine),
            (None, None) => (0, BoundSource::Least),
        };
        match all / 2 {
            half if half < Self::LEAST_AUTO => MemoryBound { bytes: Self::LEAST_AUTO, source: BoundSource::Least },
            half => MemoryBound { bytes: half, source },
        }
    }
}

impl fmt::Display for MemoryBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB, ", self.bytes >> 20)?;
        f.write_str(match self.source {
            BoundSource::Configured => "as configured",
            BoundSource::Cgroup => "half of what its cgroup may take",
            BoundSource::Machine => "half of the memory of this machine",
            BoundSource::Least => "the least, as there is little memory here",
        })
    }
}

/// The memory of the machine, in bytes.
fn machine_memory(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let (kib, _) = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().split_once(' ')?;
    kib.parse::<u64>().ok()?.checked_mul(1024)
}

/// The least limit of the cgroups that the process is in, each level up to the root, in both versions of cgroups.
fn cgroup_limit(root: &Path) -> Option<u64> {
    let memberships = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    let mounts: Vec<CgroupMount> = mounts.lines().filter_map(CgroupMount::read).collect();
    let limits = memberships.lines().filter_map(|line| {
        // `0::/path` in version 2, `4:cpu,memory:/path` in version 1.
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let is_unified = controllers.is_empty();
        if !is_unified && !controllers.split(',').any(|controller| controller == "memory") {
            return None;
        }
        let mounts = mounts.iter().filter(|mount| mount.is_unified == is_unified);
        mounts.filter_map(|mount| mount.limit(root, Path::new(path))).min()
    });
    limits.min()
}

/// A place where cgroups that count memory are mounted.
struct CgroupMount {
    is_unified: bool,
    /// The cgroup that stands there: in a container often not the topmost one.
    cgroup: PathBuf,
    place: PathBuf,
}

impl CgroupMount {
    /// Reads a line of `mountinfo`, if it is about one:
    /// `31 23 0:27 /cgroup /place rw,nosuid shared:9 - cgroup2 cgroup2 rw`.
    fn read(line: &str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (cgroup, place) = (unescaped(mount.next()?), unescaped(mount.next()?));
        let mut system = system.split(' ');
        let is_unified = match system.next()? {
            "cgroup2" => true,
            "cgroup" if system.nth(1)?.split(',').any(|option| option == "memory") => false,
            _ => return None,
        };
        Some(Self { is_unified, cgroup, place })
    }

    /// The least limit of the cgroup `path` and those above it.
    fn limit(&self, root: &Path, path: &Path) -> Option<u64> {
        let name = if self.is_unified { "memory.max" } else { "memory.limit_in_bytes" };
        // Seen from within a container the path may lead out of what is mounted there: then it is the cgroup that is mounted.
        let below = path.strip_prefix(&self.cgroup).unwrap_or(Path::new(""));
        let is_plain = below.components().all(|part| matches!(part, Component::Normal(_)));
        let below = if is_plain { below } else { Path::new("") };
        let place = root.join(self.place.strip_prefix("/").unwrap_or(&self.place));
        let limits = below.ancestors().filter_map(|cgroup| {
            let limit = fs::read_to_string(place.join(cgroup).join(name)).ok()?.trim().parse().ok()?;
            // Version 2 says "max"; version 1 has a number that no machine reaches.
            (limit < 1 << 60).then_some(limit)
        });
        limits.min()
    }
}

/// A path of `mountinfo`, where a space is `\040`.
fn unescaped(path: &str) -> PathBuf {
    let path = path.replace(r"\040", " ").replace(r"\011", "\t").replace(r"\012", "\n").replace(r"\134", r"\");
    PathBuf::from(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A folder with the files of a system that was made up, until this is dropped.
    struct System(PathBuf);

    impl System {
        fn with(files: &[(&str, &str)]) -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let unique = COUNT.fetch_add(1, Ordering::Relaxed);
            let root = std::env::temp_dir().join(format!("goldcrest-memory-{unique}-{}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }

        fn auto(&self) -> (u64, BoundSource) {
            let MemoryBound { bytes, source } = MemoryMax::Auto.bound_below(&self.0);
            (bytes, source)
        }
    }

    impl Drop for System {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const MIB: u64 = 1 << 20;
    /// 1 GiB.
    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemFree: 5 kB\nMemTotal:        1048576 kB\n");
    const V2: (&str, &str) = (
        "proc/self/mountinfo",
        "23 28 0:21 / /proc rw shared:14 - proc proc rw\n31 23 0:27 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw\n",
    );

    #[test]
    fn each_level_of_version_2_counts() {
        let levels = |outer: &str, inner: &str| {
            System::with(&[
                MEMINFO,
                V2,
                ("proc/self/cgroup", "0::/a.slice/b:c.service\n"),
                ("sys/fs/cgroup/a.slice/memory.max", outer),
                ("sys/fs/cgroup/a.slice/b:c.service/memory.max", inner),
            ])
            .auto()
        };
        assert_eq!(levels("max\n", "268435456\n"), (128 * MIB, BoundSource::Cgroup));
        assert_eq!(levels("134217728\n", "268435456\n"), (64 * MIB, BoundSource::Cgroup));
        assert_eq!(levels("134217728\n", "max\n"), (64 * MIB, BoundSource::Cgroup));
        assert_eq!(levels("max\n", "max\n"), (512 * MIB, BoundSource::Machine));
        assert_eq!(levels("max\n", "99999999999\n"), (512 * MIB, BoundSource::Machine));
        assert_eq!(levels("max\n", "41943040\n"), (32 * MIB, BoundSource::Least));
    }

    #[test]
    fn version_1_is_found_among_other_controllers() {
        let mounts = "30 25 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                      36 25 0:31 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n";
        let limited = |outer: &str, inner: &str| {
            System::with(&[
                MEMINFO,
                ("proc/self/mountinfo", mounts),
                ("proc/self/cgroup", "12:memory:/pods/p1\n4:cpu,cpuacct:/other\n0::/\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("sys/fs/cgroup/memory/pods/memory.limit_in_bytes", outer),
                ("sys/fs/cgroup/memory/pods/p1/memory.limit_in_bytes", inner),
                ("sys/fs/cgroup/cpu/other/memory.limit_in_bytes", "1\n"),
            ])
            .auto()
        };
        assert_eq!(limited("9223372036854771712\n", "209715200\n"), (100 * MIB, BoundSource::Cgroup));
        assert_eq!(limited("104857600\n", "209715200\n"), (50 * MIB, BoundSource::Cgroup));
        assert_eq!(limited("9223372036854771712\n", "9223372036854771712\n").1, BoundSource::Machine);
    }

    #[test]
    fn a_container_sees_its_own_cgroup_as_the_root() {
        let mounts = "31 23 0:27 /docker/abc /sys/fs/cgroup\\040x ro - cgroup2 cgroup2 rw\n";
        for path in ["0::/docker/abc\n", "0::/\n", "0::/../elsewhere\n", "0::/docker/other\n"] {
            let system = System::with(&[
                MEMINFO,
                ("proc/self/mountinfo", mounts),
                ("proc/self/cgroup", path),
                ("sys/fs/cgroup x/memory.max", "134217728\n"),
            ]);
            assert_eq!(system.auto(), (64 * MIB, BoundSource::Cgroup), "{path}");
        }
    }

    #[test]
    fn a_system_that_tells_nothing_has_the_least() {
        assert_eq!(System::with(&[]).auto(), (32 * MIB, BoundSource::Least));
        assert_eq!(System::with(&[MEMINFO]).auto(), (512 * MIB, BoundSource::Machine));
        let nonsense = [("proc/meminfo", "MemTotal: much kB\n"), V2, ("proc/self/cgroup", "x\n0::/a\n")];
        assert_eq!(System::with(&nonsense).auto(), (32 * MIB, BoundSource::Least));
        assert!(MemoryMax::Auto.bound().bytes >= MemoryMax::LEAST_AUTO);
    }

    #[test]
    fn the_bound_is_told_with_where_it_comes_from() {
        let bound = MemoryMax::Bytes(100 << 20).bound();
        assert_eq!(bound.to_string(), "100 MiB, as configured");
        let half = MemoryBound { bytes: 64 << 20, source: BoundSource::Cgroup };
        assert_eq!(half.to_string(), "64 MiB, half of what its cgroup may take");
    }

    #[test]
    fn bytes_of_the_command_line_are_as_those_of_the_file() {
        assert_eq!(MemoryMax::parse("auto"), Ok(MemoryMax::Auto));
        assert_eq!(MemoryMax::parse("256MiB"), Ok(MemoryMax::Bytes(256 << 20)));
        assert_eq!(MemoryMax::parse("16777216"), Ok(MemoryMax::Bytes(16 << 20)));
        for wrong in ["", "15MiB", "-1", "256 MB", "Auto", "99999999GiB"] {
            assert!(MemoryMax::parse(wrong).unwrap_err().contains("16MiB"), "{wrong}");
        }
    }
}
