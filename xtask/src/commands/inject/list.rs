//! What faults can be drawn from.

use anyhow::Result;
use flipsim::fault::FlippableRegister;
use flipsim::memory::{MapSource, MemoryMap};
use flipsim::text::hex_value;
use flipsim::units::format_size;

use super::args::ListWhat;
use crate::guest::session::Session;

impl Session {
    /// Shows the regions, the RAM or the registers.
    pub fn list(&mut self, what: ListWhat, json: bool) -> Result<()> {
        let text = match what {
            ListWhat::Reg => list_registers(&self.registers(&[])?, json)?,
            ListWhat::Ram => list_ram(&self.names.map, json)?,
            ListWhat::Regions => list_regions(&self.names.map, json)?,
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

fn list_regions(map: &MemoryMap, json: bool) -> Result<String> {
    if json {
        let rows: Vec<_> = map
            .regions()
            .iter()
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
    for region in map.regions() {
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
