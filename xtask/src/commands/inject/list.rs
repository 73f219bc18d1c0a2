//! What faults can be drawn from.

use anyhow::{Result, bail};
use flipsim::fault::{FlippableRegister, GuestNames};
use flipsim::memory::{MapSource, MemoryMap};
use flipsim::text::{glob_matches, hex_value, near_names};
use flipsim::units::format_size;

use super::args::ListWhat;
use crate::exit::{Code, exit_error};
use crate::guest::session::Session;

impl Session {
    /// Shows the regions, the RAM, the registers or the symbols: those whose name matches.
    pub fn list(&mut self, what: ListWhat, glob: &str, json: bool) -> Result<()> {
        let named = |name: &str| glob_matches(glob, name);
        let text = match what {
            ListWhat::Reg => {
                let mut registers = self.registers(&[])?;
                registers.retain(|register| named(&register.name));
                list_registers(&registers, json)?
            }
            ListWhat::Ram if glob == "*" => list_ram(&self.names.map, json)?,
            ListWhat::Ram => {
                bail!(exit_error(Code::Usage, "ranges of RAM have no names; `inject list regions` has"))
            }
            ListWhat::Regions => list_regions(&self.names.map, &named, json)?,
            ListWhat::Symbols => list_symbols(&self.names, glob, json)?,
        };
        outln!("{}", text.trim_end());
        if self.names.map.source() == MapSource::Monitor {
            eprintln!("note: the guest's /proc/iomem is not known; these are QEMU's RAM blocks");
        }
        Ok(())
    }
}

fn list_registers(registers: &[FlippableRegister], json: bool) -> Result<String> {
    if json {
        let rows: Vec<_> = registers
            .iter()
            .map(|r| {
                serde_json::json!({
                    "register": r.name, "class": r.class, "bits": r.bits,
                    "writable_bits": r.writable_bits(), "writable": hex_value(&r.writable),
                })
            })
            .collect();
        return Ok(format!("{}\n", serde_json::to_string_pretty(&rows)?));
    }
    let mut text = format!("{:18} {:10} {:>5} {:>9}\n", "register", "class", "bits", "flippable");
    for r in registers.iter().filter(|r| r.writable_bits() > 0) {
        text.push_str(&format!("{:18} {:10} {:>5} {:>9}\n", r.name, r.class, r.bits, r.writable_bits()));
    }
    let closed = registers.iter().filter(|r| r.writable_bits() == 0).count();
    let open: u32 = registers.iter().map(FlippableRegister::writable_bits).sum();
    text.push_str(&format!(
        "{open} bits in {} registers take a flip; {closed} more registers can be read over the gdb stub and not written\n",
        registers.len() - closed
    ));
    Ok(text)
}

fn list_ram(map: &MemoryMap, json: bool) -> Result<String> {
    let ram = map.system_ram();
    if json {
        return Ok(format!("{}\n", serde_json::to_string_pretty(&ram)?));
    }
    let mut text = String::new();
    for range in ram.ranges() {
        text.push_str(&format!("{range}  {}\n", format_size(range.len())));
    }
    text.push_str("RAM regions by name:\n");
    let mut names: Vec<&str> = Vec::new();
    for region in map.regions().iter().filter(|region| map.is_ram(region)) {
        if !names.contains(&region.name.as_str()) {
            names.push(&region.name);
        }
    }
    for name in names {
        let bytes = map.region(name).ok().and_then(|set| set.bytes()).unwrap_or(0);
        text.push_str(&format!("  {name:24} {}\n", format_size(bytes)));
    }
    Ok(text)
}

fn list_symbols(names: &GuestNames, glob: &str, json: bool) -> Result<String> {
    let known = names.symbols().map_err(|why| exit_error(Code::Usage, format!("no symbols: {why}")))?;
    let all = known.symbols().all().iter().filter(|symbol| glob_matches(glob, &symbol.name));
    // What is not in the running kernel's memory is no target.
    let rows: Vec<_> = all.filter_map(|symbol| Some((symbol, known.phys(symbol.address)?))).collect();
    if rows.is_empty() {
        let near = near_names(glob, known.symbols().all().iter().map(|symbol| symbol.name.as_str()));
        bail!(exit_error(Code::Usage, format!("no symbol in the running kernel is `{glob}`{near}")));
    }
    if json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(symbol, phys)| {
                serde_json::json!({
                    "symbol": symbol.name, "address": phys.to_string(), "virtual": symbol.address.to_string(),
                    "bytes": symbol.size,
                })
            })
            .collect();
        return Ok(format!("{}\n", serde_json::to_string_pretty(&rows)?));
    }
    let mut text = format!("{:12} {:18} {:>10}  symbol\n", "address", "virtual", "bytes");
    for (symbol, phys) in rows {
        text.push_str(&format!(
            "{:12} {:18} {:>10}  {}\n",
            phys.to_string(),
            symbol.address.to_string(),
            symbol.size,
            symbol.name
        ));
    }
    Ok(text)
}

fn list_regions(map: &MemoryMap, named: &dyn Fn(&str) -> bool, json: bool) -> Result<String> {
    if json {
        let rows: Vec<_> = map
            .regions()
            .iter()
            .filter(|r| named(&r.name))
            .map(|r| {
                serde_json::json!({
                    "name": r.name, "path": r.path, "first": r.range.first.to_string(),
                    "last": r.range.last.to_string(), "bytes": r.range.len(), "ram": map.is_ram(r),
                })
            })
            .collect();
        return Ok(format!("{}\n", serde_json::to_string_pretty(&rows)?));
    }
    let mut text = String::new();
    for region in map.regions().iter().filter(|region| named(&region.name)) {
        let kind = if map.is_ram(region) { "ram" } else { "device" };
        text.push_str(&format!(
            "{:24} {:>10}  {kind:6}  {}{}\n",
            region.range.to_string(),
            format_size(region.range.len()),
            "  ".repeat(region.depth),
            region.name
        ));
    }
    Ok(text)
}
