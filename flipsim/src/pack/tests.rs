//! Tests of packs: what is written is what comes out, and what somebody has changed does not.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use tar::{Archive, Builder, EntryType, Header};

use super::*;
use crate::files::file_digest;
use crate::trial::template::{TemplateInfo, saved};

fn no() -> bool {
    false
}

/// A pack of a few files, none of which a guest could start from.
fn pack(folder: &Path, to: &str) -> std::path::PathBuf {
    let made = tempfile::tempdir().unwrap();
    pack_of(folder, to, saved::tests::info(made.path(), &made.path().join("t")))
}

fn pack_of(folder: &Path, to: &str, template: TemplateInfo) -> std::path::PathBuf {
    let mut ram = vec![0; 3 << 20];
    ram[5000..5011].copy_from_slice(b"a page here");
    for (name, content) in [("runner", &b"#!runner"[..]), ("qemu", b"program"), ("ram", &ram)] {
        fs::write(folder.join(name), content).unwrap();
    }
    let source = |at: &str, from: &str, program| Source { at: at.into(), from: folder.join(from), program };
    let sources = [source("template/ram", "ram", false), source("qemu/bin/qemu", "qemu", true)];
    let info = PackInfo {
        format: FORMAT,
        name: "c".into(),
        seal: "5ea1".into(),
        trials: 3,
        slices: 1,
        template,
        runner: String::new(),
        files: std::collections::BTreeMap::new(),
    };
    let path = folder.join(to);
    let mut heard = Vec::new();
    let written =
        write(&path, info, &folder.join("runner"), &sources, no, &mut |at| heard.push(at.to_owned()))
            .unwrap();
    assert_eq!(heard, ["qemu/bin/qemu", "template/ram", "pack"]);
    assert!(written.unpacked > 3 << 20 && written.bytes < 64 << 10, "{written:?}");
    path
}

/// What is wrong with a pack once it is unpacked.
fn error(path: &Path) -> String {
    let to = tempfile::tempdir().unwrap();
    let unpacked = Pack::open(path).and_then(|pack| pack.unpack(to.path(), no).map(drop));
    unpacked.unwrap_err().to_string()
}

#[test]
fn what_comes_out_is_what_went_in_with_holes_and_nothing_is_readable_by_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = pack(folder.path(), "c.pack");
    let again = pack_of(folder.path(), "again.pack", Pack::open(&path).unwrap().info().template.clone());
    assert!(fs::read(&path).unwrap() == fs::read(&again).unwrap(), "byte by byte");
    let opened = Pack::open(&path).unwrap();
    assert_eq!(opened.info().runner, file_digest(&folder.path().join("runner"), no).unwrap());
    let to = tempfile::tempdir().unwrap();
    // The guest in it is made up.
    let said = opened.unpack(to.path(), no).unwrap_err().to_string();
    assert!(said.contains("is not the one that its guest was made of"), "{said}");
    let ram = to.path().join("template/ram");
    assert!(fs::read(&ram).unwrap() == fs::read(folder.path().join("ram")).unwrap());
    let meta = fs::metadata(&ram).unwrap();
    assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
    let mode = |name: &str| fs::metadata(to.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("template/ram"), mode("qemu/bin/qemu"), mode("qemu")), (0o600, 0o500, 0o700));
    // A second time into the same folder nothing is written over.
    assert!(opened.unpack(to.path(), no).is_err());
}

#[test]
fn a_pack_that_was_changed_or_cut_is_damaged_wherever_that_is() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fs::read(pack(folder.path(), "c.pack")).unwrap();
    let to = folder.path().join("other.pack");
    // Where files stand: what lies between them is padding.
    let mut places = Vec::new();
    for entry in Archive::new(&*bytes).entries().unwrap() {
        let entry = entry.unwrap();
        let from = usize::try_from(entry.raw_file_position()).unwrap();
        let size = usize::try_from(entry.size()).unwrap();
        places.push((from, from + size / 2, from + size - 1));
    }
    for (first, middle, last) in &places[2..] {
        for at in [*first, *middle, *last] {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            fs::write(&to, &changed).unwrap();
            assert!(error(&to).contains("has another digest"), "{at}: {}", error(&to));
        }
        fs::write(&to, &bytes[..*middle]).unwrap();
        assert!(!error(&to).contains("its guest"), "{}", error(&to));
    }
    for at in [0, 100, places[1].1] {
        fs::write(&to, &bytes[..at]).unwrap();
        assert!(Pack::open(&to).is_err(), "{at}");
    }
}

/// A pack of these files, whose description says what `change` makes of it.
fn made_up(to: &Path, from: &Path, change: &dyn Fn(&mut serde_json::Value), more: &[(&str, EntryType)]) {
    let mut tar = Builder::new(File::create(to).unwrap());
    for entry in Archive::new(File::open(from).unwrap()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let name = entry.path().unwrap().into_owned();
        if name == Path::new("pack.json") {
            let mut value = serde_json::from_slice(&content).unwrap();
            change(&mut value);
            content = serde_json::to_vec(&value).unwrap();
        }
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, &*content).unwrap();
    }
    for (name, kind) in more {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_size(0);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        if kind.is_symlink() {
            header.set_link_name("/etc").unwrap();
        }
        header.set_cksum();
        tar.append(&header, std::io::empty()).unwrap();
    }
    tar.finish().unwrap();
}

#[test]
fn a_strangers_pack_reaches_nothing_outside_of_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let good = pack(folder.path(), "c.pack");
    let bad = folder.path().join("bad.pack");
    for (name, kind) in [
        ("../escaped.gz", EntryType::Regular),
        ("/etc/escaped.gz", EntryType::Regular),
        ("template", EntryType::Symlink),
        ("more.gz", EntryType::Regular),
        ("qemu/bin/qemu.gz", EntryType::Regular),
    ] {
        made_up(&bad, &good, &|_| {}, &[(name, kind)]);
        let said = error(&bad);
        assert!(said.contains("not listed") || said.contains("twice"), "{name}: {said}");
    }
    for at in ["../../escaped", "/tmp/escaped", "a/../b", ""] {
        let rename = |value: &mut serde_json::Value| {
            let files = value["files"].as_object_mut().unwrap();
            let member = files.remove("qemu/bin/qemu").unwrap();
            files.insert(at.to_owned(), member);
        };
        made_up(&bad, &good, &rename, &[]);
        assert!(error(&bad).contains("is no path in a pack"), "{at}: {}", error(&bad));
    }
    // One that unpacks to more than it says, to less, and to something else.
    for (key, value) in
        [("size", serde_json::json!(3)), ("size", serde_json::json!(1u64 << 40)), ("sha256", "0".into())]
    {
        let change = |info: &mut serde_json::Value| info["files"]["qemu/bin/qemu"][key] = value.clone();
        made_up(&bad, &good, &change, &[]);
        assert!(error(&bad).contains("is not what is listed once it is unpacked"), "{}", error(&bad));
    }
    let drop = |info: &mut serde_json::Value| {
        let files = info["files"].as_object_mut().unwrap();
        let member = files["qemu/bin/qemu"].clone();
        files.insert("kernel".to_owned(), member);
    };
    made_up(&bad, &good, &drop, &[]);
    assert!(error(&bad).contains("it does not have \"kernel\""), "{}", error(&bad));
    made_up(&bad, &good, &|info| info["format"] = 9.into(), &[]);
    assert!(error(&bad).contains("has format 9, and this flipsim knows 1"), "{}", error(&bad));
    // What is no pack at all.
    fs::write(&bad, "PK\x03\x04 not this").unwrap();
    assert!(error(&bad).contains("is no pack"), "{}", error(&bad));
}
