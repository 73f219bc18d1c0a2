//! Whether a pack may be run here: it is its maker's programs and its maker's guest.
//!
//! Invariant: **nothing of a pack runs before its user has said yes**, once for each pack, by its digest.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use flipsim::files;
use flipsim::pack::Pack;

use crate::errors::{Error, io_error};

/// How many digits of a digest stand for it.
const DIGITS: usize = 16;

/// Asks, unless that was answered before.
pub fn require(pack: &Pack, trust: Option<&str>) -> Result<(), Error> {
    let digest = pack.digest();
    let short = &digest[..DIGITS];
    if let Some(said) = trust {
        if said.len() >= DIGITS && digest.starts_with(&said.to_ascii_lowercase()) {
            return Ok(());
        }
        return Err(Error::Usage(format!(
            "--trust {said}: {} has the digest {short}; it is not the pack that was meant",
            pack.path().display()
        )));
    }
    let noted = noted();
    let known = noted.as_ref().and_then(|path| files::read_plain(path).ok()).unwrap_or_default();
    if String::from_utf8_lossy(&known).lines().any(|line| line == digest) {
        return Ok(());
    }
    let why = format!(
        "{} runs programs that came with it, as you: QEMU, and a guest whose devices its maker chose",
        pack.path().display()
    );
    if !std::io::stdin().is_terminal() {
        return Err(Error::Usage(format!("{why}; --trust {short} says that you trust who gave it to you")));
    }
    eprint!("{why}.\nIts digest is {short}. Run it? [y/N] ");
    // Where nothing can be shown, nothing is agreed to.
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|error| Error::Here(error.to_string()))?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        return Err(Error::Usage(format!("{} is not run, as you said", pack.path().display())));
    }
    if let Some(path) = noted {
        let folder = path.parent().unwrap_or(&path).to_owned();
        std::fs::create_dir_all(&folder).map_err(io_error("make", &folder))?;
        let line = format!("{digest}\n");
        files::append_private(&path)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .map_err(io_error("write", &path))?;
    }
    Ok(())
}

/// Where answers are kept: the user's folder for that (XDG base directories).
fn noted() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    Some(folder.join("flipsim/packs"))
}
