//! What a QEMU needs of this host to run on another: the libraries, what loads them, its firmware.
//!
//! Invariant: **what is found is what would be loaded here**: the loader itself is asked.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flipsim::machine::confine::interpreter;
use flipsim::machine::spec::Loader;
use flipsim::pack::Source;

use crate::exit::{Code, exit_error};
use crate::host::proc;

/// How long the loader may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Larger ones are for machines that the lab has none of.
const LARGEST_FIRMWARE: u64 = 1 << 20;

/// QEMU with all that it needs, by the paths in a pack.
pub struct Closure {
    /// QEMU's own.
    pub qemu: String,
    /// What starts it; nothing for one that needs no library.
    pub loader: Option<Loader>,
    /// The files.
    pub sources: Vec<Source>,
}

/// Finds what a QEMU needs.
pub fn closure(qemu: &Path) -> Result<Closure> {
    let name = file_name(qemu)?;
    let own = format!("qemu/bin/{name}");
    let mut sources = vec![Source { at: own.clone(), from: qemu.to_owned(), program: true }];
    let loader = match interpreter(qemu) {
        None => bail!(exit_error(
            Code::Usage,
            format!("{} is a script; a pack takes the program itself", qemu.display())
        )),
        Some(None) => None,
        Some(Some(program)) => {
            for library in libraries(&program, qemu)? {
                let at = format!("qemu/lib/{}", file_name(&library)?);
                sources.push(Source { at, from: library, program: false });
            }
            // Beside QEMU: by its place QEMU finds its firmware.
            let at = format!("qemu/bin/{}", file_name(&program)?);
            let real =
                program.canonicalize().with_context(|| format!("cannot find {}", program.display()))?;
            sources.push(Source { at: at.clone(), from: real, program: true });
            Some(Loader { program: at.into(), libraries: "qemu/lib".into() })
        }
    };
    let folder = qemu.parent().and_then(Path::parent).map(|root| root.join("share/qemu"));
    for entry in folder.and_then(|folder| folder.read_dir().ok()).into_iter().flatten() {
        let path = entry.context("cannot read QEMU's folder of firmware")?.path();
        if path.metadata().is_ok_and(|meta| meta.is_file() && meta.len() <= LARGEST_FIRMWARE) {
            let at = format!("qemu/share/qemu/{}", file_name(&path)?);
            sources.push(Source { at, from: path, program: false });
        }
    }
    Ok(Closure { qemu: own, loader, sources })
}

fn file_name(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).with_context(|| format!("{} has no name that can be written", path.display()))
}

/// The libraries that a program would be loaded with.
fn libraries(loader: &Path, program: &Path) -> Result<Vec<PathBuf>> {
    let mut command = Command::new(loader);
    command.arg("--list").arg(program);
    let list = proc::output_of("ld.so", command, LIMIT)
        .with_context(|| format!("cannot find the libraries of {}", program.display()))?;
    parse(&list).with_context(|| format!("cannot find the libraries of {}", program.display()))
}

/// Reads what `ld.so --list` prints (ld.so(8)).
fn parse(list: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in list.lines() {
        // The kernel's own, and the loader itself, have no arrow.
        let Some((name, rest)) = line.trim().split_once(" => ") else { continue };
        if rest.starts_with("not found") {
            bail!("{name} is not on this host");
        }
        let path = rest.rsplit_once(" (").map_or(rest, |(path, _)| path);
        // The loader, where a library needs it by its name.
        if !name.starts_with('/') {
            found.push(PathBuf::from(path));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_loader_lists_is_read() {
        let list = "\tlinux-vdso.so.1 (0x00007ffe)\n\tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f1)\n\t\
                    libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f2)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f3)\n";
        let found = parse(list).unwrap();
        assert_eq!(
            found,
            ["/lib/x86_64-linux-gnu/libz.so.1", "/lib/x86_64-linux-gnu/libc.so.6"].map(PathBuf::from)
        );
        assert!(parse("\tliba.so => not found\n").unwrap_err().to_string().contains("liba.so"));
    }

    #[test]
    fn a_program_of_this_host_has_a_loader_and_a_library_at_least() {
        let found = closure(Path::new("/bin/sh")).unwrap();
        assert_eq!(found.qemu, "qemu/bin/sh");
        let of = |folder: &str| found.sources.iter().filter(|source| source.at.starts_with(folder)).count();
        assert!(of("qemu/lib/") >= 1 && of("qemu/bin/") == 2, "{:?}", found.sources);
    }
}
