//! The guest of a campaign with the golden run that is kept with it.
//!
//! Invariant: **a guest that has changed since is refused.**

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use flipsim::campaign::manifest::golden_digest;
use flipsim::campaign::{CampaignSpec, Manifest, Store};
use flipsim::trial::golden::{Golden, Window};

use super::consent::{self, Trust};
use super::golden::{Prepared, TrialGuest, prepare};
use crate::exit::{Code, ExitWith};
use crate::lab::{digest, patches};
use crate::paths;

/// The guest as the specification keeps it.
pub fn guest_of(spec: &CampaignSpec) -> Result<TrialGuest> {
    let mut guest: TrialGuest = match &spec.guest {
        serde_json::Value::Null => TrialGuest::default(),
        value => serde_json::from_value(value.clone())
            .context("the campaign's `guest` is not understood")
            .exit_with(Code::Usage)?,
    };
    guest.window = match spec.window {
        Window::Done => None,
        Window::Time(length) => Some(length),
    };
    Ok(guest)
}

/// What a campaign's outcomes depend on, as it is now.
pub fn manifest(prepared: &Prepared) -> Result<Manifest> {
    let info = prepared.template.info();
    let mut inputs: BTreeMap<String, String> =
        info.inputs.iter().map(|(name, input)| (name.clone(), input.sha256.clone())).collect();
    let patches = patches::series_digests(&paths::workspace_root()?.join("qemu-patches"))?;
    inputs.insert("patches".to_owned(), digest::of_bytes(format!("{patches:?}").as_bytes()));
    let mut versions = BTreeMap::new();
    versions.insert("qemu".to_owned(), info.plan.qemu_version.clone());
    versions.insert("flipsim".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    let mut host = BTreeMap::new();
    host.insert("architecture".to_owned(), std::env::consts::ARCH.to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    host.insert("cores".to_owned(), cores.to_string());
    Ok(Manifest {
        created: jiff::Timestamp::now(),
        command: std::env::args().collect(),
        host,
        versions,
        template: info.key.clone(),
        golden: golden_digest(&prepared.golden),
        inputs,
    })
}

/// The guest of a campaign with the golden run that is kept with it; refused where the guest has changed, and asked
/// about where the campaign was not made here.
pub fn prepared_of(store: &Store, trust: Trust) -> Result<Prepared> {
    let spec = store.spec();
    let guest = guest_of(spec)?;
    consent::of_campaign(store, &guest, trust)?;
    let mut prepared = prepare(&guest, spec.trial.spacing)?;
    let kept = store.attachment("golden")?.map(|kept| {
        serde_json::from_slice::<Golden>(&kept)
            .context("the golden run in the campaign's file is of another version of the lab; make the campaign again")
            .exit_with(Code::Usage)
    });
    let kept = kept.transpose()?.filter(|kept| kept.template == prepared.golden.template);
    let check = |prepared: &Prepared| -> Result<()> {
        store.check_unchanged(&manifest(prepared)?).exit_with(Code::Usage)
    };
    // Its checkpoints are the campaign's own: where they lie depends on the host that measured them. What is
    // the same each time must be the same here, too.
    match kept {
        None => check(&prepared)?,
        Some(kept) if kept.agrees() => {
            check(&prepared)?;
            prepared.golden = kept;
        }
        Some(kept) => {
            prepared.golden = kept;
            check(&prepared)?;
        }
    }
    Ok(prepared)
}
