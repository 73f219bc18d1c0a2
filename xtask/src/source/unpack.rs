//! Unpacking source archives.
//!
//! Invariants: **nothing lands outside the folder**, whatever the archive says; a folder has its
//! final name only when all of the archive is in it; **no memory is taken for what an archive merely
//! claims**: all that describes an entry (long names, pax records, maps of sparse files) has a bound
//! and counts. An entry whose name leads outside ends it; a symbolic link whose target does is left
//! out.
//!
//! Why links are safe: an entry is written only below folders that are real, never through a link.
//! A symbolic link is accepted only as `../` × n followed by plain names, with n no more than the
//! depth of the (real) folder that holds it. Its first steps then stay inside, and each link on the
//! rest of the way obeys the same rule.

use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use flipsim::files;
use flipsim::units::format_size;
use tar::{Archive, Entry, EntryType};

use crate::interrupt;
use crate::lab::cache;
use crate::progress::ProgressStep;

/// What an archive may hold at most. A source tree is far below; a bomb is far above.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Files, folders and links.
    pub entries: u64,
    /// Bytes of content, and of all that describes it beyond a header each.
    pub bytes: u64,
}

/// The bytes that may describe one entry, before and in place of its header. Extended attributes of a file are some
/// kilobytes; the tar crate holds all of it in memory.
const DESCRIPTION: u64 = 1 << 20;

/// The longest name, as the system has it (`PATH_MAX`).
const LONGEST_NAME: usize = 4096;

/// The memory that decompressing may take: `xz -9` needs 65 MiB, and a crafted header asks for 4 GiB.
const DECOMPRESSOR_MEMORY: u64 = 256 << 20;

impl Default for Limits {
    fn default() -> Self {
        Limits { entries: 1_000_000, bytes: 16 << 30 }
    }
}

/// Unpacks `archive` to `folder`, which must not exist yet, without the archive's own top folder.
pub fn unpack_new(archive: &Path, folder: &Path) -> Result<()> {
    let temporary = files::beside(folder, ".tmp");
    cache::remove_tree(&temporary)?;
    fs::create_dir_all(&temporary).with_context(|| format!("cannot make {}", temporary.display()))?;
    let unpacked = unpack_into(archive, &temporary, 1, Limits::default()).and_then(|()| {
        fs::rename(&temporary, folder).with_context(|| format!("cannot make {}", folder.display()))
    });
    if unpacked.is_err() {
        // The error that brought us here says more than one from cleaning up would.
        let _left = cache::remove_tree(&temporary);
    }
    unpacked
}

/// Unpacks `archive` over what is in `folder`, dropping the first `strip` parts of each name. On an
/// error the folder holds a part of it: the caller throws it away.
pub fn unpack_into(archive: &Path, folder: &Path, strip: usize, limits: Limits) -> Result<()> {
    let name = archive.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let file = files::open_plain(archive).with_context(|| format!("cannot open {}", archive.display()))?;
    let size = file.metadata().with_context(|| format!("cannot read {}", archive.display()))?.len();
    let step = ProgressStep::bytes(format!("unpacking {name}"), Some(size));
    let read = Rc::new(Cell::new(0));
    let compressed = Counting { inner: file, read: read.clone() };
    let plain = decompress(BufReader::with_capacity(1 << 16, compressed))
        .with_context(|| format!("{} is no archive that setup can unpack", archive.display()))?;
    let tail = Rc::new(Cell::new(0));
    let allowance = Rc::new(Allowance::default());
    let bounded = Bounded { inner: plain, allowance: allowance.clone() };
    let mut tar = Archive::new(TrailingZeros { inner: bounded, zeros: tail.clone() });

    let mut unpacker = Unpacker {
        folder,
        strip,
        limits,
        real_folders: HashSet::from([PathBuf::new()]),
        entries: 0,
        described: 0,
        bytes: 0,
        left_out: None,
    };
    let damaged = || format!("{} is truncated or damaged; remove it and run setup again", archive.display());
    let mut entries = tar.entries().with_context(damaged)?;
    loop {
        interrupt::check()?;
        // Up to its content, an entry has this much; what its content is read for is counted by `entry`.
        allowance.grant(DESCRIPTION);
        let next = entries.next();
        if allowance.is_used_up() {
            bail!(
                "{}: after {} entries, one is described in more than {} (its name, its pax records or its map of a \
                 sparse file), which no source tree's is",
                archive.display(),
                unpacker.entries,
                format_size(DESCRIPTION)
            );
        }
        let Some(entry) = next else { break };
        let mut entry = entry.map_err(|error| unreadable(error, archive))?;
        unpacker.count(allowance.used().saturating_sub(HEADER))?;
        allowance.grant(u64::MAX);
        let shown: String = String::from_utf8_lossy(&entry.path_bytes()).chars().take(200).collect();
        unpacker
            .entry(&mut entry)
            .and_then(|()| unpacker.pass_over(&mut entry))
            .with_context(|| format!("{}: the entry `{}`", archive.display(), shown.escape_debug()))?;
        step.set(read.get());
    }
    // The rest is read as well: only there do the compressors' own checksums stand.
    allowance.grant(u64::MAX);
    let mut rest = tar.into_inner();
    let mut buffer = vec![0; 1 << 16];
    loop {
        interrupt::check()?;
        match rest.read(&mut buffer).with_context(damaged)? {
            0 => break,
            n => unpacker.count(n as u64).with_context(|| format!("{}: after its end", archive.display()))?,
        }
    }
    if unpacker.entries == 0 {
        bail!("{} holds nothing", archive.display());
    }
    // An archive ends with two blocks of zeroes; without one it was cut between two entries.
    if tail.get() < 512 {
        return Err(anyhow::anyhow!("the mark of its end is missing")).with_context(damaged);
    }
    match unpacker.left_out {
        None => step.done(),
        Some((first, count)) => {
            step.done_with(&format!("left out {count} links that lead outside, first {first}"))
        }
    }
    Ok(())
}

struct Unpacker<'a> {
    folder: &'a Path,
    strip: usize,
    limits: Limits,
    /// Folders that were seen to be folders and no links. None can turn into a link later: an entry
    /// in the place of a folder is refused.
    real_folders: HashSet<PathBuf>,
    entries: u64,
    /// The same with headers that are no entries.
    described: u64,
    bytes: u64,
    /// The first link that was left out, with the reason, and how many were.
    left_out: Option<(String, u64)>,
}

impl Unpacker<'_> {
    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<()> {
        let kind = entry.header().entry_type();
        self.described += 1;
        if self.described > self.limits.entries {
            bail!("the archive holds more than {} entries, which no source tree does", self.limits.entries);
        }
        if matches!(kind, EntryType::XGlobalHeader | EntryType::XHeader) {
            return Ok(());
        }
        self.entries += 1;
        let inside = inside(&entry.path_bytes())?;
        let Some(path) = strip(&inside, self.strip) else {
            if kind == EntryType::Directory {
                return Ok(());
            }
            bail!("it lies outside the archive's top folder");
        };
        match kind {
            EntryType::Directory => self.real_folder(&path),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => self.file(entry, &path),
            EntryType::Symlink => {
                let target = entry.link_name_bytes().context("a link without a target")?.into_owned();
                self.symlink(&path, &target)
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().context("a link without a target")?.into_owned();
                self.hard_link(&path, &target)
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                bail!("device nodes and pipes are not unpacked")
            }
            other => bail!("entries of the kind {other:?} are not unpacked"),
        }
    }

    /// Counts bytes against the limit.
    fn count(&mut self, bytes: u64) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.bytes {
            bail!("the archive holds more than {} bytes, which no source tree does", self.limits.bytes);
        }
        Ok(())
    }

    /// Reads what is left of an entry, so that the next one is not reached by what this one claims to hold.
    fn pass_over<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<()> {
        let mut buffer = [0; 1 << 14];
        loop {
            interrupt::check()?;
            match entry.read(&mut buffer).context("the archive is truncated or damaged")? {
                0 => return Ok(()),
                n => self.count(n as u64)?,
            }
        }
    }

    fn file<R: Read>(&mut self, entry: &mut Entry<'_, R>, path: &Path) -> Result<()> {
        let size = entry.size();
        self.count(size)?;
        let runnable = entry.header().mode().unwrap_or(0) & 0o100 != 0;
        let place = self.free_place(path)?;
        let failed = |error: io::Error| {
            let hint = cache::full_disk_hint(&error);
            anyhow::Error::new(error).context(format!("cannot write {}{hint}", place.display()))
        };
        // The set-user-id, group and sticky bits of the archive are dropped, as are odd permissions.
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(if runnable { 0o755 } else { 0o644 })
            .open(&place)
            .map_err(failed)?;
        let mut buffer = [0; 1 << 16];
        let mut written = 0;
        loop {
            let n = entry.read(&mut buffer).context("the archive is truncated or damaged")?;
            if n == 0 {
                break;
            }
            interrupt::check()?;
            file.write_all(&buffer[..n]).map_err(failed)?;
            written += n as u64;
        }
        if written != size {
            bail!("the archive is truncated: {written} of {size} bytes");
        }
        // Builds compare times: a generated file must not look older than what it came from.
        if let Ok(seconds @ 1..) = entry.header().mtime()
            && let Some(time) = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
        {
            file.set_modified(time).map_err(failed)?;
        }
        Ok(())
    }

    /// A link that leads outside is left out, and reported: release archives carry such links in parts
    /// that no build looks at, and what was never made cannot be written through.
    fn symlink(&mut self, path: &Path, target: &[u8]) -> Result<()> {
        if let Err(why) = self.check_target(path, target) {
            self.real_parent(path)?;
            let first = format!("{}: {why}", path.display().to_string().escape_debug());
            let (_, count) = self.left_out.get_or_insert((first, 0));
            *count += 1;
            return Ok(());
        }
        let place = self.free_place(path)?;
        std::os::unix::fs::symlink(OsStr::from_bytes(target), &place)
            .with_context(|| format!("cannot make the link {}", place.display()))
    }

    /// Whether the target of a link stays inside the folder.
    fn check_target(&self, path: &Path, target: &[u8]) -> Result<()> {
        let target = Path::new(OsStr::from_bytes(target));
        let depth = path.components().count() - 1;
        let mut ups = 0;
        let mut went_down = false;
        for part in target.components() {
            match part {
                Component::CurDir => {}
                Component::ParentDir if went_down => {
                    bail!(
                        "its target `{}` goes up after going down, which may lead outside",
                        target.display()
                    )
                }
                Component::ParentDir => ups += 1,
                Component::Normal(_) => went_down = true,
                Component::RootDir | Component::Prefix(_) => {
                    bail!("its target `{}` is absolute", target.display())
                }
            }
        }
        if ups > depth {
            bail!("its target `{}` leads outside the folder", target.display());
        }
        Ok(())
    }

    fn hard_link(&mut self, path: &Path, target: &[u8]) -> Result<()> {
        let inside = inside(target).context("the target of a hard link")?;
        let target = strip(&inside, self.strip).context("its target lies outside the top folder")?;
        self.real_parent(&target)?;
        let from = self.folder.join(&target);
        if !fs::symlink_metadata(&from).is_ok_and(|meta| meta.is_file()) {
            bail!("its target `{}` is no file that was unpacked before", target.display());
        }
        let place = self.free_place(path)?;
        fs::hard_link(&from, &place).with_context(|| format!("cannot make the link {}", place.display()))
    }

    /// The place of a new entry. A file that is there already is replaced, as tar does.
    fn free_place(&mut self, path: &Path) -> Result<PathBuf> {
        self.real_parent(path)?;
        let place = self.folder.join(path);
        match fs::symlink_metadata(&place) {
            Ok(meta) if meta.is_file() => {
                fs::remove_file(&place).with_context(|| format!("cannot replace {}", place.display()))?;
            }
            Ok(meta) if meta.is_symlink() => bail!("a link is in its place already"),
            Ok(_) => bail!("a folder is in its place already"),
            Err(_) => {}
        }
        Ok(place)
    }

    fn real_parent(&mut self, path: &Path) -> Result<()> {
        let parent = path.parent().unwrap_or(Path::new("")).to_owned();
        self.real_folder(&parent)
    }

    /// Makes sure that every part of `path` is a folder and no link.
    fn real_folder(&mut self, path: &Path) -> Result<()> {
        if self.real_folders.contains(path) {
            return Ok(());
        }
        let mut so_far = PathBuf::new();
        for part in path.components() {
            so_far.push(part);
            if self.real_folders.contains(&so_far) {
                continue;
            }
            let place = self.folder.join(&so_far);
            match fs::symlink_metadata(&place) {
                Ok(meta) if meta.is_dir() => {}
                Ok(meta) if meta.is_symlink() => {
                    bail!("it would be written through the link `{}`", so_far.display())
                }
                Ok(_) => bail!("`{}` is a file, not a folder", so_far.display()),
                Err(_) => fs::create_dir(&place)
                    .with_context(|| format!("cannot make the folder {}", place.display()))?,
            }
            self.real_folders.insert(so_far.clone());
        }
        Ok(())
    }
}

/// A name from the archive as a path that goes nowhere but down.
fn inside(name: &[u8]) -> Result<PathBuf> {
    if name.contains(&0) {
        bail!("its name holds a zero byte");
    }
    if name.len() > LONGEST_NAME {
        bail!("its name is {} bytes long, and {LONGEST_NAME} is the longest that there can be", name.len());
    }
    let mut path = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(name)).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir => bail!("its name holds `..`, which leads outside the folder"),
            Component::RootDir | Component::Prefix(_) => bail!("its name is absolute"),
        }
    }
    Ok(path)
}

fn strip(path: &Path, parts: usize) -> Option<PathBuf> {
    let rest: PathBuf = path.components().skip(parts).collect();
    (!rest.as_os_str().is_empty()).then_some(rest)
}

/// The reader for what the first bytes say.
fn decompress<'a>(mut from: BufReader<impl Read + 'a>) -> Result<Box<dyn Read + 'a>> {
    let mut start = [0; 262];
    let n = files::read_up_to(&mut from, &mut start).context("cannot read its first bytes")?;
    let from = BufReader::new(io::Cursor::new(start[..n].to_vec()).chain(from));
    Ok(match &start[..n] {
        // A decoder for one stream would stop in silence at the end of the first of several.
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            let several = xz2::stream::CONCATENATED;
            let stream = xz2::stream::Stream::new_stream_decoder(DECOMPRESSOR_MEMORY, several)
                .context("cannot make a decompressor")?;
            Box::new(xz2::bufread::XzDecoder::new_stream(from, stream))
        }
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(from)),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(from)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => bail!("it is compressed with zstd; xz, gzip and bzip2 are known"),
        [] => bail!("it is empty"),
        bytes if bytes.get(257..262) == Some(b"ustar") => Box::new(from),
        _ => bail!("its first bytes are neither tar's nor those of xz, gzip or bzip2"),
    })
}

/// Why the next entry cannot be read.
fn unreadable(error: io::Error, archive: &Path) -> anyhow::Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    let mut too_much = false;
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
        let limit = |error: &(dyn std::error::Error + 'static)| {
            matches!(error.downcast_ref::<xz2::stream::Error>(), Some(xz2::stream::Error::MemLimit))
        };
        too_much |= limit(error) || inner.is_some_and(|inner| limit(inner));
        cause = error.source();
    }
    let name = archive.display();
    let text = match too_much {
        true => format!(
            "{name} takes more than {} of memory to be decompressed; compress it with `xz -9` at most",
            format_size(DECOMPRESSOR_MEMORY)
        ),
        false => format!("{name} is truncated or damaged; remove it and run setup again"),
    };
    anyhow::Error::new(error).context(text)
}

/// Counts what was read of the compressed file, for the bar.
struct Counting<R> {
    inner: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.read.set(self.read.get() + n as u64);
        Ok(n)
    }
}

/// A tar header with the padding of the content before it.
const HEADER: u64 = 1024;

/// How many bytes may be read, until more are granted.
#[derive(Default)]
struct Allowance {
    granted: Cell<u64>,
    left: Cell<u64>,
    used_up: Cell<bool>,
}

impl Allowance {
    fn grant(&self, bytes: u64) {
        self.granted.set(bytes);
        self.left.set(bytes);
    }

    fn used(&self) -> u64 {
        self.granted.get() - self.left.get()
    }

    fn is_used_up(&self) -> bool {
        self.used_up.get()
    }
}

/// Reads as far as is granted, and fails then.
struct Bounded<R> {
    inner: R,
    allowance: Rc<Allowance>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.allowance.left.get();
        if left == 0 && !buffer.is_empty() {
            self.allowance.used_up.set(true);
            return Err(io::Error::other("it is longer than it may be"));
        }
        let room = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let n = self.inner.read(&mut buffer[..room])?;
        self.allowance.left.set(left - n as u64);
        Ok(n)
    }
}

/// Counts the zeroes at the end of what was read so far.
struct TrailingZeros<R> {
    inner: R,
    zeros: Rc<Cell<u64>>,
}

impl<R: Read> Read for TrailingZeros<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        if n > 0 {
            let at_end = buffer[..n].iter().rev().take_while(|byte| **byte == 0).count();
            let before = if at_end == n { self.zeros.get() } else { 0 };
            self.zeros.set(before + at_end as u64);
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests;
