//! Raw disk images to qcow2 and back, checked and compared.
//!
//! Invariant: **the destination is a complete and compared image, or it is not there.**

use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flipsim::files;
use flipsim::machine::confine::{Allowed, bare_environment, confine};
use xshell::{Shell, cmd};

use super::formats::{AsDisk, Look, format_of, said_length, unpack_line};
use super::qcow2::{Header, header_of, refuse_cut};
use crate::exit::{Code, ExitWith};
use crate::host::proc::{self, CommandRunner, quote};
use crate::lab::cache;
use crate::progress::ProgressStep;

/// The two kinds that are converted into each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageKind {
    /// The bytes of the disk as they are.
    Raw,
    /// QEMU's own format.
    Qcow2,
}

impl ImageKind {
    /// What `qemu-img` calls it.
    pub fn name(self) -> &'static str {
        match self {
            ImageKind::Raw => "raw",
            ImageKind::Qcow2 => "qcow2",
        }
    }
}

/// A qcow2 header can name another file of the host, whose content would be copied too. A guest that
/// owns a raw disk can write such a header to its start.
fn refuse_other_files(path: &Path) -> Result<()> {
    let Header { backing, data, .. } = header_of(path)?;
    if backing.is_some() || data.is_some() {
        let what =
            if backing.is_some() { "stands on another image" } else { "keeps its data in another file" };
        bail!(
            "{} {what}, which would be copied as well; if you trust it, join the two with `qemu-img convert` \
             first",
            path.display()
        );
    }
    Ok(())
}

/// Refuses an image that a guest cannot be given: no disk, cut, damaged, or without the files that it stands on. What
/// it is is found in its bytes: a guest that can write the header of a raw image must not choose how it is read next
/// time.
pub fn check(img: &Path, path: &Path) -> Result<ImageKind> {
    check_layer(img, path, 0)
}

/// No image stands on so many others, unless one of them stands on itself.
const MOST_LAYERS: u32 = 64;

fn check_layer(img: &Path, path: &Path, above: u32) -> Result<ImageKind> {
    if above > MOST_LAYERS {
        bail!(
            "{} stands on more than {MOST_LAYERS} images; does one of them stand on itself?",
            path.display()
        );
    }
    let kind = kind_of(path)?;
    if kind == ImageKind::Raw {
        return Ok(kind);
    }
    let Header { backing, data, .. } = header_of(path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut below = None;
    for (name, what) in [(backing, "stands on"), (data, "keeps its data in")] {
        // `nbd:…`, `json:…`: no file.
        let Some(name) = name.filter(|name| !name.split('/').next().is_some_and(|word| word.contains(':')))
        else {
            continue;
        };
        if what.starts_with("keeps") && Path::new(&name).is_relative() {
            bail!(
                "{} {what} {name}, which QEMU looks for in the folder that it runs in; give it the whole name with \
                 `qemu-img amend -f qcow2 -o data_file=/…/{name}`",
                path.display()
            );
        }
        if let Err(cause) = files::check_plain(&folder.join(&name)) {
            bail!(
                "{} {what} {name}, which cannot be used: {cause}; restore that file, or correct the name with \
                 `qemu-img rebase -u`",
                path.display()
            );
        }
        if what == "stands on" {
            below = Some(folder.join(&name));
        }
    }
    check_qcow2(img, path)?;
    if let Some(below) = below {
        check_layer(img, &below, above + 1)
            .with_context(|| format!("{} stands on another image", path.display()))?;
    }
    Ok(kind)
}

/// How long `qemu-img check` may take; it reads the tables of an image and not its data.
const CHECK_LIMIT: Duration = Duration::from_secs(600);

/// Refuses a qcow2 image in which `qemu-img check` finds errors: clusters that are lost would be read as zeros.
fn check_qcow2(img: &Path, path: &Path) -> Result<()> {
    refuse_cut(path)?;
    let sh = Shell::new()?;
    let mut command = confined(cmd!(sh, "{img} check -f qcow2 {path}").into())?;
    let (out, err, status) = proc::capture("checking the image", &mut command, CHECK_LIMIT)?;
    // 3: clusters that are not used any more; nothing is lost.
    if matches!(status.code(), Some(0 | 3)) {
        return Ok(());
    }
    let said = [out, err].concat();
    let said = String::from_utf8_lossy(&said);
    let telling = |line: &&str| !line.trim().is_empty() && !line.starts_with("qemu-img: warning");
    let first = said.lines().find(telling).unwrap_or("nothing");
    let count = said
        .lines()
        .find(|line| line.contains(" errors were found") && *line != first)
        .map(|line| format!(", and {line}"));
    bail!(
        "{} is cut or damaged, or another program has it open: `qemu-img check` says `{}`{}; fetch it again, or repair \
         a copy of it with `qemu-img check -r all`",
        path.display(),
        first.trim(),
        count.unwrap_or_default()
    )
}

/// `qemu-img` with nothing of ours: an image may be a stranger's.
fn confined(mut command: Command) -> Result<Command> {
    bare_environment(&mut command);
    confine(&mut command, &Allowed::NOTHING).context("cannot confine qemu-img")?;
    Ok(command)
}

/// The kinds of `src` and of `dst`, where the one can be made from the other.
pub fn kinds(src: &Path, dst: &Path, force: bool) -> Result<(ImageKind, ImageKind)> {
    // A disk of this host is as good as a file here: it is copied.
    let is_disk = std::fs::metadata(src).is_ok_and(|meta| meta.file_type().is_block_device());
    let from = if is_disk { ImageKind::Raw } else { kind_of(src)? };
    let to = match (from, dst.extension().and_then(|ext| ext.to_str())) {
        (_, Some("qcow2")) => ImageKind::Qcow2,
        (ImageKind::Raw, Some("raw" | "img")) => ImageKind::Raw,
        (ImageKind::Raw, _) => ImageKind::Qcow2,
        (ImageKind::Qcow2, _) => ImageKind::Raw,
    };
    if from == ImageKind::Qcow2 {
        refuse_other_files(src)?;
    }
    if from == to {
        bail!(
            "{} is a {} image already; name a DST that asks for the other kind",
            src.display(),
            from.name()
        );
    }
    if let (Ok(a), Ok(b)) = (src.canonicalize(), dst.canonicalize())
        && a == b
    {
        bail!("SRC and DST are the same file: {}", src.display());
    }
    if dst.is_dir() {
        bail!("{} is a folder; name the image to make", dst.display());
    }
    if dst.exists() && !force {
        bail!("{} is there already; --force replaces it", dst.display());
    }
    let parent = dst.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        bail!("there is no folder {} to put the image into", parent.display());
    }
    Ok((from, to))
}

/// Makes `dst` from `src`.
pub fn convert(runner: &CommandRunner, img: &Path, src: &Path, dst: &Path, force: bool) -> Result<()> {
    let (from, to) = kinds(src, dst, force)?;
    if from == ImageKind::Qcow2 && !runner.is_dry() {
        check_qcow2(img, src).exit_with(Code::Usage)?;
    }
    let folder = dst.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A folder of our own, where no link waits for what QEMU's tool writes.
    let place = match runner.is_dry() {
        true => None,
        false => Some(
            files::private_folder_in(folder)
                .with_context(|| format!("cannot write into {}", folder.display()))?,
        ),
    };
    let temporary = match &place {
        Some(place) => place.path().join("image"),
        None => files::beside(dst, ".tmp"),
    };
    let made = make(runner, img, (src, from), (&temporary, to)).and_then(|()| {
        if runner.is_dry() {
            runner.note(&format!("rename {} to {}", temporary.display(), dst.display()));
            return Ok(());
        }
        std::fs::rename(&temporary, dst).with_context(|| format!("cannot make {}", dst.display()))
    });
    if made.is_err() {
        // The error that brought us here says more than one from cleaning up would.
        let _left = cache::remove_file(&temporary);
    }
    made
}

fn make(
    runner: &CommandRunner,
    img: &Path,
    (src, from): (&Path, ImageKind),
    (dst, to): (&Path, ImageKind),
) -> Result<()> {
    let sh = Shell::new()?;
    let (from, to) = (from.name(), to.name());
    let name = src.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let step = runner.step(|| ProgressStep::spinner(format!("converting {name} to {to}")));
    let commands: [(&str, Command); 3] = [
        ("converting the image", cmd!(sh, "{img} convert -f {from} -O {to} {src} {dst}").into()),
        ("checking the image", cmd!(sh, "{img} check -q -f {to} {dst}").into()),
        ("comparing the images", cmd!(sh, "{img} compare -q -f {from} -F {to} {src} {dst}").into()),
    ];
    for (what, command) in commands {
        // Raw images have no structure to check, and qemu-img says so with an error.
        if what.starts_with("checking") && to == "raw" {
            continue;
        }
        runner.run_quietly(what, "qemu-img.log", confined(command)?)?;
    }
    if !runner.is_dry() {
        step.done();
    }
    Ok(())
}

/// Looks at the bytes. A raw image can be anything, so what is certainly no disk is refused, and what says itself that
/// it was longer.
pub fn kind_of(path: &Path) -> Result<ImageKind> {
    let look = Look::at(path).with_context(|| format!("cannot open {}", path.display()))?;
    let shown = path.display();
    if let Some(format) = format_of(&look) {
        let name = format.name;
        match format.as_disk {
            AsDisk::Qcow2 => return Ok(ImageKind::Qcow2),
            AsDisk::Raw => {}
            AsDisk::Unpack(program) => bail!(
                "{shown} is {name}, not a disk image; unpack it first: {}",
                unpack_line(program, path, "img")
            ),
            AsDisk::Convert(known_as) => bail!(
                "{shown} is {name}, which the lab does not take; convert it first: `qemu-img convert -f {known_as} -O \
                 qcow2 {} {}` (with the qemu-img of your distribution)",
                quote(path),
                quote(path.with_extension("qcow2"))
            ),
            AsDisk::No(then) | AsDisk::Absent(then) => bail!("{shown} is {name}, not a disk image; {then}"),
        }
    }
    if let Some((what, length)) = said_length(&look).filter(|(_, length)| *length > look.size) {
        bail!(
            "{shown} is cut: {what} ends at byte {length}, the file at {}; fetch it again (or lengthen a copy of it with \
             `truncate -s {length}`, where only zeros are missing)",
            look.size
        );
    }
    // A file system that says how long it is need not fill its last sector.
    if look.size % 512 != 0 && said_length(&look).is_none() {
        bail!(
            "{shown} is {} bytes long, which is no multiple of 512: it is cut, or not a disk image; fetch it again",
            look.size
        );
    }
    Ok(ImageKind::Raw)
}

#[cfg(test)]
mod tests;
