//! How a pack is written.
//!
//! Invariant: a pack is whole or not there, and what is in it depends on its files alone: neither on the time nor on who
//! made it.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::files::{Unnamed, file_digest, go_on, make_new, open_plain, private_folder_in};
use crate::pack::error::{PackError, io_error};
use crate::pack::info::{INFO, Member, PackInfo, RUNNER, Source};
use crate::text::hex;

/// A pack that was written.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// Its size in bytes.
    pub bytes: u64,
    /// The size of what it is unpacked to.
    pub unpacked: u64,
}

/// Writes a pack: `info` without its files and its runner, which are found here. `progress` hears of each file.
///
/// # Errors
/// A file cannot be read or written, or `interrupted` said yes.
pub fn write(
    to: &Path,
    mut info: PackInfo,
    runner: &Path,
    sources: &[Source],
    interrupted: fn() -> bool,
    progress: &mut dyn FnMut(&str),
) -> Result<Written, PackError> {
    let output = Unnamed::beside(to).map_err(io_error("write", to))?;
    // The digests stand before the files, and so these are packed first.
    let parent = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = private_folder_in(parent).map_err(io_error("write to", parent))?;
    let mut sources = sources.to_vec();
    sources.sort_by(|one, other| one.at.cmp(&other.at));
    for (number, Source { at, from, program }) in sources.iter().enumerate() {
        progress(at);
        let packed = folder.path().join(number.to_string());
        let member = pack(from, &packed, *program, interrupted)?;
        info.files.insert(at.clone(), member);
    }
    progress("pack");
    let error = io_error("write", to);
    info.runner = file_digest(runner, interrupted).map_err(io_error("read", runner))?;
    let mut tar = Builder::new(BufWriter::with_capacity(1 << 20, output.file()));
    let mut add = |name: &str, mode: u32, size: u64, content: &mut dyn Read| -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, name, content)
    };
    let mut file = open_plain(runner).map_err(io_error("read", runner))?;
    let size = file.metadata().map_err(io_error("read", runner))?.len();
    add(RUNNER, 0o755, size, &mut file).map_err(&error)?;
    let mut text = serde_json::to_vec_pretty(&info).expect("what a pack is has only text keys");
    text.push(b'\n');
    add(INFO, 0o644, text.len() as u64, &mut &*text).map_err(&error)?;
    for (number, Source { at, .. }) in sources.iter().enumerate() {
        go_on(interrupted).map_err(&error)?;
        let packed = folder.path().join(number.to_string());
        let mut file = open_plain(&packed).map_err(io_error("read", &packed))?;
        add(&format!("{at}.gz"), 0o644, info.files[at].packed, &mut file).map_err(&error)?;
    }
    tar.into_inner().and_then(|mut inner| inner.flush()).map_err(&error)?;
    let bytes = output.file().metadata().map_err(&error)?.len();
    output.put_in_place(to).map_err(&error)?;
    Ok(Written { bytes, unpacked: info.files.values().map(|member| member.size).sum() })
}

/// Packs a file into another.
fn pack(from: &Path, to: &Path, program: bool, interrupted: fn() -> bool) -> Result<Member, PackError> {
    let (reading, writing) = (io_error("read", from), io_error("write", to));
    let mut input = open_plain(from).map_err(&reading)?;
    let output = Counted::new(make_new(to).map_err(&writing)?);
    let mut packer = GzBuilder::new().mtime(0).write(output, Compression::default());
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut size = 0;
    loop {
        go_on(interrupted).map_err(&reading)?;
        let count = input.read(&mut buffer).map_err(&reading)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        packer.write_all(&buffer[..count]).map_err(&writing)?;
        size += count as u64;
    }
    let output = packer.finish().map_err(&writing)?;
    let (packed, packed_sha256) = output.finish().map_err(&writing)?;
    Ok(Member { size, sha256: hex(&hash.finalize()), packed, packed_sha256, program })
}

/// A file that knows the length and the digest of what went into it.
struct Counted {
    file: BufWriter<File>,
    count: u64,
    hash: Sha256,
}

impl Counted {
    fn new(file: File) -> Self {
        Counted { file: BufWriter::new(file), count: 0, hash: Sha256::new() }
    }

    fn finish(mut self) -> io::Result<(u64, String)> {
        self.file.flush()?;
        Ok((self.count, hex(&self.hash.finalize())))
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.count += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
