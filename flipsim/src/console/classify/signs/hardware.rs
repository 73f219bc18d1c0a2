//! What the hardware reports of itself: machine checks, memory and bus errors.

use crate::console::classify::kind::Kind;
use crate::console::classify::signs::heading::Place::{Anywhere, Start, Word};
use crate::console::classify::signs::heading::Voice::{Any, Kernel};
use crate::console::classify::signs::heading::Wants::Nothing;
use crate::console::classify::signs::heading::{Heading, Line, Sign, sign};
use crate::console::classify::text::{clean, stable};

/// The rows.
pub static SIGNS: &[Sign] = &[
    sign("[Hardware Error]: ", Anywhere, Any, |line| {
        let machine_check = line.rest.to_ascii_lowercase().contains("machine check");
        error(if machine_check { "Machine check" } else { "Hardware Error" })
    }),
    sign("EDAC ", Start, Kernel, edac),
    sign("Memory failure: ", Word, Kernel, |line| {
        let (page, what) = line.rest.split_once(": ")?;
        page.starts_with("0x").then_some(())?;
        error(format!("Memory failure: {}", stable(what)))
    }),
    sign("MCE: Killing ", Word, Kernel, |_| error("MCE: Killing a program")),
    sign("Uncorrected hardware memory error", Word, Kernel, |_| error("Uncorrected hardware memory error")),
    sign("Machine Check Exception", Word, Kernel, |_| error("Machine check")),
    sign("Machine check events logged", Word, Kernel, |_| error("Machine check")),
    sign("Soft offlining pfn ", Start, Kernel, |_| error("Soft offlining of a page")),
    sign("PCIe Bus Error: severity=", Word, Kernel, |line| {
        error(format!("PCIe Bus Error: {}", clean(line.rest.split(',').next()?)))
    }),
    sign("AER: ", Word, Kernel, |line| {
        let (what, _) = line.rest.split_once(" received")?;
        what.contains("rror").then(|| error(format!("AER: {}", clean(what))))?
    }),
    sign("ncorrectable ECC error", Anywhere, Kernel, |_| error("uncorrectable ECC error")),
    sign("ncorrectable error", Anywhere, Kernel, |_| error("uncorrectable error")),
    sign("NMI received for unknown reason ", Word, Kernel, |_| error("NMI for an unknown reason")),
    sign("NMI: PCI system error", Word, Kernel, |_| error("NMI: PCI system error")),
    sign("NMI: IOCK error", Word, Kernel, |_| error("NMI: IOCK error")),
    sign("Possible thermal failure", Word, Kernel, |_| error("Possible thermal failure")),
    sign("parity error", Word, Kernel, |line| {
        let cache = line.before.to_ascii_lowercase();
        ["cache", "memory", "ram", "tlb"]
            .iter()
            .any(|part| cache.contains(part))
            .then(|| error("parity error"))?
    }),
];

fn error(title: impl Into<String>) -> Option<Heading> {
    Heading::new(Kind::HardwareError, title, Nothing)
}

/// `EDAC MC0: 1 CE … on …`, `EDAC DEVICE0: CPU: L1 Cache instance: … UE`, `EDAC PCI: Bridge Parity Error`;
/// what the driver says of itself is no error.
fn edac(line: &Line) -> Option<Heading> {
    let words = || line.rest.split(|c: char| !c.is_ascii_alphanumeric());
    if words().any(|word| word == "CE") {
        error("EDAC: corrected error")
    } else if words().any(|word| word == "UE") {
        error("EDAC: uncorrected error")
    } else {
        line.rest.contains("arity Error").then(|| error("EDAC: parity error"))?
    }
}
