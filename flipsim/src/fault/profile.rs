//! In which of the kernel's functions a run spends its instructions, and how often each is called.
//!
//! Instructions are counted by blocks of code, each as often as it was begun: one that an exception leaves early counts as a
//! whole. A block belongs to the function that its first instruction is in. A call is a block that begins where a function
//! does; a loop that goes back to there counts as calls as well.
//!
//! Invariant: **each executed instruction is in one function, or elsewhere**: in programs, modules, or where no symbol is.

use std::collections::BTreeMap;

use crate::kernel::symbols::SymbolMap;
use crate::memory::PhysRange;
use crate::units::GuestPhys;

/// A block of code that a run executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executed {
    /// Where its first instruction is.
    pub first: GuestPhys,
    /// How many instructions it has.
    pub instructions: u64,
    /// How often it was begun.
    pub runs: u64,
}

/// What a run did in one function of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub range: PhysRange,
    /// How many instructions were executed in it.
    pub instructions: u64,
    /// How often it was entered at its begin.
    pub calls: u64,
}

/// What a run did, function by function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    functions: Vec<Function>,
    elsewhere: u64,
}

impl Profile {
    /// Of the code that a run executed.
    #[must_use]
    pub fn new(executed: impl Iterator<Item = Executed>, symbols: &SymbolMap) -> Self {
        let mut found: BTreeMap<GuestPhys, Function> = BTreeMap::new();
        let mut elsewhere = 0;
        for Executed { first, instructions, runs } in executed {
            let count = instructions.saturating_mul(runs);
            let function = symbols.symbol_at(first).and_then(|(symbol, offset)| {
                let last = first.0.checked_sub(offset)?.checked_add(symbol.size.max(1) - 1)?;
                Some((PhysRange::new(GuestPhys(first.0 - offset), GuestPhys(last))?, &symbol.name, offset))
            });
            let Some((range, name, offset)) = function else {
                elsewhere += count;
                continue;
            };
            let function = found.entry(range.first).or_insert_with(|| Function {
                name: name.clone(),
                range,
                instructions: 0,
                calls: 0,
            });
            function.instructions = function.instructions.saturating_add(count);
            function.calls += if offset == 0 { runs } else { 0 };
        }
        let mut functions: Vec<Function> = found.into_values().collect();
        // Of equal ones the first in memory, so that two runs give the same order.
        functions.sort_by_key(|function| std::cmp::Reverse(function.instructions));
        Profile { functions, elsewhere }
    }

    /// The functions, those with the most instructions first.
    #[must_use]
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// The instructions that were in no function of the kernel.
    #[must_use]
    pub fn elsewhere(&self) -> u64 {
        self.elsewhere
    }

    /// The instructions that were in functions of the kernel.
    #[must_use]
    pub fn in_kernel(&self) -> u64 {
        self.functions.iter().map(|function| function.instructions).sum()
    }

    /// The fewest functions that have at least this share of the kernel's instructions.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn covering(&self, share: f64) -> &[Function] {
        let wanted = self.in_kernel() as f64 * share;
        let mut sum = 0u64;
        let behind = self.functions.iter().position(|function| {
            sum += function.instructions;
            sum as f64 >= wanted
        });
        behind.map_or(&[][..], |last| &self.functions[..=last])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::symbols::map_of;

    fn executed(at: u64, instructions: u64, runs: u64) -> Executed {
        Executed { first: GuestPhys(0x4000_1000 + at), instructions, runs }
    }

    #[test]
    fn each_instruction_is_in_one_function_or_elsewhere() {
        let (_, symbols) = map_of(&[("callee", 0x200, 0x40), ("rare", 0x300, 0x10)]);
        let code = [
            // do_one_thing, 0x100 to 0x13f: entered 10 times, and once in the middle.
            executed(0x100, 8, 10),
            executed(0x120, 4, 1),
            executed(0x200, 3, 100),
            executed(0x300, 5, 3),
            // Behind the image: a program.
            executed(0x9000, 7, 1000),
        ];
        let profile = Profile::new(code.into_iter(), &symbols);
        let found: Vec<_> =
            profile.functions().iter().map(|f| (f.name.as_str(), f.instructions, f.calls)).collect();
        assert_eq!(found, [("callee", 300, 100), ("do_one_thing", 84, 10), ("rare", 15, 3)]);
        assert_eq!((profile.in_kernel(), profile.elsewhere()), (399, 7000));
        assert_eq!(profile.functions()[1].range, "0x40001100+0x40".parse().unwrap());
        let covering = |share| profile.covering(share).len();
        // 300 of 399 are 75.2 %, 384 are 96.2 %.
        assert_eq!([0.75, 0.76, 0.96, 0.97, 1.0].map(covering), [1, 2, 2, 3, 3]);
        assert_eq!(Profile::default().covering(1.0), []);
    }
}
