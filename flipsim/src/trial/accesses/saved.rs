//! A run's accesses as a file.
//!
//! ```text
//! "flipsim accesses" · version · content, deflated · SHA-256 of all before it
//!
//! content: blocks, parts, registers, instants, the vCPU at the end, the code that was executed, and for each page what it
//! has: its log, what is walked, its deltas.
//! Numbers are as in `numbers`; what is in order is stored by its differences, what has bytes by their number before.
//! ```
//!
//! Invariants: **what was saved is read as the same; what is anything else is refused**: a number in a file is believed
//! only for as far as the file has the bytes, and all that answers rely on is checked.

use std::io::{self, BufReader, BufWriter, Read, Write};

use flate2::Compression;
use flate2::bufread::DeflateDecoder;
use flate2::write::DeflateEncoder;
use sha2::{Digest, Sha256};

use super::blocks::{Block, PAGE, PageKey, Part, RamBlocks};
use super::code::CodeBlock;
use super::deltas::Deltas;
use super::error::AccessError;
use super::events::Log;
use super::index::{Accesses, PageEntry};
use super::numbers::put;
use super::vcpu::Vcpu;
use crate::memory::PhysRange;
use crate::units::{GuestPhys, VirtualNs};

/// How a file begins.
const MAGIC: &[u8; 16] = b"flipsim accesses";

/// The version of the file that [`Accesses::save`] writes.
pub const FORMAT: u32 = 3;

/// The bytes of a SHA-256.
const SUM: usize = 32;

/// The most that a file may have, and the most that it may take in memory.
const MOST: u64 = 4 << 30;

fn damaged(what: &str) -> AccessError {
    AccessError::Damaged(what.to_owned())
}

/// Counts into a SHA-256 what is written.
struct Summed<W> {
    to: W,
    sum: Sha256,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.sum.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Accesses {
    /// Writes all of it; [`Accesses::load`] reads it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self, to: impl Write) -> Result<(), AccessError> {
        self.write(to).map_err(|cause| AccessError::Io { doing: "write", cause })
    }

    fn write(&self, to: impl Write) -> io::Result<()> {
        let mut to = Summed { to: BufWriter::new(to), sum: Sha256::new() };
        to.write_all(MAGIC)?;
        to.write_all(&FORMAT.to_le_bytes())?;
        let mut content = DeflateEncoder::new(to, Compression::fast());
        let mut bytes = self.head();
        let mut before = 0;
        for (key, page) in &self.pages {
            put(&mut bytes, key.0 - before);
            before = key.0;
            put_bytes(&mut bytes, page.log.bytes());
            match &page.walked {
                None => bytes.push(0),
                Some(walked) => {
                    bytes.push(1);
                    walked.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
                }
            }
            let ends = page.deltas.ends();
            put(&mut bytes, ends.len() as u64);
            let (mut interval, mut end) = (0, 0);
            for (of, at) in ends {
                put(&mut bytes, u64::from(of - interval));
                put(&mut bytes, (at - end) as u64);
                (interval, end) = (*of, *at);
            }
            bytes.extend_from_slice(page.deltas.bytes());
            content.write_all(&bytes)?;
            bytes.clear();
        }
        content.write_all(&bytes)?;
        let Summed { mut to, sum } = content.finish()?;
        to.write_all(&sum.finalize())?;
        to.flush()
    }

    /// What comes before the pages.
    fn head(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(&mut bytes, self.blocks.of_ram().len() as u64);
        for block in self.blocks.of_ram() {
            bytes.push(block.number);
            put_bytes(&mut bytes, block.name.as_bytes());
            put(&mut bytes, block.length);
        }
        put(&mut bytes, self.blocks.parts().len() as u64);
        for part in self.blocks.parts() {
            put(&mut bytes, part.range.first.0);
            put(&mut bytes, part.range.len());
            bytes.push(part.block);
            put(&mut bytes, part.offset);
        }
        put(&mut bytes, self.blocks.registers().len() as u64);
        self.blocks.registers().iter().for_each(|name| put_bytes(&mut bytes, name.as_bytes()));
        put(&mut bytes, self.instants.len() as u64);
        let mut before = 0;
        for at in &self.instants {
            put(&mut bytes, at.0 - before);
            before = at.0;
        }
        put_bytes(&mut bytes, &self.vcpu.content);
        put(&mut bytes, self.vcpu.places.len() as u64);
        for places in &self.vcpu.places {
            put(&mut bytes, places.len() as u64);
            places.iter().for_each(|at| put(&mut bytes, u64::from(*at)));
        }
        put(&mut bytes, self.code.len() as u64);
        for code in &self.code {
            bytes.push(code.block);
            for number in [code.offset, code.instructions.into(), code.bytes.into(), code.runs] {
                put(&mut bytes, number);
            }
        }
        put(&mut bytes, self.records);
        put(&mut bytes, self.unseen);
        put(&mut bytes, self.pages.len() as u64);
        bytes
    }

    /// Reads what [`Accesses::save`] wrote.
    ///
    /// # Errors
    /// It cannot be read, has another version, or was changed.
    pub fn load(from: impl Read) -> Result<Accesses, AccessError> {
        let mut file = Vec::new();
        let read = from.take(MOST + 1).read_to_end(&mut file);
        read.map_err(|cause| AccessError::Io { doing: "read", cause })?;
        let rest = file.strip_prefix(MAGIC).ok_or_else(|| damaged("it does not begin as one"))?;
        let (version, rest) = rest.split_first_chunk().ok_or_else(|| damaged("it ends too soon"))?;
        let version = u32::from_le_bytes(*version);
        if version != FORMAT {
            return Err(AccessError::Damaged(format!("it has version {version}, this is version {FORMAT}")));
        }
        let (content, sum) = rest.split_last_chunk::<SUM>().ok_or_else(|| damaged("it ends too soon"))?;
        let summed = &file[..file.len() - SUM];
        if file.len() as u64 > MOST || Sha256::digest(summed).as_slice() != sum {
            return Err(damaged("its content does not match its SHA-256"));
        }
        let mut from = Source { from: BufReader::new(DeflateDecoder::new(content)), left: MOST };
        let accesses = from.accesses().ok_or_else(|| damaged("its content contradicts itself"))?;
        let whole = from.from.read(&mut [0]).is_ok_and(|more| more == 0);
        let used = from.from.get_ref().total_in() == content.len() as u64;
        if whole && used { Ok(accesses) } else { Err(damaged("its content does not end where it should")) }
    }
}

fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    put(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

/// Takes values from a content that may be anything; `None` where it is not what it should be.
struct Source<R> {
    from: R,
    /// How much more memory may be taken.
    left: u64,
}

impl<R: Read> Source<R> {
    /// Takes memory for one more value of a type.
    fn room<T>(&mut self) -> Option<()> {
        self.left = self.left.checked_sub(size_of::<T>() as u64)?;
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        self.from.read_exact(&mut byte).ok()?;
        Some(byte[0])
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return None;
            }
            number |= part << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// So many bytes. Memory is taken as they come.
    fn bytes(&mut self, count: u64) -> Option<Vec<u8>> {
        self.left = self.left.checked_sub(count)?;
        let mut bytes = Vec::new();
        self.from.by_ref().take(count).read_to_end(&mut bytes).ok()?;
        bytes.shrink_to_fit();
        (bytes.len() as u64 == count).then_some(bytes)
    }

    fn accesses(&mut self) -> Option<Accesses> {
        let blocks = self.blocks()?;
        let mut instants = Vec::new();
        let mut before = 0u64;
        for at in 0..self.number()? {
            self.room::<VirtualNs>()?;
            let step = self.number()?;
            if at > 0 && step == 0 {
                return None;
            }
            before = before.checked_add(step)?;
            instants.push(VirtualNs(before));
        }
        let count = instants.len().checked_sub(1)?;
        u32::try_from(count).ok()?;
        let vcpu = self.vcpu()?;
        let code = self.code(&blocks)?;
        let (records, unseen) = (self.number()?, self.number()?);
        let mut accesses =
            Accesses { blocks, instants, pages: Vec::new(), records, events: 0, unseen, vcpu, code };
        let mut key = 0u64;
        for at in 0..self.number()? {
            self.room::<(PageKey, PageEntry)>()?;
            let step = self.number()?;
            key = key.checked_add(step).filter(|_| at == 0 || step > 0)?;
            let place = PageKey(key);
            if PageKey::of(place.block(), place.offset()) != place
                || place.offset() >= accesses.blocks.block(place.block())?.length
            {
                return None;
            }
            let (page, events) = self.page(&accesses.instants)?;
            accesses.events = accesses.events.checked_add(events)?;
            accesses.pages.push((place, page));
        }
        (accesses.events <= records).then_some(accesses)
    }

    fn blocks(&mut self) -> Option<RamBlocks> {
        let (mut blocks, mut parts) = (Vec::new(), Vec::new());
        for _ in 0..self.number()? {
            self.room::<Block>()?;
            let number = self.byte()?;
            let name = self.number()?;
            let name = String::from_utf8(self.bytes(name)?).ok()?;
            blocks.push(Block { number, name, length: self.number()? });
        }
        for _ in 0..self.number()? {
            self.room::<Part>()?;
            let first = self.number()?;
            let last = first.checked_add(self.number()?.checked_sub(1)?)?;
            let range = PhysRange::new(GuestPhys(first), GuestPhys(last))?;
            parts.push(Part { range, block: self.byte()?, offset: self.number()? });
        }
        let mut registers = Vec::new();
        for _ in 0..self.number()? {
            self.room::<String>()?;
            let name = self.number()?;
            registers.push(String::from_utf8(self.bytes(name)?).ok()?);
        }
        RamBlocks::new(blocks, parts).ok()?.with_registers(registers).ok()
    }

    fn vcpu(&mut self) -> Option<Vcpu> {
        let length = self.number()?;
        let mut vcpu = Vcpu::new(self.bytes(length)?);
        for _ in 0..self.number()? {
            self.room::<Vec<u32>>()?;
            let mut places = Vec::new();
            for _ in 0..self.number()? {
                self.room::<u32>()?;
                places.push(u32::try_from(self.number()?).ok().filter(|at| u64::from(*at) < length)?);
            }
            vcpu.places.push(places);
        }
        Some(vcpu)
    }

    fn code(&mut self, blocks: &RamBlocks) -> Option<Vec<CodeBlock>> {
        let mut code: Vec<CodeBlock> = Vec::new();
        for _ in 0..self.number()? {
            self.room::<CodeBlock>()?;
            let block = CodeBlock {
                block: self.byte()?,
                offset: self.number()?,
                instructions: u16::try_from(self.number()?).ok()?,
                bytes: u16::try_from(self.number()?).ok()?,
                runs: self.number()?,
            };
            code.push(Some(block).filter(|block| block.is_possible(blocks))?);
        }
        code.is_sorted().then_some(code)
    }

    fn page(&mut self, instants: &[VirtualNs]) -> Option<(PageEntry, u64)> {
        let length_of = |interval: u32| {
            let interval = interval as usize;
            Some(instants.get(interval + 1)?.0 - instants.get(interval)?.0)
        };
        let log = self.number()?;
        let (mut log, events) = Log::read(self.bytes(log)?, length_of)?;
        log.shrink();
        let walked = match self.byte()? {
            0 => None,
            1 => {
                let bytes = self.bytes(PAGE as u64 / 8)?;
                let mut walked = Box::new([0; PAGE / 64]);
                for (word, bytes) in walked.iter_mut().zip(bytes.as_chunks().0) {
                    *word = u64::from_le_bytes(*bytes);
                }
                Some(walked).filter(|walked| walked.iter().any(|word| *word != 0))
            }
            _ => return None,
        };
        let (mut interval, mut end) = (0u32, 0usize);
        let mut ends = Vec::new();
        for _ in 0..self.number()? {
            self.room::<(u32, usize)>()?;
            interval = interval.checked_add(u32::try_from(self.number()?).ok()?)?;
            end = end.checked_add(usize::try_from(self.number()?).ok()?)?;
            ends.push((interval, end));
        }
        let bytes = self.bytes(end as u64)?;
        let mut deltas = Deltas::read(bytes, ends, instants.len() - 1)?;
        deltas.shrink();
        Some((PageEntry { log, walked, deltas }, events))
    }
}
