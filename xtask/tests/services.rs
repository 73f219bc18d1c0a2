//! `cargo xtask image add`, `list` and `remove` as a user starts them, and what `--workload` makes of a service: without
//! a guest, in a lab whose parts are empty files.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// A source tree of links, with a lab and a cache of its own.
struct Lab(tempfile::TempDir);

impl Lab {
    /// With a lab for these architectures, in which the service `own` is there for the last one.
    fn new(archs: &[&str]) -> Lab {
        let lab = Lab(tempfile::tempdir().unwrap());
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for name in ["lab.toml", "images", "xtask"] {
            symlink(tree.join(name), lab.at(name)).unwrap();
        }
        std::fs::create_dir(lab.at(".lab")).unwrap();
        for name in ["qemu", "qemu-img", "Image", "rootfs.qcow2", "own.qcow2"] {
            std::fs::write(lab.at(name), "").unwrap();
        }
        // No image is looked at but in this first piece.
        let mut qcow2 = vec![0u8; 72];
        qcow2[..8].copy_from_slice(b"QFI\xfb\0\0\0\x02");
        qcow2[23] = 16;
        std::fs::write(lab.at("rootfs.qcow2"), qcow2).unwrap();
        std::fs::write(lab.at("mine.sh"), "#!/bin/sh\necho 42\n").unwrap();
        let origin = json!({ "from": "a test", "version": "1", "options": {} });
        let abilities: [&str; 0] = [];
        let mut parts: serde_json::Map<String, Value> = archs
            .iter()
            .map(|arch| {
                let part = json!({
                    "qemu": { "system": lab.at("qemu"), "img": lab.at("qemu-img"), "plugin_include": null,
                              "abilities": abilities, "origin": origin },
                    "kernel": { "image": lab.at("Image"), "vmlinux": null, "config": null, "origin": origin },
                    "image": { "qcow2": lab.at("rootfs.qcow2"), "origin": origin },
                });
                ((*arch).to_owned(), part)
            })
            .collect();
        if let Some(part) = archs.last().and_then(|arch| parts.get_mut(*arch)) {
            part["services"]["own"] = json!({
                "qcow2": lab.at("own.qcow2"), "base": lab.at("rootfs.qcow2"), "run": "./own", "bytes": 7,
                "digest": "0123456789abcdef", "output": ["one"], "added": "2026-01-02T03:04:05Z",
            });
        }
        let text = json!({ "format": 1, "archs": parts }).to_string();
        std::fs::write(lab.at(".lab/lab.json"), text).unwrap();
        lab
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.env("CARGO_MANIFEST_DIR", self.at("xtask")).env("FLIPSIM_CACHE", self.at("cache"));
        command.current_dir(self.0.path()).args(args).stdin(Stdio::null()).output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The exit code and the message of what must fail.
    fn fails(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    fn services(&self, arch: &str) -> Value {
        let text = std::fs::read(self.at(".lab/lab.json")).unwrap();
        serde_json::from_slice::<Value>(&text).unwrap()["archs"][arch]["services"].clone()
    }
}

#[test]
fn a_dry_run_prints_the_commands_and_changes_nothing() {
    let lab = Lab::new(&["aarch64"]);
    std::fs::create_dir(lab.at("files")).unwrap();
    std::fs::write(lab.at("files/two words"), "1").unwrap();
    let before = std::fs::read(lab.at(".lab/lab.json")).unwrap();
    let said = lab.ok(&["image", "add", "mine", "--binary", "mine.sh", "--files", "files", "--dry-run"]);
    let key: Vec<&str> = said.split("service-").skip(1).map(|rest| &rest[..16]).collect();
    let mut said = said.replace(key[0], "KEY").replace(&*lab.0.path().to_string_lossy(), "LAB");
    for folder in ["/usr/sbin/", "/sbin/"] {
        said = said.replace(folder, "");
    }
    insta::assert_snapshot!(said, @r"
    # copy 2 files and the command line to LAB/cache/work/service-KEY/inputs
    # cargo xtask image convert LAB/rootfs.qcow2 LAB/cache/work/service-KEY/rootfs.img
    # write the commands for debugfs to LAB/cache/work/service-KEY/rootfs.img.debugfs
    E2FSPROGS_FAKE_TIME=1 LC_ALL=C MKE2FS_CONFIG=LAB/images/mke2fs.conf debugfs -w -f LAB/cache/work/service-KEY/rootfs.img.debugfs LAB/cache/work/service-KEY/rootfs.img
    E2FSPROGS_FAKE_TIME=1 LC_ALL=C MKE2FS_CONFIG=LAB/images/mke2fs.conf e2fsck -f -n LAB/cache/work/service-KEY/rootfs.img
    # cargo xtask image convert LAB/cache/work/service-KEY/rootfs.img LAB/cache/work/service-KEY/rootfs.qcow2
    # copy the image and the files into the cache
    # boot it three times, compare what it prints, and note the service in .lab/lab.json
    ");
    assert!(!lab.at("cache").exists(), "a dry run has made the cache");
    assert_eq!(std::fs::read(lab.at(".lab/lab.json")).unwrap(), before);
}

#[test]
fn what_cannot_be_a_service_is_refused_with_exit_code_2() {
    let lab = Lab::new(&["aarch64"]);
    std::fs::write(lab.at("text"), "no program\n").unwrap();
    std::fs::write(lab.at("py"), "#!/usr/bin/python3\n").unwrap();
    std::fs::create_dir(lab.at("files")).unwrap();
    symlink("/etc/passwd", lab.at("files/leads")).unwrap();
    for (args, part) in [
        (&["image", "add", "Mine", "--binary", "mine.sh"][..], "is no name for a service"),
        (&["image", "add", "sha256", "--binary", "mine.sh"], "is a workload of the lab's own"),
        (
            &["image", "add", "own", "--binary", "mine.sh"],
            "there is a service own for aarch64 already; --replace",
        ),
        (&["image", "add", "mine", "--binary", "none"], "cannot read none"),
        (&["image", "add", "mine", "--binary", "text"], "neither an ELF file nor a script"),
        (
            &["image", "add", "mine", "--binary", "py"],
            "wants /usr/bin/python3, which the guest does not have",
        ),
        (&["image", "add", "mine", "--binary", "files"], "cannot read files"),
        (&["image", "add", "mine", "--binary", "mine.sh", "--run", " "], "--run"),
        (&["image", "add", "mine", "--binary", "mine.sh", "--files", "text"], "is no folder"),
        (&["image", "add", "mine", "--binary", "mine.sh", "--files", "files"], "leads out of the folder"),
        (&["image", "add", "mine"], "--binary"),
        (&["image", "add", "mine", "--again"], "there is no service mine; there are: own"),
        (&["image", "remove", "mine"], "there is no service mine; there are: own"),
        (&["boot", "--headless", "--dry-run", "--workload", "ownn"], "did you mean `own`"),
    ] {
        let (code, text) = lab.fails(args);
        assert_eq!(code, 2, "{args:?}: {text}");
        assert!(text.contains(part), "{args:?}: {text}");
    }
}

#[test]
fn what_is_missing_is_exit_code_3() {
    let lab = Lab::new(&[]);
    let (code, text) = lab.fails(&["image", "add", "mine", "--binary", "mine.sh"]);
    assert!(code == 3 && text.contains("run `cargo xtask setup`"), "{text}");
    let lab = Lab::new(&["aarch64"]);
    std::fs::remove_file(lab.at("own.qcow2")).unwrap();
    let (code, text) = lab.fails(&["boot", "--headless", "--dry-run", "--workload", "own"]);
    assert!(code == 3 && text.contains("the image of the service own is gone"), "{text}");
    let (code, text) = lab.fails(&["image", "add", "own", "--again"]);
    assert!(code == 3 && text.contains("--binary FILE --replace"), "{text}");
}

#[test]
fn a_workload_that_is_a_service_brings_its_image_and_its_architecture() {
    let lab = Lab::new(&["aarch64", "x86_64"]);
    let said = lab.ok(&["boot", "--headless", "--dry-run", "--workload", "own"]);
    assert!(said.contains("own.qcow2") && !said.contains("rootfs.qcow2"), "{said}");
    assert!(said.contains("flipsim.workload=own") && said.contains("ttyS0"), "{said}");
    let said = lab.ok(&["boot", "--headless", "--dry-run", "--workload", "sha256"]);
    assert!(said.contains("rootfs.qcow2") && said.contains("ttyAMA0"), "{said}");
    let (code, text) =
        lab.fails(&["boot", "--headless", "--dry-run", "--workload", "own", "--arch", "aarch64"]);
    assert!(code == 2 && text.contains("there for x86_64, not for aarch64; take --arch x86_64"), "{text}");
}

#[test]
fn services_are_listed_beside_the_lab_s_workloads_and_can_be_taken_out() {
    let lab = Lab::new(&["aarch64"]);
    let said = lab.ok(&["image", "list"]);
    assert!(said.contains("92833bfe35e0646c  SHA-256 over 8 MiB"), "{said}");
    assert!(said.contains("0123456789abcdef  ./own, added 2026-01-02T03:04:05Z"), "{said}");
    let all: Value = serde_json::from_str(&lab.ok(&["image", "list", "--json"])).unwrap();
    let own = all.as_array().unwrap().iter().find(|row| row["name"] == "own").unwrap();
    assert_eq!(
        (&own["arch"], &own["own"], &own["output"][0]),
        (&json!("aarch64"), &json!(true), &json!("one"))
    );
    lab.ok(&["image", "remove", "own"]);
    assert_eq!(lab.services("aarch64"), Value::Null);
    assert!(lab.at("own.qcow2").is_file(), "a campaign may need it");
    let (code, _) = lab.fails(&["boot", "--headless", "--dry-run", "--workload", "own"]);
    assert_eq!(code, 2);
}
