//! `image remove`: a service is known no more.
//!
//! Invariant: **nothing that a campaign was made of is deleted**: the same service, added again, is the same image.

use anyhow::{Result, bail};
use flipsim::arch::Arch;
use flipsim::campaign::Store;

use crate::exit::{Code, exit_error};
use crate::guest::prepared::guest_of;
use crate::guest::workload::no_service;
use crate::lab::cache::Cache;
use crate::lab::campaigns::files::files_in;
use crate::lab::in_use::Lab;
use crate::paths;

/// Takes a service out of the lab.
pub(super) fn remove(name: &str, arch: Option<Arch>) -> Result<()> {
    let _lock = Cache::open()?.lock("service", "a service")?;
    let lab = Lab::load()?;
    let archs: Vec<Arch> =
        lab.archs_of(name).into_iter().filter(|known| arch.is_none_or(|wanted| wanted == *known)).collect();
    if archs.is_empty() {
        bail!(exit_error(Code::Usage, no_service(name, &lab)));
    }
    let campaigns = campaigns_of(name)?;
    for arch in &archs {
        Lab::update(*arch, |lab| {
            lab.services.remove(name);
        })?;
        eprintln!("{name} for {arch}: removed; its image stays in the cache, as what campaigns were made of");
    }
    match campaigns.as_slice() {
        [] => eprintln!("  no campaign of this lab runs it"),
        names => eprintln!(
            "  {}: can be read and reported; to run or replay a trial, add the same files with the same --run again",
            names.join(", ")
        ),
    }
    Ok(())
}

/// The lab's campaigns whose guest runs it.
fn campaigns_of(name: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for path in files_in(&paths::lab_dir()?.join("campaigns")) {
        let Ok(store) = Store::open_readonly(&path) else { continue };
        let Ok(guest) = guest_of(store.spec()) else { continue };
        if guest.spec.workload.as_deref() == Some(name) && guest.spec.image.is_none() {
            names.push(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}
