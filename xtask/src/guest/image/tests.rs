//! Tests of `image`.

use std::path::PathBuf;

use super::*;
use crate::host::proc;

#[test]
fn an_image_that_names_another_file_of_the_host_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let image = place.path().join("a.qcow2");
    let mut header = [0u8; 112];
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
    assert_eq!(std::fs::read(place.at("disk.img")).unwrap(), std::fs::read(place.at("again.raw")).unwrap());
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
        (b"hello", "a text"),
        (b"\0hello", "no multiple of 512"),
    ] {
        std::fs::write(place.at("x"), content).unwrap();
        let error = place.refused("x", "x.qcow2");
        assert!(error.contains(word), "{error}");
    }
    assert!(place.refused("missing", "x.qcow2").contains("cannot open"));
}

#[test]
fn what_says_that_it_was_longer_is_refused_and_a_short_file_system_is_not() {
    let place = Place::new();
    let mut disk = vec![0u8; 4096];
    disk[..4].copy_from_slice(b"hsqs");
    disk[40..42].copy_from_slice(&[0x20, 0x0c]);
    std::fs::write(place.at("x"), &disk[..0xc20]).unwrap();
    assert_eq!(kind_of(&place.at("x")).unwrap(), ImageKind::Raw);
    std::fs::write(place.at("x"), &disk[..0xc1f]).unwrap();
    let error = kind_of(&place.at("x")).unwrap_err().to_string();
    assert!(error.contains("is cut: its squashfs ends at byte 3104"), "{error}");
}

#[test]
fn each_thing_that_is_no_disk_is_refused_with_what_to_do() {
    let place = Place::new();
    for (name, start, words) in [
        ("a.raw.gz", &b"\x1f\x8b\x08"[..], &["a gzip archive", "a.raw.gz > "][..]),
        ("a.vmdk", b"KDMV", &["a VMDK image", "convert -f vmdk -O qcow2", "a.qcow2"]),
        ("a.vhdx", b"vhdxfile", &["a VHDX image", "convert -f vhdx"]),
        ("a.qcow", b"QFI\xfb\0\0\0\x01", &["version 1", "convert -f qcow "]),
        ("a.txt", b"no disk\n", &["a text, not a disk image", "fetch the file that was meant"]),
    ] {
        std::fs::write(place.at(name), start).unwrap();
        let error = kind_of(&place.at(name)).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{error}");
        }
    }
    std::os::unix::fs::symlink(place.at("disk.img"), place.at("link")).unwrap();
    assert_eq!(kind_of(&place.at("link")).unwrap(), ImageKind::Raw);
}

#[test]
fn a_qcow2_image_is_refused_that_is_cut_or_lacks_what_it_stands_on() {
    let Some(img) = proc::find_program("qemu-img") else {
        eprintln!("skipped: no qemu-img on this host");
        return;
    };
    let place = Place::new();
    let run = |args: &[&str]| {
        let mut command = Command::new(&img);
        assert!(
            command.args(args).current_dir(place.0.path()).output().unwrap().status.success(),
            "{args:?}"
        );
    };
    let refused = |name: &str| format!("{:#}", check(&img, &place.at(name)).unwrap_err());
    place.convert("disk.img", "whole.qcow2", false).unwrap();
    assert_eq!(check(&img, &place.at("whole.qcow2")).unwrap(), ImageKind::Qcow2);
    let whole = std::fs::read(place.at("whole.qcow2")).unwrap();
    for length in [4, 100, 300, 65536, whole.len() / 2, whole.len() - 65536, whole.len() - 4097] {
        std::fs::write(place.at("cut.qcow2"), &whole[..length]).unwrap();
        for error in [refused("cut.qcow2"), place.refused("cut.qcow2", "out.raw")] {
            assert!(error.contains("cut"), "{length}: {error}");
        }
    }
    assert!(!place.at("out.raw").exists());
    run(&["create", "-q", "-f", "qcow2", "-b", "whole.qcow2", "-F", "qcow2", "over.qcow2"]);
    assert_eq!(check(&img, &place.at("over.qcow2")).unwrap(), ImageKind::Qcow2);
    std::fs::rename(place.at("whole.qcow2"), place.at("moved.qcow2")).unwrap();
    std::fs::copy(place.at("cut.qcow2"), place.at("whole.qcow2")).unwrap();
    assert!(refused("over.qcow2").contains("stands on another image: "), "{}", refused("over.qcow2"));
    std::fs::remove_file(place.at("whole.qcow2")).unwrap();
    assert!(refused("over.qcow2").contains("stands on whole.qcow2, which cannot be used: No such file"));
    let data = place.at("data.raw");
    let named = format!("data_file={},data_file_raw=on", data.display());
    run(&["create", "-q", "-f", "qcow2", "-o", &named, "data.qcow2", "1M"]);
    check(&img, &place.at("data.qcow2")).unwrap();
    std::fs::remove_file(&data).unwrap();
    let words = format!("keeps its data in {}, which cannot be used", data.display());
    assert!(refused("data.qcow2").contains(&words));
    run(&["create", "-q", "-f", "qcow2", "-o", "data_file=near.raw", "near.qcow2", "1M"]);
    assert!(refused("near.qcow2").contains("in the folder that it runs in"));
    let mut locked = whole;
    locked[35] = 2;
    std::fs::write(place.at("locked.qcow2"), locked).unwrap();
    assert!(refused("locked.qcow2").contains("is encrypted"));
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
