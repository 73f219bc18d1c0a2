//! Whose a folder or file is, for one user who meets what another one made.
//!
//! Invariant: **what cannot be used because it is somebody else's is said to be so, with what to do**.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Result, bail};
use rustix::fs::{Access, access};

use crate::paths;

/// What to do about a cache that another user has made.
const REMEDY: &str = "set FLIPSIM_CACHE to a folder of your own, or have it handed over (sudo chown -R)";

/// The parts of the cache, each of which a command may have made as another user, under sudo for example.
const PARTS: [&str; 9] = ["", "downloads", "apt", "sources", "work", "store", "refs", "locks", "logs"];

/// Refuses a cache that this user cannot write to, and warns of one that another user can change: its programs are
/// run by this one.
pub fn check_cache(root: &Path) -> Result<()> {
    for part in PARTS {
        let folder = if part.is_empty() { root.to_owned() } else { root.join(part) };
        if !folder.is_dir() || access(&folder, Access::WRITE_OK | Access::EXEC_OK).is_ok() {
            continue;
        }
        let whose = whose(&folder).map_or("cannot be written to".to_owned(), |whose| {
            format!("{whose}, and you cannot write to it")
        });
        bail!("the cache's folder {} {whose}; {REMEDY}", paths::show(&folder));
    }
    if let Some(whose) = whose(root).filter(|_| !rustix::process::geteuid().is_root()) {
        eprintln!(
            "warning: the cache {} {whose}, who decides what programs you run from it",
            paths::show(root)
        );
    }
    Ok(())
}

/// What to add to an error about a file that is another user's; nothing otherwise.
pub fn hint(path: &Path, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return String::new();
    }
    let there = path.ancestors().find(|path| fs::symlink_metadata(path).is_ok()).unwrap_or(path);
    match whose(there) {
        Some(whose) => format!("; {} {whose}: {REMEDY}", paths::show(there)),
        None => format!("; its rights forbid it: {REMEDY}"),
    }
}

/// `belongs to alice (user 1000)`, where that is not this user.
pub fn whose(path: &Path) -> Option<String> {
    let owner = fs::symlink_metadata(path).ok()?.uid();
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    belongs(owner, rustix::process::geteuid().as_raw(), &text)
}

fn belongs(owner: u32, me: u32, passwd: &str) -> Option<String> {
    if owner == me {
        return None;
    }
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == owner.to_string()).then_some(name)
    });
    Some(match name {
        Some(name) => format!("belongs to {name} (user {owner})"),
        None => format!("belongs to user {owner}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_users_is_named_and_ones_own_is_not() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        assert_eq!(belongs(1000, 1000, passwd), None);
        assert_eq!(belongs(1000, 1001, passwd).unwrap(), "belongs to alice (user 1000)");
        assert_eq!(belongs(7, 1001, passwd).unwrap(), "belongs to user 7");
    }

    #[test]
    fn only_a_refusal_has_a_hint() {
        let refused = io::Error::from(io::ErrorKind::PermissionDenied);
        let folder = tempfile::tempdir().unwrap();
        let said = hint(&folder.path().join("locks/x.lock"), &refused);
        assert!(said.contains("FLIPSIM_CACHE"), "{said}");
        assert_eq!(hint(folder.path(), &io::Error::from(io::ErrorKind::NotFound)), "");
        check_cache(folder.path()).unwrap();
    }
}
