//! One more golden run, of which it is recorded what it does with every byte of RAM, and when it uses which register.
//!
//! Invariant: **what is recorded is the golden run**: the state at its end, and what its console said, are the golden
//! run's, or nothing is believed of it.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::files::{is_given_up, open_to_empty};
use crate::memory::PhysRange;
use crate::target::{AccessHook, RecordedRam, Target as _, TargetError, describe};
use crate::trial::accesses::{AccessError, Accesses, Block, Part, RamBlocks, Recorder, SECTION, Vcpu};
use crate::trial::clone::guest::CloneDisk;
use crate::trial::clone::ram::ProcessRam;
use crate::trial::golden::looks::COARSE;
use crate::trial::golden::model::{Golden, GoldenOptions};
use crate::trial::golden_pages::GoldenPages;
use crate::trial::runner::{Got, RunError, Runner};
use crate::trial::settle::file_block;
use crate::trial::template::saved::Template;
use crate::units::{GuestPhys, VirtualNs};

/// How long an interval is at least, and how many a run has at most: the first access to a byte is known in each.
const INTERVAL: u64 = 1_000_000;
const MOST: u64 = 4_000;

/// The file in QEMU's folder that it writes accesses to; emptied after each interval.
const FILE: &str = "accesses";

/// A golden run of which accesses cannot be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The guest is lost.
    #[error(transparent)]
    Run(#[from] RunError),
    /// What QEMU wrote.
    #[error("the accesses that QEMU recorded: {0}")]
    Accesses(#[from] AccessError),
    /// The file that it wrote to, or its memory.
    #[error("cannot read what QEMU recorded in {path}: {cause}")]
    Read {
        /// Its folder.
        path: std::path::PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The run was another one.
    #[error("the run that was recorded is not the golden run: {0}")]
    Other(String),
}

impl Accesses {
    /// Records the accesses of a golden run; `watch` hears how far it is.
    ///
    /// # Errors
    /// QEMU cannot record them or is lost; or the run was not the golden one.
    pub fn record(
        template: &Template,
        golden: &Golden,
        parent: &Path,
        options: &GoldenOptions,
        watch: &mut dyn FnMut(VirtualNs),
    ) -> Result<Accesses, RecordingError> {
        let accesses = Accesses::record_without(&[], template, golden, parent, options, watch)?;
        match accesses.unseen_writer(template, golden)? {
            None => Ok(accesses),
            // It may read unseen as well.
            Some(what) => Err(RecordingError::Other(what)),
        }
    }

    /// The same without what some of QEMU's hooks see, and whatever that misses: to test that each hook is needed. What it
    /// says is wrong.
    ///
    /// # Errors
    /// As above.
    pub fn record_without(
        without: &[AccessHook],
        template: &Template,
        golden: &Golden,
        parent: &Path,
        options: &GoldenOptions,
        watch: &mut dyn FnMut(VirtualNs),
    ) -> Result<Accesses, RecordingError> {
        let mut runner =
            Runner::start_persistently(template, parent, CloneDisk::Memory, options.interrupted)?;
        let target = runner.guest.target();
        target.mark().map_err(RunError::from)?;
        let recorded = target.record_accesses(FILE, without).map_err(RunError::from)?;
        let path = runner.guest.folder().join(FILE);
        let failed = |cause: io::Error| match is_given_up(&cause) {
            true => RecordingError::Run(TargetError::Interrupted.into()),
            false => RecordingError::Read { path: path.clone(), cause },
        };
        let mut file = open_to_empty(&path).map_err(failed)?;
        let ram = ProcessRam::open(runner.guest.pid(), &template.ram_file()).map_err(failed)?;
        let base = File::open(template.ram_file()).map_err(failed)?;
        let blocks = blocks_of(&recorded)?;
        // Faults are only settled in the block that the template's file holds: see `settle`.
        let main = file_block(&blocks, base.metadata().map_err(failed)?.len()).map(|(number, _)| number);
        let mut recorder = Recorder::new(golden.begin(), blocks, |block, offset, page| match main {
            Some(main) if main == block => base.read_exact_at(page, offset),
            _ => Ok(()),
        });
        let (begin, end) = (golden.begin().0, golden.end().0);
        // So that instants are looks: where a trial looks at its guest, more is to be known.
        let step = match golden.looks {
            Some(_) => golden.spacing.0.saturating_mul(COARSE as u64).max(1),
            None => INTERVAL.max((end - begin).div_ceil(MOST)),
        };
        let mut at = begin;
        let mut stream = Vec::new();
        while at < end {
            at = at.saturating_add(step).min(end);
            if let Got::Ended(how, when) = runner.run_to(VirtualNs(at), options.wall)? {
                return Err(RecordingError::Other(format!("{how:?} at {when}")));
            }
            let interval = runner.guest.target().next_accesses().map_err(RunError::from)?;
            stream.clear();
            // What was written is taken away, so that it takes no more room than an interval.
            file.rewind().and_then(|()| file.read_to_end(&mut stream)).map_err(failed)?;
            file.set_len(0).map_err(failed)?;
            recorder.interval(interval.virtual_ns, &stream, &mut |block, offset, page| match main {
                Some(main) if main == block => ram.read(offset, page),
                _ => Ok(()),
            })?;
            watch(VirtualNs(at - begin));
        }
        stream.clear();
        if runner.guest.target().save_executed_code().map_err(RunError::from)? {
            file.rewind().and_then(|()| file.read_to_end(&mut stream)).map_err(failed)?;
        }
        fs::remove_file(&path).map_err(failed)?;
        let vcpu = vcpu_at_end(&mut runner, &recorded.registers, golden)?;
        let state = runner.state(false)?;
        let last = golden.checkpoints.last().and_then(|last| last.state.as_ref());
        match (&state, last) {
            (Some(here), Some(golden)) if !here.is_same(golden) => {
                return Err(RecordingError::Other(describe(golden, here)));
            }
            (Some(_), Some(_)) if runner.console.said() == golden.console => {}
            _ => return Err(RecordingError::Other("its console said something else".to_owned())),
        }
        Ok(recorder.finish().with_vcpu(vcpu).with_code(&stream)?)
    }

    /// What shows that something writes RAM unseen: bytes that changed in a page that was written, or pages that are not at
    /// the end of the run what was recorded of them.
    ///
    /// # Errors
    /// The template's RAM cannot be read.
    pub fn unseen_writer(
        &self,
        template: &Template,
        golden: &Golden,
    ) -> Result<Option<String>, RecordingError> {
        let unseen = self.figures().unseen;
        if unseen > 0 {
            return Ok(Some(format!("{unseen} bytes changed that nothing was seen to write")));
        }
        let path = template.ram_file();
        let failed = |cause: io::Error| RecordingError::Read { path: path.clone(), cause };
        let base = File::open(&path).map_err(failed)?;
        let block = file_block(self.blocks(), base.metadata().map_err(failed)?.len());
        let end = golden.checkpoints.last().and_then(|last| last.state.as_ref()?.pages.as_deref());
        let (Some((block, name)), Some(end)) = (block, end) else { return Ok(None) };
        let base = |_, offset, page: &mut [u8]| base.read_exact_at(page, offset);
        let pages = GoldenPages::new(&self.contents(&base), block, &name)?;
        let last = self.instants().len().saturating_sub(1);
        let what = |pages: &str| format!("{pages} changed that nothing was seen to write");
        Ok(match pages.differing(end, &name, last) {
            None => Some(what("many pages")),
            Some(pages) => pages.first().map(|first| what(&format!("a page, at {first:#x} of {name},"))),
        })
    }
}

/// The vCPU's part of the state at the end of the run, where the guest stands, and where registers are in it: each is
/// changed, looked for, and has its value back. Without a register where that part is not the golden run's.
fn vcpu_at_end(runner: &mut Runner, registers: &[String], golden: &Golden) -> Result<Vcpu, RunError> {
    let target = runner.guest.target();
    let mut vcpu = Vcpu::new(target.section(SECTION)?);
    let sections = golden.checkpoints.last().and_then(|last| last.state.as_ref()?.sections.as_ref());
    let of_golden = sections.and_then(|all| all.iter().find(|one| one.name == SECTION && one.instance == 0));
    if of_golden.is_none_or(|section| section.digest != vcpu.digest()) {
        return Ok(Vcpu::default());
    }
    for name in registers {
        let Some(at) = target.registers().iter().position(|register| register.name == *name) else {
            vcpu.locate(0, &[]);
            continue;
        };
        let old = target.read_register(at)?;
        let pattern = Vcpu::pattern(old.len());
        let other: Vec<u8> = old.iter().zip(&pattern).map(|(old, bits)| old ^ bits).collect();
        target.write_register(at, &other)?;
        let changed = target.section(SECTION)?;
        target.write_register(at, &old)?;
        vcpu.locate(old.len(), &changed);
    }
    Ok(vcpu)
}

/// QEMU's blocks of RAM with whole pages, and where the guest sees them.
pub(super) fn blocks_of(recorded: &RecordedRam) -> Result<RamBlocks, AccessError> {
    let blocks = recorded.blocks.iter().zip(0..=u8::MAX);
    let blocks =
        blocks.map(|(block, number)| Block { number, name: block.name.clone(), length: block.length });
    let parts = recorded.ranges.iter().filter(|range| range.length > 0).map(|range| Part {
        range: PhysRange {
            first: GuestPhys(range.address),
            last: GuestPhys(range.address.saturating_add(range.length - 1)),
        },
        block: range.block,
        offset: range.offset,
    });
    RamBlocks::new(blocks, parts)?.with_registers(recorded.registers.clone())
}
