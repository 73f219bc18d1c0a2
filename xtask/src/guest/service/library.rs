//! Where on this host the libraries of a program lie.
//!
//! Invariant: **a library is one of the program's own architecture**, or it is not found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use flipsim::arch::Arch;
use xshell::{Shell, cmd};

use super::program::{Elf, elf_at};
use crate::host::{needs, proc};

/// What a program needs to start: paths in the guest, and the files of this host that are to be there.
pub type Libraries = BTreeMap<String, PathBuf>;

/// Where libraries are in a guest. Loaders look there in any case.
const IN_GUEST: &str = "/lib";

/// The libraries of a program, and theirs. Those that `given` has, by their names, come with the user's files.
pub fn libraries_of(program: &Elf, given: impl Fn(&str) -> Option<PathBuf>) -> Result<Libraries> {
    let find = |name: &str, search: &[String]| find(name, program.arch, search);
    resolve(program, given, find, |path| Ok(elf_at(path)?.filter(|elf| elf.arch == program.arch)))
}

fn resolve(
    program: &Elf,
    given: impl Fn(&str) -> Option<PathBuf>,
    find: impl Fn(&str, &[String]) -> Result<Option<PathBuf>>,
    look: impl Fn(&Path) -> Result<Option<Elf>>,
) -> Result<Libraries> {
    let mut found = Libraries::new();
    let loader = program.interpreter.clone().unwrap_or_default();
    let loader_name = loader.rsplit('/').next().unwrap_or_default();
    let mut open: Vec<(String, String, Vec<String>)> = Vec::new();
    if !loader.is_empty() {
        open.push((loader_name.to_owned(), loader.clone(), program.search.clone()));
    }
    let queue = |elf: &Elf, open: &mut Vec<(String, String, Vec<String>)>| {
        for name in elf.needed.iter().filter(|name| **name != loader_name) {
            open.push((name.clone(), format!("{IN_GUEST}/{name}"), elf.search.clone()));
        }
    };
    queue(program, &mut open);
    while let Some((name, destination, search)) = open.pop() {
        if found.contains_key(&destination) {
            continue;
        }
        if let Some(path) = given(&name) {
            // The kernel looks for a loader by its path alone.
            if destination == loader {
                found.insert(destination, path);
            }
            continue;
        }
        // The name of a library may be a path, which no other folder is looked through for.
        let plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
        let path = if plain { find(&name, &search)? } else { None };
        let Some(path) = path else {
            bail!(
                "it needs {name}, which this host does not have for {}; link it statically (-static), or give that \
                 file with --files",
                program.arch
            );
        };
        if let Some(elf) = look(&path)? {
            queue(&elf, &mut open);
        }
        found.insert(destination, path);
    }
    Ok(found)
}

/// A library of this architecture, in the folders that the program names, the usual ones, and where the compiler finds
/// it.
fn find(name: &str, arch: Arch, search: &[String]) -> Result<Option<PathBuf>> {
    let triple = arch.cross_triple;
    let mut folders: Vec<PathBuf> =
        search.iter().filter(|folder| folder.starts_with('/')).map(PathBuf::from).collect();
    folders.extend(
        [format!("/usr/{triple}/lib"), format!("/lib/{triple}"), format!("/usr/lib/{triple}")]
            .map(PathBuf::from),
    );
    if needs::is_native(arch) {
        folders.extend(["/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"].map(PathBuf::from));
    }
    let is_one = |path: &PathBuf| {
        path.is_file() && elf_at(path).is_ok_and(|elf| elf.is_some_and(|elf| elf.arch == arch))
    };
    if let Some(path) = folders.into_iter().map(|folder| folder.join(name)).find(is_one) {
        return Ok(Some(path));
    }
    Ok(asked_of_the_compiler(name, arch)?.filter(is_one))
}

/// Where the compiler for these guests finds a file of this name, which it knows of other root folders.
fn asked_of_the_compiler(name: &str, arch: Arch) -> Result<Option<PathBuf>> {
    let compiler = format!("{}gcc", needs::tool_prefix(arch));
    let Some(compiler) = proc::find_program(&compiler) else { return Ok(None) };
    let sh = Shell::new()?;
    let command: Command = cmd!(sh, "{compiler} -print-file-name={name}").into();
    let said = proc::output_of("asking the compiler for a library", command, Duration::from_secs(20))?;
    let path = PathBuf::from(said.trim());
    Ok(path.is_absolute().then_some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(interpreter: Option<&str>, needed: &[&str]) -> Elf {
        Elf {
            arch: Arch::default(),
            interpreter: interpreter.map(str::to_owned),
            needed: needed.iter().map(|name| (*name).to_owned()).collect(),
            search: Vec::new(),
            is_entered: true,
        }
    }

    fn resolve_with(program: &Elf, given: &[&str], host: &[(&str, &[&str])]) -> Result<Vec<String>> {
        let find = |name: &str, _: &[String]| {
            let there = host.iter().any(|(known, _)| *known == name);
            Ok(there.then(|| Path::new("/host").join(name)))
        };
        let look = |path: &Path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let row = host.iter().find(|(known, _)| *known == name);
            Ok(row.map(|(_, needed)| elf(None, needed)))
        };
        Ok(resolve(program, |name| given.contains(&name).then(|| name.into()), find, look)?
            .into_keys()
            .collect())
    }

    #[test]
    fn libraries_of_libraries_and_the_loader_are_found_once() {
        let host: &[(&str, &[&str])] = &[
            ("ld-x.so.1", &[]),
            ("libc.so.6", &["ld-x.so.1"]),
            ("libm.so.6", &["libc.so.6"]),
            ("liba.so", &["libb.so"]),
            ("libb.so", &["liba.so"]),
        ];
        let program = elf(Some("/lib64/ld-x.so.1"), &["libm.so.6", "libc.so.6", "liba.so"]);
        let wanted = ["/lib/liba.so", "/lib/libb.so", "/lib/libc.so.6", "/lib/libm.so.6", "/lib64/ld-x.so.1"];
        assert_eq!(resolve_with(&program, &[], host).unwrap(), wanted);
        // A static program needs none.
        assert!(resolve_with(&elf(None, &[]), &[], host).unwrap().is_empty());
    }

    #[test]
    fn a_library_that_is_missing_is_named_and_one_that_is_given_is_not_looked_for() {
        let host: &[(&str, &[&str])] = &[("ld-x.so.1", &[]), ("libc.so.6", &["libdeep.so"])];
        let program = elf(Some("/lib/ld-x.so.1"), &["libc.so.6"]);
        let error = resolve_with(&program, &[], host).unwrap_err().to_string();
        assert!(error.contains("needs libdeep.so") && error.contains("--files"), "{error}");
        assert_eq!(
            resolve_with(&program, &["libdeep.so"], host).unwrap(),
            ["/lib/ld-x.so.1", "/lib/libc.so.6"]
        );
        // A loader that is given has to be where the kernel looks for it.
        let own = elf(Some("/opt/ld-own.so"), &[]);
        assert_eq!(resolve_with(&own, &["ld-own.so"], host).unwrap(), ["/opt/ld-own.so"]);
        let error = resolve_with(&elf(None, &["../../etc/passwd"]), &[], host).unwrap_err().to_string();
        assert!(error.contains("needs ../../etc/passwd"), "{error}");
    }

    #[test]
    fn the_libraries_of_a_program_of_this_host_are_on_this_host() {
        let own = elf_at(&std::env::current_exe().unwrap()).unwrap().unwrap();
        let found = libraries_of(&own, |_| None).unwrap();
        assert!(found.keys().any(|path| path.starts_with("/lib/libc.")), "{found:?}");
        assert!(found.values().all(|path| path.is_file()));
    }
}
