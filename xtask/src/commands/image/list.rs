//! `image list`: the workloads by name.
//!
//! Invariant: **it starts nothing and changes nothing.**

use anyhow::Result;
use flipsim::arch::Arch;
use flipsim::text::shown;
use flipsim::units::format_size;
use serde_json::json;

use crate::lab::in_use::Lab;
use crate::lab::recipe::read_recipe;
use crate::paths;

/// Lists the lab's own workloads and the user's services.
pub(super) fn list(as_json: bool) -> Result<()> {
    let recipe = read_recipe(&paths::workspace_root()?.join("images/recipe.toml"))?;
    let lab = Lab::load()?;
    let mut services = Vec::new();
    for arch in Arch::all() {
        let part = lab.arch(arch);
        let base = part.image.map(|image| image.qcow2);
        for (name, service) in part.services {
            let current = base.as_ref().is_some_and(|base| service.stands_on(base));
            let state = match (service.qcow2.is_file(), current) {
                (false, _) => "its image is gone",
                (true, false) => "on an earlier image of the lab",
                (true, true) => "",
            };
            services.push((name, arch, service, state));
        }
    }
    if as_json {
        let own = recipe.workload.iter().map(|workload| {
            json!({ "name": workload.name, "own": false, "digest": workload.digest, "about": workload.about })
        });
        let services = services.iter().map(|(name, arch, service, state)| {
            json!({
                "name": name, "own": true, "arch": arch, "run": service.run, "bytes": service.bytes, "digest": service.digest,
                "output": service.output, "added": service.added, "image": service.qcow2, "state": state,
            })
        });
        let all: Vec<_> = own.chain(services).collect();
        outln!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    for workload in &recipe.workload {
        outln!("{:16} {:8} {:>9}  {}  {}", workload.name, "any", "", workload.digest, workload.about);
    }
    for (name, arch, service, state) in services {
        let state = if state.is_empty() { String::new() } else { format!(" ({state})") };
        outln!(
            "{name:16} {arch:8} {:>9}  {}  {}, added {:.0}{state}",
            format_size(service.bytes),
            service.digest,
            shown(&service.run, 60),
            service.added
        );
    }
    Ok(())
}
