//! A user's folder is hostile ground.

use std::os::unix::fs::symlink;

use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        fs::create_dir(folder.at("files")).unwrap();
        fs::write(folder.at("run"), "#!/bin/sh\n").unwrap();
        folder
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn contents(&self) -> Result<Contents> {
        let (binary, files) = (self.at("run"), self.at("files"));
        Contents::of(&Given { name: "mine", binary: &binary, files: Some(&files), arch: Arch::default() })
    }

    fn refusal(&self) -> String {
        format!("{:#}", self.contents().unwrap_err())
    }
}

#[test]
fn files_folders_and_links_inside_have_their_places() {
    let folder = Folder::new();
    fs::create_dir_all(folder.at("files/data/empty")).unwrap();
    fs::write(folder.at("files/data/two words #1"), "12").unwrap();
    symlink("two words #1", folder.at("files/data/link")).unwrap();
    symlink("../data/./link", folder.at("files/data/again")).unwrap();
    let contents = folder.contents().unwrap();
    let shown: Vec<(&str, &str)> = contents
        .iter()
        .map(|(path, item)| match item {
            Item::Folder => (path, "folder"),
            Item::File { runs: true, .. } => (path, "program"),
            Item::File { .. } => (path, "file"),
            Item::Link(target) => (path, target.as_str()),
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("/srv", "folder"),
            ("/srv/mine", "folder"),
            ("/srv/mine/data", "folder"),
            ("/srv/mine/data/again", "../data/./link"),
            ("/srv/mine/data/empty", "folder"),
            ("/srv/mine/data/link", "two words #1"),
            ("/srv/mine/data/two words #1", "file"),
            ("/srv/mine/run", "program"),
        ]
    );
    assert_eq!(contents.bytes(), 12);
    let file = folder.at("files/data/two words #1").canonicalize().unwrap();
    for name in ["two words #1", "link", "again"] {
        assert_eq!(contents.source_of(&format!("/srv/mine/data/{name}"), 0), Some(file.clone()), "{name}");
    }
    assert_eq!(contents.source_of("/srv/mine/data/empty", 0), None);
    assert_eq!(contents.libraries().count(), 0);
}

#[test]
fn links_that_lead_round_in_a_circle_are_kept_and_lead_to_no_file() {
    let folder = Folder::new();
    symlink("b", folder.at("files/a")).unwrap();
    symlink("a", folder.at("files/b")).unwrap();
    assert_eq!(folder.contents().unwrap().source_of("/srv/mine/a", 0), None);
}

#[test]
fn a_name_that_is_more_than_a_word_is_refused() {
    for name in ["a\"b", "a\nrm", "a\tb", "é"] {
        let folder = Folder::new();
        fs::write(folder.at("files").join(name), "").unwrap();
        assert!(folder.refusal().contains("is not taken"), "{name}");
    }
    let folder = Folder::new();
    fs::create_dir(folder.at("files/a\nb")).unwrap();
    assert!(folder.refusal().contains("is not taken"));
}

#[test]
fn a_link_that_leads_out_is_refused_with_its_name() {
    for target in ["/etc/passwd", "..", "x/../..", "a/../../mine/b", "/"] {
        let folder = Folder::new();
        symlink(target, folder.at("files/leads")).unwrap();
        let text = folder.refusal();
        assert!(text.contains("files/leads leads out of the folder"), "{target}: {text}");
    }
    let folder = Folder::new();
    symlink("a\nb", folder.at("files/leads")).unwrap();
    assert!(folder.refusal().contains("is not taken"));
}

#[test]
fn pipes_sockets_and_devices_are_refused() {
    let folder = Folder::new();
    let _socket = std::os::unix::net::UnixListener::bind(folder.at("files/sock")).unwrap();
    assert!(folder.refusal().contains("files/sock is a device, a pipe or a socket"));
    let folder = Folder::new();
    fs::remove_file(folder.at("run")).unwrap();
    fs::create_dir(folder.at("run")).unwrap();
    assert!(folder.refusal().contains("cannot use"));
}

#[test]
fn the_program_may_lie_among_the_files_but_no_two_files_have_one_name() {
    let folder = Folder::new();
    fs::write(folder.at("files/run"), "#!/bin/sh\n").unwrap();
    let contents = folder.contents().unwrap();
    assert!(matches!(contents.0["/srv/mine/run"], Item::File { runs: true, .. }));
    fs::write(folder.at("files/run"), "#!/bin/sh -e\n").unwrap();
    assert!(folder.refusal().contains("two things would be /srv/mine/run"));
}

#[test]
fn a_library_has_a_place_in_the_guest_that_is_one() {
    let folder = Folder::new();
    let mut contents = folder.contents().unwrap();
    for bad in ["lib/a", "/lib/../a", "/lib//a", "/lib/a\"b", "/"] {
        assert!(contents.add_with_folders(&folder.at("run"), bad).is_err(), "{bad}");
    }
    contents.add_with_folders(&folder.at("run"), "/lib64/ld.so").unwrap();
    assert!(contents.0.contains_key("/lib64") && contents.libraries().count() == 1);
}

#[test]
fn what_is_kept_is_read_again() {
    let contents = Folder::new().contents().unwrap();
    let moved = contents.placed(|_, number| Ok(format!("{number}").into())).unwrap();
    let text = serde_json::to_string(&moved).unwrap();
    assert!(text.contains("\"source\":\"0\""), "{text}");
    assert_eq!(serde_json::from_str::<Contents>(&text).unwrap(), moved);
}
