//! Workloads by their names: those of the lab's image, and the user's services, each in an image of its own.
//!
//! Invariant: **a name means one thing for an architecture**: no service has the name of a workload of the lab's.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use flipsim::arch::Arch;
use flipsim::text::{near_words, shown};

use crate::exit::{Code, exit_error};
use crate::lab::config::Config;
use crate::lab::in_use::{Lab, arch_option};
use crate::lab::recipe;
use crate::paths;

/// The name that stands for a shell.
pub const SHELL: &str = "none";

/// The longest name of a service.
const LONGEST_NAME: usize = 40;

/// Refuses what cannot be the name of a service.
pub fn check_new(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.starts_with(|c: char| c.is_ascii_lowercase())
        || !name.chars().all(plain)
        || name.len() > LONGEST_NAME
    {
        bail!(exit_error(
            Code::Usage,
            format!(
                "`{}` is no name for a service: it begins with a letter a to z, and has such letters, digits and - only, \
                 {LONGEST_NAME} at most",
                shown(name, 60)
            )
        ));
    }
    if name == SHELL || labs_own()?.iter().any(|known| known == name) {
        bail!(exit_error(
            Code::Usage,
            format!("{name} is a workload of the lab's own; give the service another name")
        ));
    }
    Ok(())
}

fn labs_own() -> Result<Vec<String>> {
    recipe::workload_names(&paths::workspace_root()?)
}

/// The architecture of a guest that was asked for by its workload alone: the default one, unless the workload is a
/// service that is there for another.
pub fn arch_for(workload: Option<&str>) -> Result<Arch> {
    let default = Config::load()?.guest.arch;
    let Some(name) = workload else { return Ok(default) };
    let archs = Lab::load()?.archs_of(name);
    Ok(if archs.contains(&default) { default } else { archs.first().copied().unwrap_or(default) })
}

/// Refuses a workload that no image of the lab's has for this architecture.
pub fn check(name: &str, arch: Arch) -> Result<()> {
    let known = labs_own()?;
    if name == SHELL || known.iter().any(|workload| workload == name) {
        return Ok(());
    }
    let lab = Lab::load()?;
    let services: Vec<String> = lab.arch(arch).services.into_keys().collect();
    if services.iter().any(|service| service == name) {
        return Ok(());
    }
    bail!(exit_error(Code::Usage, unknown(name, arch, &known, &services, &lab.archs_of(name))))
}

fn unknown(name: &str, arch: Arch, known: &[String], services: &[String], elsewhere: &[Arch]) -> String {
    if let Some(other) = elsewhere.first() {
        return format!(
            "--workload {name}: this service is there for {other}, not for {arch}; take{}, or add it for {arch} as well",
            match arch_option(*other) {
                option if option.is_empty() => " no --arch".to_owned(),
                option => option,
            }
        );
    }
    let own = match services {
        [] => "`cargo xtask image add` puts a program of yours beside them".to_owned(),
        services => format!("your services are {}", services.join(", ")),
    };
    let near = near_words(name, known.iter().chain(services).map(String::as_str));
    format!(
        "--workload {name}: the lab's image has {}, and `{SHELL}` for a shell; {own}{near}",
        known.join(", ")
    )
}

/// The image of a service; `None` for a workload that is in the lab's own.
pub fn image_of(lab: &Lab, arch: Arch, workload: Option<&str>) -> Result<Option<PathBuf>> {
    let part = lab.arch(arch);
    let Some((name, service)) = workload.and_then(|name| Some((name, part.services.get(name)?))) else {
        return Ok(None);
    };
    if !service.qcow2.is_file() {
        bail!(exit_error(
            Code::Missing,
            format!(
                "the image of the service {name} is gone: {}; add it once more with `cargo xtask image add {name} --binary \
                 FILE --replace`",
                service.qcow2.display()
            )
        ));
    }
    static SAID: AtomicBool = AtomicBool::new(false);
    if part.image.is_some_and(|image| !service.stands_on(&image.qcow2)) && !SAID.swap(true, Ordering::Relaxed)
    {
        eprintln!(
            "note: the lab's image was made again since {name} was added, which still stands on the one before; \
             `cargo xtask image add {name} --again` puts it on the new one (campaigns that were begun stay with the old)"
        );
    }
    Ok(Some(service.qcow2.clone()))
}

/// What to say where there is no such service.
pub fn no_service(name: &str, lab: &Lab) -> String {
    let mut known: Vec<String> = Arch::all().flat_map(|arch| lab.arch(arch).services.into_keys()).collect();
    known.sort();
    known.dedup();
    let name = shown(name, 60);
    match known.as_slice() {
        [] => format!("there is no service {name}; `cargo xtask image add` makes one"),
        known => format!("there is no service {name}; there are: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_a_plain_name_that_no_workload_of_the_lab_has() {
        for good in ["list", "list-tmr", "a", "x86-2"] {
            check_new(good).unwrap();
        }
        for bad in ["", "-a", "2a", "List", "a_b", "a b", "a/b", "..", "a.run", "ä", &"a".repeat(41)] {
            assert!(check_new(bad).unwrap_err().to_string().contains("is no name for a service"), "{bad}");
        }
        for taken in ["sha256", "idle", "none"] {
            assert!(check_new(taken).unwrap_err().to_string().contains("the lab's own"), "{taken}");
        }
    }

    #[test]
    fn an_unknown_workload_is_answered_with_those_that_there_are() {
        let arch = Arch::default();
        let known = ["sha256".to_owned(), "fs".to_owned()];
        let text = unknown("lst", arch, &known, &["list".to_owned()], &[]);
        assert!(
            text.contains("has sha256, fs, and `none`") && text.contains("your services are list"),
            "{text}"
        );
        assert!(unknown("lst", arch, &known, &[], &[]).contains("`cargo xtask image add`"));
        let other = Arch::all().find(|other| *other != arch).unwrap();
        let text = unknown("list", arch, &known, &[], &[other]);
        assert!(text.contains(&format!("there for {other}, not for {arch}; take --arch {other}")), "{text}");
    }

    #[test]
    fn an_unknown_service_is_answered_with_those_that_there_are() {
        assert!(no_service("x", &Lab::default()).contains("`cargo xtask image add` makes one"));
    }
}
