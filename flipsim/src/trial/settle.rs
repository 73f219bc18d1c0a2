//! What the golden run's recorded accesses say of a trial before it is run: its whole record, or where it may be begun.
//!
//! - **Never accessed again**: nothing reads the changed bytes, so the run is the golden one, and at its end they are the
//!   only difference: latent.
//! - **Overwritten before it is read**: from then on the state is the golden run's: masked, at the first look after it.
//! - **Read**: up to right before that read the guest is the golden one with those bits changed, so that is where the
//!   trial is begun. So is one in a register that is used later, be it read or written.
//! - **A register that is never used again**: it is the only difference at the end: latent.
//! - **Set to what it is**: nothing changes; masked, at the first look.
//!
//! An operation that is no flip is looked up as the flip that does the same to what the golden run has there.
//!
//! Invariant: **a settled trial has the record that the whole run would have had**; where that is not certain, the trial is run.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::fault::{Fault, GuestNames, Operation};
use crate::target::{ChangedPage, Digest128, StateDigest, page_hash};
use crate::text::{hex_value, unhex_value};
use crate::trial::accesses::{
    AccessError, Accesses, Contents, Next, NextOfAll, PAGE, Page, RamBlocks, SECTION,
};
use crate::trial::because::Because;
use crate::trial::golden::model::Golden;
use crate::trial::golden_pages::GoldenPages;
use crate::trial::options::TrialOptions;
use crate::trial::record::{EndState, Heard, LISTED, RegisterDifference, Settled, TrialPlan, TrialRecord};
use crate::trial::template::saved::Template;
use crate::units::{GuestPhys, VirtualNs};

/// An instruction is recorded by the beginning of its block, which has so many at most (QEMU's `TCG_MAX_INSNS`, 512).
const SLACK: u64 = 1024;

/// What is known of a trial before it is run.
#[derive(Clone, Debug)]
pub enum Known {
    /// Nothing that saves anything.
    Nothing,
    /// All of it.
    Settled(Box<TrialRecord>),
    /// It may be begun here, later than its fault.
    Late(VirtualNs),
    /// It is masked; by which look that is seen is not certain.
    Masked,
}

/// What follows a fault.
#[derive(Debug)]
enum After {
    /// The state is the golden run's at once, which is seen at this look.
    Unchanged(VirtualNs),
    /// None of what it changed is read, and these bytes are not overwritten either.
    NeverRead(Vec<GuestPhys>),
    /// All of it is overwritten, so that the state is the golden run's at this look, where that is certain.
    Overwritten(Option<VirtualNs>),
    /// It is not accessed before this.
    Read(VirtualNs),
    /// The register that it changed, as this flip does, is never used.
    Unused(Fault),
}

/// A golden run with its recorded accesses.
#[derive(Debug)]
pub struct Settling<'a> {
    golden: &'a Golden,
    accesses: &'a Accesses,
    options: &'a TrialOptions,
    names: Option<&'a GuestNames>,
    base: File,
    /// The block that the template's file has, by its number and name.
    block: (u8, String),
    file: PathBuf,
    start: &'a StateDigest,
    end: &'a StateDigest,
    pages: GoldenPages,
}

impl<'a> Settling<'a> {
    /// For trials of this template; `None` where nothing may be settled: the golden runs differ, or states cannot be
    /// compared as they are restored.
    ///
    /// # Errors
    /// The template's RAM cannot be read.
    pub fn new(
        template: &Template,
        golden: &'a Golden,
        accesses: &'a Accesses,
        options: &'a TrialOptions,
        names: Option<&'a GuestNames>,
    ) -> io::Result<Option<Self>> {
        let end = golden.checkpoints.last().and_then(|last| last.state.as_ref());
        let Some(end) = end.filter(|_| golden.agrees() && options.early_stop) else { return Ok(None) };
        let Some(start) = &golden.start.state else { return Ok(None) };
        let file = template.ram_file();
        let base = File::open(&file)?;
        let length = base.metadata()?.len();
        let Some(block) = file_block(accesses.blocks(), length) else { return Ok(None) };
        if !options.restore.marks(golden.capabilities) {
            return Ok(None);
        }
        let pages = GoldenPages::default();
        let mut settling =
            Settling { golden, accesses, options, names, base, block, file, start, end, pages };
        settling.pages = settling
            .with_contents(|contents| GoldenPages::new(&contents, settling.block.0, &settling.block.1))?;
        Ok(Some(settling))
    }

    pub(super) fn accesses(&self) -> &Accesses {
        self.accesses
    }

    /// The block that the template's file has, by its number and name.
    pub(super) fn block(&self) -> (u8, &str) {
        (self.block.0, &self.block.1)
    }

    /// The template's RAM.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    pub(super) fn pages(&self) -> &GoldenPages {
        &self.pages
    }

    /// A page of the template's RAM.
    pub(super) fn base(&self, offset: u64) -> io::Result<Page> {
        let mut page = [0; PAGE];
        self.base.read_exact_at(&mut page, offset).map(|()| page)
    }

    /// A page of the golden run's RAM at one of the recorded instants.
    pub(super) fn golden_page(&self, offset: u64, instant: usize) -> io::Result<Page> {
        self.with_contents(|contents| contents.page(self.block.0, offset, instant))
    }

    pub(super) fn with_contents<T>(
        &self,
        use_it: impl FnOnce(Contents<'_>) -> Result<T, AccessError>,
    ) -> io::Result<T> {
        let base = |_, offset, into: &mut [u8]| self.base.read_exact_at(into, offset);
        use_it(self.accesses.contents(&base)).map_err(io::Error::other)
    }

    /// Whether the pages of other blocks than RAM are not as at the quiescent point.
    pub(super) fn others_differ(&self, here: &[ChangedPage]) -> bool {
        let other = |page: &&ChangedPage| page.block != self.block.1;
        let start = self.start.pages.as_deref().unwrap_or_default();
        !here.iter().filter(other).eq(start.iter().filter(other))
    }

    /// The virtual time of the quiescent point.
    #[must_use]
    pub fn origin(&self) -> VirtualNs {
        self.golden.begin()
    }

    /// What follows a fault, where that is certain and saves anything.
    fn after(&self, plan: &TrialPlan) -> Option<After> {
        let operation = plan.fault.operation();
        if !plan.is_one_change() || operation == Operation::Nothing || operation.is_of_instruction() {
            return None;
        }
        let at = self.at(plan);
        if let Some(register) = plan.fault.register() {
            return match self.next_use(register, at) {
                Next::Read { from } => (from > at).then_some(After::Read(from)),
                Next::Never => match self.as_flip(plan, at)? {
                    flip if flip.is_nothing() => self.unchanged(at),
                    flip => self.with_register(&flip).map(|_| After::Unused(flip)),
                },
                Next::Overwritten { .. } | Next::Unknown => None,
            };
        }
        let flip = self.as_flip(plan, at)?;
        if flip.is_nothing() {
            return self.unchanged(at);
        }
        let bytes = bytes_of(&flip)?;
        if bytes.iter().any(|byte| self.place(*byte).is_none()) {
            return None;
        }
        match self.accesses.of(&bytes, at) {
            NextOfAll::Unknown => None,
            NextOfAll::Never { bytes } => Some(After::NeverRead(bytes)),
            // An operation that is no flip is done there to all of its bytes: they must be as they were, those that it
            // leaves as they are too.
            NextOfAll::Read { from } => {
                let from =
                    if operation == Operation::Flip { from } else { from.min(self.first_access(plan, at)?) };
                (from > at).then_some(After::Read(from))
            }
            NextOfAll::Overwritten { .. } => {
                let overwritten = bytes.iter().map(|byte| match self.accesses.next(*byte, at) {
                    // A device's timer that is due at the fault's own instant may come before it.
                    Next::Overwritten { from, .. } if from > at => Some(from),
                    _ => None,
                });
                let last = overwritten.collect::<Option<Vec<_>>>()?.into_iter().max()?;
                Some(After::Overwritten(self.look_behind(at, last)))
            }
        }
    }

    /// The flip that does to the golden run what a fault does: of one in a register, where that is not used any more. Where
    /// it changes nothing, its mask is 0. `None` where what is there is not known.
    fn as_flip(&self, plan: &TrialPlan, at: VirtualNs) -> Option<Fault> {
        if plan.fault.operation() == Operation::Flip {
            return Some(plan.fault.clone());
        }
        // A device's timer that is due at the fault's own instant may come before it.
        if plan.fault.address().is_some() && self.first_access(plan, at)? <= at {
            return None;
        }
        // An error of reading is found again where the trial's record is asked for.
        let old = self.content(plan, at).ok()??;
        let new = plan.fault.operation().apply(&old, plan.fault.mask());
        Some(plan.fault.clone().flipping(Operation::Flip.apply(&old, &new)))
    }

    /// The first access of any byte of a fault in RAM, the run's end where there is none; `None` where that is not known.
    fn first_access(&self, plan: &TrialPlan, at: VirtualNs) -> Option<VirtualNs> {
        let first = |byte: GuestPhys| match self.accesses.next(byte, at) {
            Next::Unknown => None,
            Next::Never => Some(self.golden.end()),
            Next::Read { from } | Next::Overwritten { from, .. } => Some(from),
        };
        let bytes = bytes_of(&plan.fault)?;
        bytes.into_iter().try_fold(VirtualNs(u64::MAX), |earliest, byte| Some(earliest.min(first(byte)?)))
    }

    /// The bytes of RAM that a fault changes, which may be none; `None` where that is not known.
    pub(super) fn changed(&self, plan: &TrialPlan) -> Option<Vec<GuestPhys>> {
        plan.fault.address()?;
        bytes_of(&self.as_flip(plan, self.at(plan))?)
    }

    fn unchanged(&self, at: VirtualNs) -> Option<After> {
        self.golden.looks(at, None).first().map(|look| After::Unchanged(look.recorded.at))
    }

    pub(super) fn at(&self, plan: &TrialPlan) -> VirtualNs {
        VirtualNs(self.golden.begin().0.saturating_add(plan.after.0))
    }

    /// Whether a trial need not be run whole; and where it begins if it is run, on the virtual clock.
    #[must_use]
    pub fn begin_of(&self, plan: &TrialPlan) -> Option<Option<VirtualNs>> {
        self.after(plan).map(|after| match after {
            After::Read(from) => Some(from),
            After::Unchanged(_) | After::Unused(_) | After::NeverRead(_) | After::Overwritten(_) => None,
        })
    }

    /// What is known of a trial.
    ///
    /// # Errors
    /// The template's RAM cannot be read.
    pub fn known(&self, plan: &TrialPlan) -> io::Result<Known> {
        let at = self.at(plan);
        match self.after(plan) {
            None => Ok(Known::Nothing),
            Some(After::Read(from)) => Ok(Known::Late(from)),
            Some(After::Overwritten(None)) => Ok(Known::Masked),
            Some(After::Overwritten(Some(look))) => {
                self.equal_at(plan, self.content(plan, at)?, Settled::Overwritten, look)
            }
            Some(After::Unchanged(look)) => {
                self.equal_at(plan, self.content(plan, at)?, Settled::Unchanged, look)
            }
            Some(After::Unused(flip)) => self.record(plan, self.content(plan, at)?, |record, _| {
                record.settled = Some(Settled::NeverRead);
                record.state = Some(self.end_state(&[], Some(&flip))?);
                record.decide(Because::StateDiffers);
                Ok(())
            }),
            Some(After::NeverRead(bytes)) => self.record(plan, self.content(plan, at)?, |record, new| {
                record.settled = Some(Settled::NeverRead);
                let values = bytes.into_iter().filter_map(|address| {
                    let at = address.0.checked_sub(plan.fault.address()?.0)?;
                    Some((self.place(address)?, *new.get(usize::try_from(at).ok()?)?))
                });
                record.state = Some(self.end_state(&values.collect::<Vec<_>>(), None)?);
                record.decide(Because::StateDiffers);
                Ok(())
            }),
        }
    }

    /// The look by which an overwriting at this instant, or a little later, has made the state the golden run's again.
    /// `None` where it is not certain which one it is.
    pub(super) fn look_behind(&self, at: VirtualNs, from: VirtualNs) -> Option<VirtualNs> {
        let looks = self.golden.looks(at, None);
        let mut looks = looks.iter().map(|look| look.recorded.at);
        looks.find(|look| *look > from).filter(|look| look.0 > from.0 + SLACK)
    }

    /// The record of a trial that was begun late and found bits there that its fault leaves as they are: they were so at its
    /// own time.
    ///
    /// # Errors
    /// The template's RAM cannot be read.
    pub(super) fn found_unchanged(&self, plan: &TrialPlan, old: &[u8]) -> io::Result<Option<TrialRecord>> {
        let Some(After::Unchanged(look)) = self.unchanged(self.at(plan)) else { return Ok(None) };
        let known = self.equal_at(plan, Some(old.to_vec()), Settled::Unchanged, look)?;
        Ok(if let Known::Settled(record) = known { Some(*record) } else { None })
    }

    /// The record of a trial whose state is the golden run's at a look.
    fn equal_at(
        &self,
        plan: &TrialPlan,
        old: Option<Vec<u8>>,
        settled: Settled,
        look: VirtualNs,
    ) -> io::Result<Known> {
        self.record(plan, old, |record, _| {
            record.settled = Some(settled);
            record.end_ns = look.0;
            record.converged_ns = (look != self.golden.end()).then_some(look.0);
            record.decide(match record.converged_ns {
                Some(checkpoint_ns) => Because::Converged { checkpoint_ns },
                None => Because::EqualAtEnd,
            });
            Ok(())
        })
    }

    /// The record of a trial whose output is the golden run's.
    fn record(
        &self,
        plan: &TrialPlan,
        old: Option<Vec<u8>>,
        end: impl FnOnce(&mut TrialRecord, &[u8]) -> io::Result<()>,
    ) -> io::Result<Known> {
        let Some(old) = old else { return Ok(Known::Nothing) };
        let new = plan.fault.operation().apply(&old, plan.fault.mask());
        let mut record = TrialRecord {
            flipped: true,
            looked_up: true,
            old: hex_value(&old),
            new: hex_value(&new),
            end_ns: self.golden.end().0,
            counts: self.golden.signals.count.of(&self.golden.console),
            reached: self.golden.signals.reached(&self.golden.console),
            first_use: self.first_use(plan),
            ..TrialRecord::of(self.golden, plan, self.options.restore, self.names)
        };
        if self.golden.capabilities.times {
            record.heard = Heard::Byte;
            record.done_ns = self.golden.done.map(|done| done.0);
        }
        end(&mut record, &new)?;
        Ok(Known::Settled(Box::new(record)))
    }

    /// When a register is used next: read, written, or both.
    pub(super) fn next_use(&self, register: &str, at: VirtualNs) -> Next {
        let place = self.accesses.blocks().register(register);
        place.map_or(Next::Unknown, |(block, offset)| self.accesses.next_of(block, offset, at))
    }

    /// How the state at the end differs where a flip in a register is the only difference; `None` where that is not known.
    pub(super) fn with_register(&self, fault: &Fault) -> Option<(Digest128, RegisterDifference)> {
        let name = fault.register()?;
        let (_, number) = self.accesses.blocks().register(name)?;
        let vcpu = self.accesses.vcpu();
        let changed = vcpu.digest_with(usize::try_from(number).ok()?, fault.mask())?;
        let devices = page_hash::moved(self.end.devices?, vcpu.digest(), changed);
        let golden = self.end_value(name)?;
        let here = hex_value(&fault.operation().apply(&golden, fault.mask()));
        Some((devices, RegisterDifference { name: name.to_owned(), golden: hex_value(&golden), here }))
    }

    /// What a register holds at the end of the golden run.
    fn end_value(&self, register: &str) -> Option<Vec<u8>> {
        let (_, value) = self.golden.registers.iter().find(|(name, _)| name == register)?;
        unhex_value(value)
    }

    /// What the bytes of a fault hold at its time; of one in a register, at the end.
    fn content(&self, plan: &TrialPlan, at: VirtualNs) -> io::Result<Option<Vec<u8>>> {
        if let Some(register) = plan.fault.register() {
            return Ok(self.end_value(register));
        }
        let Some(first) = plan.fault.address() else { return Ok(None) };
        self.with_contents(|contents| {
            let read = |offset: u64| contents.value(GuestPhys(first.0.saturating_add(offset)), at);
            (0..plan.fault.mask().len() as u64).map(read).collect()
        })
    }

    /// The state at the golden run's end, but for bytes that have other values: their offsets in RAM, in ascending order;
    /// and for a flip in a register.
    pub(super) fn end_state(&self, left: &[(u64, u8)], register: Option<&Fault>) -> io::Result<EndState> {
        let register = register.and_then(|fault| self.with_register(fault));
        let end = self.accesses.instants().len().saturating_sub(1);
        let mut pages: Vec<(u64, Page, Page)> = Vec::new();
        for (offset, value) in left {
            let at = usize::try_from(offset % PAGE as u64).unwrap_or(0);
            let page = offset - at as u64;
            if pages.last().is_none_or(|(last, ..)| *last != page) {
                let golden = self.golden_page(page, end)?;
                pages.push((page, golden, golden));
            }
            if let Some((_, _, here)) = pages.last_mut() {
                here[at] = *value;
            }
        }
        let space = page_hash::space_of(&self.block.1);
        let mut ram = self.end.ram;
        for (page, golden, here) in &pages {
            let base = self.base(*page)?;
            let of = |content: &Page| page_hash::of_page(space, page / PAGE as u64, content, &base);
            ram = page_hash::moved(ram, of(golden), of(here));
        }
        Ok(EndState {
            pages_differ: Some(pages.len() as u64),
            pages: pages
                .iter()
                .take(LISTED)
                .map(|(page, ..)| format!("{}+{page:#x}", self.block.1))
                .collect(),
            disk: Some(false),
            ram,
            device_state: register
                .as_ref()
                .map_or(self.end.devices.unwrap_or_default(), |(devices, _)| *devices),
            devices: register.iter().map(|_| SECTION.to_owned()).collect(),
            registers: register.into_iter().map(|(_, differs)| differs).collect(),
        })
    }

    /// Where a byte is in the template's file.
    fn place(&self, address: GuestPhys) -> Option<u64> {
        let place = self.accesses.blocks().place(address);
        place.filter(|(block, _)| *block == self.block.0).map(|(_, offset)| offset)
    }
}

/// The one block of RAM that a file of this length can be of, by its number and name.
pub(super) fn file_block(blocks: &RamBlocks, length: u64) -> Option<(u8, String)> {
    let mut blocks = blocks.blocks().iter().filter(|block| block.length == length);
    let (Some(block), None) = (blocks.next(), blocks.next()) else { return None };
    Some((block.number, block.name.clone()))
}

/// The bytes of a fault in RAM.
fn bytes_of(fault: &Fault) -> Option<Vec<GuestPhys>> {
    let bits = fault.mask().iter().zip(fault.address()?.0..);
    Some(bits.filter(|(bits, _)| **bits != 0).map(|(_, address)| GuestPhys(address)).collect())
}
