//! Snapshots of a guest: saved, loaded, deleted, by its monitor.
//!
//! Invariant: **a name that could be more than a name to the monitor is refused.**

use anyhow::{Result, bail};
use flipsim::target::{LiveTarget, TargetError};

use crate::exit::{Code, ExitWith, exit_error};

/// A command of the human monitor that says nothing when it worked.
pub fn hmp(target: &mut LiveTarget, line: &str) -> Result<()> {
    let said = target.monitor(line).exit_with(Code::GuestLost)?;
    let said = said.trim();
    if said.is_empty() {
        return Ok(());
    }
    if said.contains("mounted in the guest") {
        bail!(exit_error(
            Code::Usage,
            format!(
                "the guest has a shared folder mounted, which cannot be saved; unmount it there (umount /mnt/shared) and try again. QEMU says: {said}"
            )
        ));
    }
    bail!(exit_error(Code::Usage, format!("`{line}`: {said}")))
}

/// Refuses a name that could be more than a name to the monitor.
pub fn check_tag(tag: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if tag.is_empty() || tag.len() > 100 || !tag.chars().all(plain) {
        bail!(exit_error(Code::Usage, format!("`{tag}` is no snapshot's name: letters, digits, - _ . only")));
    }
    Ok(())
}

/// Deletes a snapshot that a killed command left. One that is not there is no error.
pub fn delete(target: &mut LiveTarget, tag: &str) -> Result<()> {
    check_tag(tag)?;
    target.monitor(&format!("delvm {tag}")).exit_with(Code::GuestLost)?;
    Ok(())
}

/// Goes back to a snapshot of this command's own where it could be made, and deletes it.
pub fn restore(target: &mut LiveTarget, tag: &str, loadable: bool) -> Result<()> {
    let loaded = if loadable { load(target, tag) } else { Ok(()) };
    let deleted = delete(target, tag);
    loaded.and(deleted).and(keep_alive(target, false))
}

/// Goes back to a snapshot, from whatever state the guest is in, and leaves it stopped.
pub fn load(target: &mut LiveTarget, tag: &str) -> Result<()> {
    target.load_snapshot(tag).map_err(|error| {
        let code = if matches!(error, TargetError::Refused { .. }) { Code::Usage } else { Code::GuestLost };
        exit_error(code, error.to_string())
    })
}

/// Whether a guest that switches itself off or resets itself takes QEMU along.
pub fn keep_alive(target: &mut LiveTarget, keep: bool) -> Result<()> {
    let Some(qmp) = target.qmp() else { return Ok(()) };
    let shutdown = if keep { "pause" } else { "poweroff" };
    qmp.execute("set-action", serde_json::json!({ "shutdown": shutdown }))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshots_name_is_a_plain_word() {
        assert!(check_tag("booted-1").is_ok());
        for bad in ["", "a b", "a;quit", "../x"] {
            assert!(check_tag(bad).is_err(), "{bad}");
        }
    }
}
