//! What the tables of a qcow2 image say of it (QEMU, `docs/interop/qcow2.txt`): of other files, of keys, and of its length.
//!
//! Invariant: **an image that was cut is found by its own tables**: `qemu-img check` looks at no cluster behind the end
//! of the file, and reads a table that is half there as zeros.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result, bail};
use flipsim::files;

use super::formats::Look;

/// What a qcow2 header says of other files and of keys (QEMU, `docs/interop/qcow2.txt`).
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Header {
    encrypted: bool,
    /// The image that it stands on.
    pub backing: Option<String>,
    /// The file that has its data.
    pub data: Option<String>,
}

impl Header {
    fn read(look: &Look) -> Option<Header> {
        let text = |at: u64, size: u64| {
            let bytes = look.bytes(at, usize::try_from(size).ok()?)?;
            Some(String::from_utf8_lossy(bytes).into_owned())
        };
        let at = look.be(8, 8)?;
        let name = |size| text(at, size).unwrap_or_default();
        let backing = (at != 0).then(|| look.be(16, 4).map_or_else(String::new, name));
        let mut header = Header { encrypted: look.be(32, 4)? != 0, backing, data: None };
        // Version 3: bit 2 of the incompatible features is an external data file, named by an extension.
        if look.be(4, 4)? >= 3 && look.be(72, 8)? & 4 != 0 {
            let mut at = look.be(100, 4)?;
            header.data = Some(String::new());
            while let (Some(kind), Some(size)) = (look.be(at, 4), look.be(at.saturating_add(4), 4)) {
                match kind {
                    0 => break,
                    0x4441_5441 => header.data = text(at + 8, size),
                    _ => {}
                }
                at = at.saturating_add(8).saturating_add(size.next_multiple_of(8));
            }
        }
        Some(header)
    }
}

/// The header of a qcow2 image, which is refused where it needs a key.
pub fn header_of(path: &Path) -> Result<Header> {
    let look = Look::at(path).with_context(|| format!("cannot read {}", path.display()))?;
    let Some(header) = Header::read(&look) else {
        bail!(
            "{} is cut: it has {} bytes, and no whole qcow2 header; fetch it again",
            path.display(),
            look.size
        );
    };
    if header.encrypted {
        bail!(
            "{} is encrypted, and the lab has no key for it; decrypt a copy of it with `qemu-img convert --object \
             secret,… --image-opts …`",
            path.display()
        );
    }
    Ok(header)
}

/// Refuses an image that is shorter than it says.
pub fn refuse_cut(path: &Path) -> Result<()> {
    let look = Look::at(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut file = files::open_plain(path).with_context(|| format!("cannot read {}", path.display()))?;
    let again = "fetch it again";
    match end(&look, &mut file) {
        Some(end) if end > look.size => {
            bail!(
                "{} is cut: it says that it has {end} bytes or more, and it has {}; {again}",
                path.display(),
                look.size
            )
        }
        Some(_) if ends_in_data(&look) && look.size % 512 != 0 => {
            bail!("{} is cut: it ends inside of a sector, at byte {}; {again}", path.display(), look.size)
        }
        Some(_) => Ok(()),
        None => bail!(
            "{} is cut or damaged: its tables do not lie in its {} bytes; {again}",
            path.display(),
            look.size
        ),
    }
}

/// Whether what is last in it is of the disk, which is written in whole sectors: no table of its own, nor one of a
/// snapshot or a bitmap.
fn ends_in_data(look: &Look) -> bool {
    let is_last = |offset: u64, length: Option<u64>| {
        look.be(offset, 8).zip(length).is_some_and(|(at, length)| at.checked_add(length) == Some(look.size))
    };
    let others = look.be(60, 4) != Some(0) || (look.be(4, 4) >= Some(3) && look.be(88, 8) != Some(0));
    !others && !is_last(40, look.be(36, 4).map(|roots| roots * 8))
}

/// So many bytes it has at least: its tables, and the first byte of the last cluster that is in use. `None` where a
/// table is not there.
fn end(look: &Look, file: &mut File) -> Option<u64> {
    let cluster = 1u64
        .checked_shl(u32::try_from(look.be(20, 4)?).ok()?)
        .filter(|size| (512..=1 << 22).contains(size))?;
    let (roots, root_table) = (look.be(36, 4)?, look.be(40, 8)?);
    let (count_table, count_clusters) = (look.be(48, 8)?, look.be(56, 4)?);
    // Of version 3 on it is said how wide the count of a cluster is, as a power of two.
    let wide = if look.be(4, 4)? >= 3 { look.be(96, 4)? } else { 4 };
    let counts = (cluster * 8).checked_shr(u32::try_from(wide).ok().filter(|wide| *wide <= 6)?)?;
    let table_bytes = count_clusters.checked_mul(cluster)?;
    let tables = root_table.checked_add(roots * 8)?.max(count_table.checked_add(table_bytes)?);
    if tables > look.size {
        return Some(tables);
    }
    let table = read_at(file, count_table, table_bytes)?;
    for (number, entry) in table.chunks_exact(8).enumerate().rev() {
        let block = entry.try_into().map_or(0, u64::from_be_bytes) & !511;
        if block == 0 {
            continue;
        }
        let block = read_at(file, block, cluster)?;
        if let Some(last) = block.iter().rposition(|byte| *byte != 0) {
            let used = (last as u64 * 8) >> wide;
            let index = counts.checked_mul(number as u64)?.checked_add(used)?;
            return Some(tables.max(index.checked_mul(cluster)?.checked_add(1)?));
        }
    }
    Some(tables)
}

fn read_at(file: &mut File, at: u64, count: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(at)).ok()?;
    file.take(count).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 == count).then_some(bytes)
}
