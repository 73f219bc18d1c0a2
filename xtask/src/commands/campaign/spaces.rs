//! From the targets of a campaign to fault spaces of this very guest.
//!
//! Invariant: what is no RAM is refused, and a bit that must not be flipped is in no space.

use anyhow::{Result, bail};
use flipsim::campaign::spec::{CampaignSpec, StratumSpec};
use flipsim::fault::Place;
use flipsim::fault::{FaultSpace, FlippableRegister, GuestNames, RamSpace, RegSpace};
use flipsim::memory::{PhysRange, RangeSet};
use flipsim::text::glob_matches;
use flipsim::trial::Runner;

use crate::exit::{Code, ExitWith, exit_error};
use crate::guest::golden::{Prepared, registers};

/// The fault spaces of a campaign's strata, in their order.
pub fn spaces(
    spec: &CampaignSpec,
    prepared: &Prepared,
    names: &GuestNames,
    runner: &mut Runner,
) -> Result<Vec<FaultSpace>> {
    let needs_registers = |stratum: &StratumSpec| stratum.targets.iter().any(Place::is_register);
    let registers = match spec.strata.iter().any(needs_registers) {
        true => registers(prepared, runner)?,
        false => Vec::new(),
    };
    spec.strata.iter().map(|stratum| space(spec, stratum, names, &registers)).collect()
}

fn space(
    spec: &CampaignSpec,
    stratum: &StratumSpec,
    names: &GuestNames,
    registers: &[FlippableRegister],
) -> Result<FaultSpace> {
    let usage = |text: String| exit_error(Code::Usage, format!("stratum {}: {text}", stratum.name));
    let pattern = spec.pattern_of(stratum);
    if stratum.targets.iter().any(Place::is_register) {
        let mut chosen: Vec<FlippableRegister> = Vec::new();
        for place in &stratum.targets {
            let fits = |register: &&FlippableRegister| match place {
                Place::Register(glob) => glob_matches(glob, &register.name),
                Place::Class(class) => register.class == *class,
                _ => false,
            };
            let before = chosen.len();
            for register in registers.iter().filter(fits) {
                if !chosen.contains(register) {
                    chosen.push(register.clone());
                }
            }
            if chosen.len() == before && !registers.iter().any(|register| fits(&register)) {
                bail!(usage(format!("no register that takes a flip is {place}")));
            }
        }
        return Ok(FaultSpace::Reg(RegSpace::new(&chosen, pattern).exit_with(Code::Usage)?));
    }
    let mut ranges: Vec<PhysRange> = Vec::new();
    for place in &stratum.targets {
        let symbols = || {
            let why = names.symbols_missing.clone().unwrap_or_default();
            names.symbols.as_ref().ok_or_else(|| usage(format!("{place}: {why}")))
        };
        match place {
            Place::Ram => ranges.extend(names.map.system_ram().ranges()),
            Place::Region(name) => ranges.extend(names.map.region(name).exit_with(Code::Usage)?.ranges()),
            Place::Section(name) => ranges.push(symbols()?.section(name).exit_with(Code::Usage)?),
            Place::Range(range) => ranges.push(*range),
            Place::Symbol(glob) => {
                let map = symbols()?;
                let all = map.symbols().all().iter().filter(|symbol| symbol.size > 0);
                let found: Vec<PhysRange> = all
                    .filter(|symbol| glob_matches(glob, &symbol.name))
                    .filter_map(|symbol| map.resolve(&symbol.name).ok())
                    .collect();
                if found.is_empty() {
                    bail!(usage(format!("no symbol in the running kernel is `{glob}`")));
                }
                ranges.extend(found);
            }
            Place::Register(_) | Place::Class(_) => {}
        }
    }
    for range in &ranges {
        names.map.check_ram(*range).exit_with(Code::Usage)?;
    }
    // Two names of one place are one place.
    let bytes: RangeSet = ranges.into_iter().collect();
    Ok(FaultSpace::Ram(RamSpace::new(&bytes, pattern).exit_with(Code::Usage)?))
}
