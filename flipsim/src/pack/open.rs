//! How a pack is read and unpacked. It may be anybody's.
//!
//! Invariants: **what stands in the pack is compared with its digest before it is unpacked, and what comes out after**; a
//! path that leads elsewhere, a file that is not listed and one that is longer than it says end it.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tar::{Archive, EntryType};

use crate::campaign::Store;
use crate::files::{go_on, make_new, open_plain, read_up_to, stream_digest};
use crate::machine::spec::Loader;
use crate::pack::error::{PackError, io_error};
use crate::pack::info::{ACCESSES, CAMPAIGN, FORMAT, INFO, Member, PackInfo, RUNNER, TEMPLATE, is_below};
use crate::text::hex;
use crate::trial::template::Template;

/// The most that `pack.json` may have, in bytes.
const LONGEST: u64 = 16 << 20;

/// The most that a runner may have, in bytes: it is passed over.
const RUNNER_LONGEST: u64 = 1 << 30;

/// Zeroes of this length are left out of a file, as a hole.
const HOLE: usize = 4096;

/// A pack, of which what it says of itself was read.
#[derive(Debug)]
pub struct Pack {
    path: PathBuf,
    info: PackInfo,
}

/// A pack in a folder, with all that its trials need.
#[derive(Debug)]
pub struct Unpacked {
    /// The guest.
    pub template: Template,
    /// The campaign's file, without results.
    pub campaign: PathBuf,
    /// The accesses of its golden run, where they were recorded.
    pub accesses: Option<PathBuf>,
}

impl Pack {
    /// Reads what a pack says of itself. Nothing is unpacked.
    ///
    /// # Errors
    /// It is none, or is damaged, or of another version.
    pub fn open(path: &Path) -> Result<Pack, PackError> {
        let reading = io_error("read", path);
        let not_a_pack = |_| PackError::NotAPack(path.to_owned());
        let mut archive = Archive::new(open_plain(path).map_err(&reading)?);
        let mut entries = archive.entries().map_err(not_a_pack)?;
        for (wanted, longest) in [(RUNNER, RUNNER_LONGEST), (INFO, LONGEST)] {
            let entry = entries.next().ok_or_else(|| PackError::NotAPack(path.to_owned()))?;
            let mut entry = entry.map_err(not_a_pack)?;
            let is_it = entry.path_bytes() == wanted.as_bytes()
                && entry.header().entry_type() == EntryType::Regular
                && entry.size() <= longest;
            if !is_it {
                return Err(PackError::NotAPack(path.to_owned()));
            }
            if wanted == INFO {
                let mut text = Vec::new();
                entry.read_to_end(&mut text).map_err(&reading)?;
                return Ok(Pack { info: read_info(path, &text)?, path: path.to_owned() });
            }
        }
        Err(PackError::NotAPack(path.to_owned()))
    }

    /// What it says of itself.
    #[must_use]
    pub fn info(&self) -> &PackInfo {
        &self.info
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The SHA-256 of what it says of itself, which has the digests of all the rest.
    #[must_use]
    pub fn digest(&self) -> String {
        let text = serde_json::to_vec(&self.info).expect("what a pack is has only text keys");
        hex(&Sha256::digest(&text))
    }

    /// The size of all that it is unpacked to, in bytes.
    #[must_use]
    pub fn unpacked(&self) -> u64 {
        self.info.files.values().map(|member| member.size).fold(0, u64::saturating_add)
    }

    /// Unpacks it into a folder that is there, empty, and this user's alone.
    ///
    /// # Errors
    /// It is damaged, the disk is full, or `interrupted` said yes. What was unpacked is the caller's to remove.
    pub fn unpack(&self, folder: &Path, interrupted: fn() -> bool) -> Result<Unpacked, PackError> {
        self.take(folder, &|_| true, interrupted)?;
        self.installed(folder)
    }

    /// Unpacks the campaign's file alone, which runs nothing.
    ///
    /// # Errors
    /// As [`Pack::unpack`].
    pub fn campaign(&self, folder: &Path, interrupted: fn() -> bool) -> Result<PathBuf, PackError> {
        self.take(folder, &|at| at == CAMPAIGN, interrupted)?;
        let campaign = folder.join(CAMPAIGN);
        self.check_campaign(&campaign)?;
        Ok(campaign)
    }

    fn check_campaign(&self, campaign: &Path) -> Result<(), PackError> {
        let store = Store::open_readonly(campaign)?;
        if store.seal() != self.info.seal || store.part().is_some() {
            return Err(self.damaged("its campaign is another one than it says"));
        }
        if store.manifest().template != self.info.template.key {
            return Err(self.damaged("its guest is not that of its campaign"));
        }
        Ok(())
    }

    fn take(
        &self,
        folder: &Path,
        wanted: &dyn Fn(&str) -> bool,
        interrupted: fn() -> bool,
    ) -> Result<(), PackError> {
        let reading = io_error("read", &self.path);
        let mut archive = Archive::new(open_plain(&self.path).map_err(&reading)?);
        // The same file, to read from where the archive says that a file of it begins.
        let mut pack = open_plain(&self.path).map_err(&reading)?;
        let mut missing: BTreeSet<&str> = self.info.files.keys().map(String::as_str).collect();
        for entry in archive.entries().map_err(&reading)?.skip(2) {
            go_on(interrupted).map_err(&reading)?;
            let entry = entry.map_err(|cause| self.damaged(cause.to_string()))?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let listed = name.strip_suffix(".gz").and_then(|at| self.info.files.get_key_value(at));
            let Some((at, member)) = listed else {
                return Err(self.damaged(format!("it has a file that is not listed: {name:?}")));
            };
            if !missing.remove(at.as_str()) {
                return Err(self.damaged(format!("it has {name:?} twice")));
            }
            if entry.header().entry_type() != EntryType::Regular || entry.size() != member.packed {
                return Err(self.damaged(format!("{name:?} is not the file that is listed")));
            }
            if !wanted(at) {
                continue;
            }
            let from = entry.raw_file_position();
            pack.seek(SeekFrom::Start(from)).map_err(&reading)?;
            let (digest, _) =
                stream_digest((&pack).take(member.packed), |cause| cause, || go_on(interrupted))
                    .map_err(&reading)?;
            if digest != member.packed_sha256 {
                return Err(self.damaged(format!("{name:?} has another digest")));
            }
            pack.seek(SeekFrom::Start(from)).map_err(&reading)?;
            self.take_out(&mut (&pack).take(member.packed), at, member, folder, interrupted)?;
        }
        if let Some(at) = missing.first() {
            return Err(self.damaged(format!("it does not have {at:?}, which is listed")));
        }
        Ok(())
    }

    /// Unpacks a file, whose digest in the pack was compared.
    fn take_out(
        &self,
        from: &mut dyn Read,
        at: &str,
        member: &Member,
        folder: &Path,
        interrupted: fn() -> bool,
    ) -> Result<(), PackError> {
        let path = folder.join(at);
        let writing = io_error("write", &path);
        if let Some(parent) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(&writing)?;
        }
        let mut file = make_new(&path).map_err(&writing)?;
        // One byte more than it may have would show.
        let mut content = GzDecoder::new(from).take(member.size.saturating_add(1));
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 18];
        let mut size = 0;
        loop {
            go_on(interrupted).map_err(&writing)?;
            let count = read_up_to(&mut content, &mut buffer)
                .map_err(|cause| self.damaged(format!("{at:?}: {cause}")))?;
            if count == 0 {
                break;
            }
            hash.update(&buffer[..count]);
            size += count as u64;
            if size > member.size {
                break;
            }
            write_sparse(&mut file, &buffer[..count]).map_err(&writing)?;
        }
        if size != member.size || hex(&hash.finalize()) != member.sha256 {
            return Err(self.damaged(format!("{at:?} is not what is listed once it is unpacked")));
        }
        file.set_len(size).map_err(&writing)?;
        // QEMU opens the guest's RAM for writing as well, although it never writes to it.
        let mode = match at {
            CAMPAIGN => 0o600,
            _ if at.ends_with("/ram") => 0o600,
            _ if member.program => 0o500,
            _ => 0o400,
        };
        file.set_permissions(Permissions::from_mode(mode)).map_err(&writing)
    }

    /// The guest as it lies in the folder now.
    fn installed(&self, folder: &Path) -> Result<Unpacked, PackError> {
        let folder = &std::path::absolute(folder).map_err(io_error("find", folder))?;
        let mut info = self.info.template.clone();
        for (name, input) in &info.inputs {
            let at = input.path.to_str().and_then(|at| self.info.files.get(at));
            if at.is_none_or(|member| member.sha256 != input.sha256) {
                return Err(self.damaged(format!("its {name} is not the one that its guest was made of")));
            }
        }
        for (name, path) in info.plan.files() {
            if info.inputs.get(name).is_none_or(|input| input.path != path) {
                return Err(self.damaged(format!("its guest takes another {name} than is listed")));
            }
        }
        for (name, stored) in &info.files {
            let member = self.info.files.get(&format!("{TEMPLATE}/{name}"));
            if member.is_none_or(|member| member.sha256 != stored.sha256) {
                return Err(self.damaged(format!("its {name} is not that of its guest")));
            }
        }
        info.plan.place(|_, path| folder.join(path));
        info.inputs.values_mut().for_each(|input| input.path = folder.join(&input.path));
        if let Some(Loader { program, libraries }) = &mut info.plan.spec.loader {
            for path in [program, libraries] {
                let is_ours = path.to_str().is_some_and(is_below);
                if !is_ours {
                    return Err(self.damaged("what loads its QEMU is not in it"));
                }
                *path = folder.join(&*path);
            }
        }
        let template = Template::install(&folder.join(TEMPLATE), info)?;
        let campaign = folder.join(CAMPAIGN);
        self.check_campaign(&campaign)?;
        let accesses = Some(folder.join(ACCESSES)).filter(|path| path.is_file());
        Ok(Unpacked { template, campaign, accesses })
    }

    fn damaged(&self, what: impl Into<String>) -> PackError {
        PackError::Damaged { path: self.path.clone(), what: what.into() }
    }
}

fn read_info(path: &Path, text: &[u8]) -> Result<PackInfo, PackError> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let damaged = |what: String| PackError::Damaged { path: path.to_owned(), what };
    let unreadable = |cause: serde_json::Error| damaged(format!("{INFO}: {cause}"));
    let head: Head = serde_json::from_slice(text).map_err(unreadable)?;
    if head.format != FORMAT {
        return Err(PackError::Format { path: path.to_owned(), found: head.format, known: FORMAT });
    }
    let info: PackInfo = serde_json::from_slice(text).map_err(unreadable)?;
    if let Some(at) = info.files.keys().find(|at| !is_below(at)) {
        return Err(damaged(format!("{INFO}: {at:?} is no path in a pack")));
    }
    Ok(info)
}

/// Writes what is not zero; the caller gives the file its length in the end.
fn write_sparse(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    for piece in bytes.chunks(HOLE) {
        if piece.iter().all(|byte| *byte == 0) {
            file.seek(SeekFrom::Current(i64::try_from(piece.len()).unwrap_or(0)))?;
        } else {
            file.write_all(piece)?;
        }
    }
    Ok(())
}
