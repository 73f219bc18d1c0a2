//! Raw disk images to qcow2 and back, checked and compared.
//!
//! Invariant: **the destination is a complete and compared image, or it is not there.**

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use flipsim::files;
use xshell::{Shell, cmd};

use crate::host::proc::CommandRunner;
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
    fn name(self) -> &'static str {
        match self {
            ImageKind::Raw => "raw",
            ImageKind::Qcow2 => "qcow2",
        }
    }
}

/// A qcow2 header can name another file of the host, whose content would be copied too. A guest that
/// owns a raw disk can write such a header to its start (QEMU, `docs/interop/qcow2.txt`).
fn refuse_other_files(path: &Path) -> Result<()> {
    use std::io::Read;
    let mut header = [0; 80];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut header));
    read.with_context(|| format!("cannot read the qcow2 header of {}", path.display()))?;
    let backing = header[8..16] != [0; 8];
    // Version 3: bit 2 of the incompatible features is an external data file.
    let data = header[7] >= 3 && header[79] & 4 != 0;
    if backing || data {
        let what = if backing { "stands on another image" } else { "keeps its data in another file" };
        bail!(
            "{} {what}, which would be copied as well; if you trust it, join the two with `qemu-img convert` \
             first",
            path.display()
        );
    }
    Ok(())
}

/// The kinds of `src` and of `dst`, where the one can be made from the other.
pub fn kinds(src: &Path, dst: &Path, force: bool) -> Result<(ImageKind, ImageKind)> {
    let from = kind_of(src)?;
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
        runner.run_quietly(what, "qemu-img.log", command)?;
    }
    if !runner.is_dry() {
        step.done();
    }
    Ok(())
}

/// Looks at the first bytes. A raw image can be anything, so what is certainly no disk is refused.
pub fn kind_of(path: &Path) -> Result<ImageKind> {
    use std::io::Read;
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let meta = file.metadata().with_context(|| format!("cannot read {}", path.display()))?;
    if meta.is_dir() {
        bail!("{} is a folder, not an image", path.display());
    }
    let mut start = Vec::new();
    file.take(512).read_to_end(&mut start).with_context(|| format!("cannot read {}", path.display()))?;
    let not = |what: &str| anyhow!("{} is {what}, not a disk image", path.display());
    match &start[..] {
        [b'Q', b'F', b'I', 0xfb, ..] => Ok(ImageKind::Qcow2),
        [] => Err(not("empty")),
        [0x1f, 0x8b, ..] => Err(not("a gzip archive; unpack it first")),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Err(not("an xz archive; unpack it first")),
        [b'B', b'Z', b'h', ..] => Err(not("a bzip2 archive; unpack it first")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Err(not("a zstd archive; unpack it first")),
        [b'P', b'K', 3, 4, ..] => Err(not("a zip archive; unpack it first")),
        [0x7f, b'E', b'L', b'F', ..] => Err(not("a program")),
        [b'K', b'D', b'M', b'V', ..] => Err(not("a VMDK image; `qemu-img convert` makes it raw first")),
        bytes if meta.len() % 512 != 0 || bytes.len() < 512 => {
            Err(not(&format!("{} bytes long, which is no multiple of 512", meta.len())))
        }
        _ => Ok(ImageKind::Raw),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::host::proc;

    #[test]
    fn an_image_that_names_another_file_of_the_host_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let image = place.path().join("a.qcow2");
        let mut header = [0u8; 80];
        header[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
        std::fs::write(&image, header).unwrap();
        refuse_other_files(&image).unwrap();
        header[15] = 1;
        std::fs::write(&image, header).unwrap();
        assert!(refuse_other_files(&image).unwrap_err().to_string().contains("stands on another image"));
        (header[15], header[79]) = (0, 4);
        std::fs::write(&image, header).unwrap();
        assert!(refuse_other_files(&image).unwrap_err().to_string().contains("data in another file"));
    }

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Place {
            let place = Place(tempfile::tempdir().unwrap());
            let mut disk = vec![0u8; 1 << 20];
            disk[4096] = 0x5a;
            std::fs::write(place.at("disk.img"), disk).unwrap();
            place
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn convert(&self, src: &str, dst: &str, force: bool) -> Result<()> {
            let img = proc::find_program("qemu-img").unwrap_or_else(|| "qemu-img".into());
            let runner = CommandRunner::new(false, self.at("logs"));
            convert(&runner, &img, &self.at(src), &self.at(dst), force)
        }

        fn refused(&self, src: &str, dst: &str) -> String {
            format!("{:#}", self.convert(src, dst, false).unwrap_err())
        }
    }

    #[test]
    fn raw_to_qcow2_and_back_gives_the_same_bytes() {
        if proc::find_program("qemu-img").is_none() {
            eprintln!("skipped: no qemu-img on this host");
            return;
        }
        let place = Place::new();
        place.convert("disk.img", "disk.qcow2", false).unwrap();
        assert_eq!(kind_of(&place.at("disk.qcow2")).unwrap(), ImageKind::Qcow2);
        place.convert("disk.qcow2", "again.raw", false).unwrap();
        assert_eq!(
            std::fs::read(place.at("disk.img")).unwrap(),
            std::fs::read(place.at("again.raw")).unwrap()
        );
        let error = place.refused("disk.img", "disk.qcow2");
        assert!(error.contains("--force"), "{error}");
        place.convert("disk.img", "disk.qcow2", true).unwrap();
    }

    #[test]
    fn what_is_no_image_is_refused_by_name() {
        let place = Place::new();
        for (content, word) in [
            (&b""[..], "empty"),
            (b"\x1f\x8b rest", "gzip"),
            (b"\x7fELF rest", "a program"),
            (b"hello", "no multiple of 512"),
        ] {
            std::fs::write(place.at("x"), content).unwrap();
            let error = place.refused("x", "x.qcow2");
            assert!(error.contains(word), "{error}");
        }
        assert!(place.refused("missing", "x.qcow2").contains("cannot open"));
    }

    #[test]
    fn the_same_file_or_kind_is_refused() {
        let place = Place::new();
        assert!(place.refused("disk.img", "other.raw").contains("raw image already"));
        std::os::unix::fs::symlink(place.at("disk.img"), place.at("link.qcow2")).unwrap();
        assert!(place.refused("disk.img", "link.qcow2").contains("the same file"));
        assert!(place.refused("disk.img", "nowhere/x.qcow2").contains("no folder"));
    }

    #[test]
    fn a_failed_conversion_leaves_nothing() {
        let place = Place::new();
        let runner = CommandRunner::new(false, place.at("logs"));
        let img = Path::new("/bin/false");
        assert!(convert(&runner, img, &place.at("disk.img"), &place.at("d.qcow2"), false).is_err());
        let names: Vec<_> =
            std::fs::read_dir(place.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }
}
