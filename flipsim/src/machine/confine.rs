//! What a program gets that handles what others made: a guest's kernel and disk, an image, a campaign.
//!
//! Invariant: **it has none of our environment, starts no other program, and gains no rights**, as far as this
//! host's kernel can see to it: Landlock is asked for, and where it is missing the rest still holds.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use landlock::{
    AccessFs, AccessNet, CompatLevel, Compatible, NetPort, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, path_beneath_rules,
};
use object::Endianness;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader, ProgramHeader};

/// The variables that are passed on: where programs and libraries are, and how text is shown. Everything else may
/// be a secret, and a program that was taken over could read it.
const PASSED_ON: [&str; 7] = ["PATH", "LANG", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "LD_LIBRARY_PATH", "TERM"];

/// Takes our environment away from a command, but for `PASSED_ON` and what was set for it by name.
pub fn bare_environment(command: &mut Command) {
    let own: Vec<_> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
    let passed_on = |name: &OsString| PASSED_ON.iter().any(|known| name == known) || own.contains(name);
    // Taken away one by one: what a command has set is shown with it, and this is nothing to show.
    for (name, _) in std::env::vars_os().filter(|(name, _)| !passed_on(name)) {
        command.env_remove(name);
    }
}

/// What a confined program may do besides its work on files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Start other programs.
    pub programs: bool,
    /// Use TCP, beyond the ports below.
    pub network: bool,
    /// TCP ports that it may listen on in any case.
    pub ports: Vec<u16>,
}

impl Allowed {
    /// Files alone.
    pub const NOTHING: Allowed = Allowed { programs: false, network: false, ports: Vec::new() };
}

/// Has a command confine itself right before it becomes its program. A kernel without Landlock, and a program that
/// is a script and so needs others, are left as they are.
///
/// # Errors
/// The kernel has Landlock and refuses.
pub fn confine(command: &mut Command, allowed: &Allowed) -> io::Result<()> {
    let program = PathBuf::from(command.get_program());
    let interpreter = interpreter(&program);
    let programs = match (&interpreter, allowed.programs) {
        (Some(interpreter), false) => [Some(program), interpreter.clone()].into_iter().flatten().collect(),
        _ => Vec::new(),
    };
    if programs.is_empty() && allowed.network {
        return Ok(());
    }
    let mut rules = Some(rules(&programs, allowed).map_err(io::Error::other)?);
    let tie = move || match rules.take() {
        // An error's text would have to be made, which must not be done here.
        Some(rules) => rules.restrict_self().map(drop).map_err(|_| io::Error::from_raw_os_error(1)),
        None => Ok(()),
    };
    // SAFETY: between fork and exec only prctl, landlock_restrict_self and close are called; none allocates or locks.
    unsafe {
        command.pre_exec(tie);
    }
    Ok(())
}

fn rules(programs: &[PathBuf], allowed: &Allowed) -> Result<RulesetCreated, RulesetError> {
    let mut rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    if !programs.is_empty() {
        rules = rules.handle_access(AccessFs::Execute)?;
    }
    if !allowed.network {
        rules = rules.handle_access(AccessNet::BindTcp)?.handle_access(AccessNet::ConnectTcp)?;
    }
    let mut rules = rules.create()?;
    if !programs.is_empty() {
        rules = rules.add_rules(path_beneath_rules(programs, AccessFs::Execute))?;
    }
    if !allowed.network {
        for port in &allowed.ports {
            rules = rules.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
        }
    }
    Ok(rules)
}

/// The program that loads a program's libraries: `Some(None)` where it needs none, `None` where it is no program of
/// 64 bits, but a script.
#[must_use]
pub fn interpreter(program: &Path) -> Option<Option<PathBuf>> {
    // Both tables stand at a program's beginning.
    const START: u64 = 64 << 10;
    let mut start = Vec::new();
    File::open(program).ok()?.take(START).read_to_end(&mut start).ok()?;
    let header = FileHeader64::<Endianness>::parse(&*start).ok()?;
    let endian = header.endian().ok()?;
    for segment in header.program_headers(endian, &*start).ok()? {
        if let Some(name) = segment.interpreter(endian, &*start).ok()? {
            let name = name.strip_suffix(&[0]).unwrap_or(name);
            return Some(Some(PathBuf::from(std::ffi::OsStr::from_bytes(name))));
        }
    }
    Some(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    /// A real program of this host, by its own path: `find` starts others when it is asked to.
    fn command(program: &str) -> Command {
        let place = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(program));
        let place = place.iter().find(|path| path.is_file()).unwrap();
        let mut command = Command::new(place);
        command.stdin(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    fn has_landlock() -> bool {
        let lsm = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
        let listed = lsm.contains("landlock");
        // Where that file system is not mounted, the rules themselves say.
        listed
            || rules(&[PathBuf::from("/bin/sh")], &Allowed::NOTHING)
                .is_ok_and(|rules| Option::<std::os::fd::OwnedFd>::from(rules).is_some())
    }

    #[test]
    fn a_secret_in_our_environment_is_not_passed_on() {
        let mut env = command("env");
        env.env("TMPDIR", "/t");
        bare_environment(&mut env);
        let out = String::from_utf8(env.output().unwrap().stdout).unwrap();
        assert!(out.contains("TMPDIR=/t") && !out.contains("CARGO"), "{out}");
        assert!(std::env::vars().any(|(name, _)| name.starts_with("CARGO")));
    }

    #[test]
    fn a_confined_program_starts_no_other() {
        let mut find = command("find");
        find.env("LC_ALL", "C");
        find.args(["/etc/passwd", "-exec", "/bin/echo", "started", "{}", ";"]);
        let free = find.output().unwrap();
        assert!(String::from_utf8_lossy(&free.stdout).contains("started"));
        confine(&mut find, &Allowed::NOTHING).unwrap();
        let confined = find.output().unwrap();
        if !has_landlock() {
            eprintln!("skipped: this kernel has no Landlock");
            return;
        }
        assert_eq!(String::from_utf8_lossy(&confined.stdout), "");
        assert!(String::from_utf8_lossy(&confined.stderr).contains("denied"));
    }

    #[test]
    fn a_confined_program_does_its_own_work_and_a_script_is_left_alone() {
        let mut list = command("ls");
        list.arg("/etc/passwd");
        confine(&mut list, &Allowed::NOTHING).unwrap();
        assert!(list.output().unwrap().status.success());
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("qemu");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        assert_eq!(interpreter(&script), None);
        assert!(interpreter(Path::new("/bin/sh")).unwrap().unwrap().is_absolute());
    }
}
