//! Symbols of a kernel: ELF, `System.map` and `/proc/kallsyms`, and their place in a guest.
#![no_main]

use flipsim::arch::Arch;
use flipsim::kernel::symbols::{Sources, SymbolMap, Symbols};
use flipsim::memory::{MemoryMap, PhysRange};
use flipsim::target::FakeTarget;
use flipsim::units::{GuestPhys, GuestVirt};
use flipsim_fuzz::file;
use libfuzzer_sys::fuzz_target;

const MTREE: &str = "FlatView #0\n AS \"memory\", root: system\n Root memory region: system\n  \
    0000000040000000-000000004000ffff (prio 0, ram): mach-virt.ram KVM\n";
const IOMEM: &str = "40000000-4000ffff : System RAM\n  40000000-40007fff : Kernel code\n  \
    40008000-4000bfff : Kernel data\n";

fuzz_target!(|data: &[u8]| {
    let path = file("symbols", data);
    for sources in
        [Sources::from_section(data).ok(), Sources::read(&path).ok().flatten()].into_iter().flatten()
    {
        for address in [0, 1, 0x1000, u64::MAX] {
            let _ = sources.at(GuestVirt(address));
        }
        assert_eq!(Sources::from_section(&sources.section()), Ok(sources));
    }
    let Ok(symbols) = Symbols::load(&path) else { return };
    let of_all: Vec<(String, GuestVirt)> =
        symbols.all().iter().take(50).map(|symbol| (symbol.name.clone(), symbol.address)).collect();
    for (name, address) in &of_all {
        assert!(symbols.get(name).is_ok());
        let _ = symbols.at(*address);
    }
    for address in [0, 1, u64::MAX] {
        let _ = symbols.at(GuestVirt(address));
    }
    let _ = symbols.get("no_such_name");

    let range: PhysRange = "0x40000000+64K".parse().expect("a range");
    let iomem = data.last().is_some_and(|byte| byte % 2 == 0).then_some(IOMEM);
    let map = MemoryMap::new(iomem, MTREE).expect("a map");
    let arch = Arch::all().next().expect("an architecture");
    let Ok(found) = SymbolMap::anchor(symbols, &arch, &map, &mut FakeTarget::new(range)) else { return };
    for (name, address) in &of_all {
        let _ =
            (found.resolve(name), found.resolve(&format!("{name}+0xffffffffffffffff")), found.phys(*address));
    }
    for section in [".text", ".data", ".bss", ".init.text"] {
        let _ = found.section(section);
    }
    for address in [range.first, range.last, GuestPhys(0), GuestPhys(u64::MAX)] {
        let _ = found.name_at(address);
    }
});
