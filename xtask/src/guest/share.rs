//! What a guest reaches in a folder that is shared with it.
//!
//! Invariant: **a guest that can read or change more than was made for it is warned of**: it runs whatever its kernel
//! and image hold, with bits flipped besides.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::paths;

/// Folders of the system, which no guest has to see.
const SYSTEM: [&str; 16] = [
    "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/opt", "/proc", "/root", "/run", "/sbin", "/srv",
    "/sys", "/usr", "/var", "/tmp",
];

/// Folders with keys.
const KEYS: [&str; 5] = [".ssh", ".gnupg", ".aws", ".kube", ".config"];

/// Where this user's own things lie.
struct Places {
    home: Option<PathBuf>,
    cache: Option<PathBuf>,
    lab: Option<PathBuf>,
}

/// Warns of a share that reaches further than a folder made for it.
pub fn warn_of(share: &Path) {
    let whole = |path: PathBuf| std::fs::canonicalize(&path).unwrap_or(path);
    let places = Places {
        home: std::env::var_os("HOME").map(PathBuf::from).map(whole),
        cache: paths::cache_dir().ok().map(whole),
        lab: paths::workspace_root().ok().map(whole),
    };
    let Some(what) = reaches(share, &places) else { return };
    let can = match access(share, Access::WRITE_OK) {
        Ok(()) => "read and change",
        Err(_) => "read",
    };
    eprintln!(
        "warning: --share {}: it is {what}, and the guest can {can} there all that you can; share a folder made for it",
        share.display()
    );
}

/// What a folder is that is more than one made for a guest.
fn reaches(share: &Path, places: &Places) -> Option<&'static str> {
    let holds = |place: &Option<PathBuf>| place.as_ref().is_some_and(|place| place.starts_with(share));
    let within = |place: &Option<PathBuf>| place.as_ref().is_some_and(|place| share.starts_with(place));
    let is_key = |share: &Path| KEYS.iter().any(|key| share.file_name().is_some_and(|name| name == *key));
    if share == Path::new("/") {
        Some("this whole host")
    } else if SYSTEM.iter().any(|folder| share == Path::new(folder)) {
        Some("a folder of the system")
    } else if holds(&places.home) {
        Some("your home, with your keys")
    } else if is_key(share) || KEYS.iter().any(|key| share.join(key).is_dir()) {
        Some("a folder with your keys")
    } else if holds(&places.cache) || within(&places.cache) {
        Some("the lab's cache, whose programs you run")
    } else if holds(&places.lab) {
        Some("this lab, whose programs you run")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reaches_further_than_a_folder_made_for_it_is_known() {
        let some = |path: &str| Some(PathBuf::from(path));
        let places = Places {
            home: some("/home/me"),
            cache: some("/home/me/.cache/flipsim"),
            lab: some("/home/me/src/lab"),
        };
        let what = |path: &str| reaches(Path::new(path), &places).unwrap_or("");
        assert_eq!(what("/"), "this whole host");
        for system in ["/home", "/etc", "/root", "/usr", "/var", "/tmp"] {
            assert_eq!(what(system), "a folder of the system", "{system}");
        }
        assert!(what("/home/me").contains("your home"));
        assert!(what("/home/me/.ssh").contains("keys") && what("/data/.gnupg").contains("keys"));
        for cache in ["/home/me/.cache", "/home/me/.cache/flipsim", "/home/me/.cache/flipsim/store"] {
            assert!(what(cache).contains("cache"), "{cache}");
        }
        assert!(what("/home/me/src").contains("this lab") && what("/home/me/src/lab").contains("this lab"));
        for fine in ["/home/me/exchange", "/tmp/x", "/home/me/src/lab/.lab/runs/g1/share", "/home/you/x"] {
            assert_eq!(what(fine), "", "{fine}");
        }
    }
}
