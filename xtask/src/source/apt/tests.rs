//! What apt says, read; versions compared; its sources made private.

use super::*;

fn own() -> Vec<String> {
    own_suites("ID=debian\nVERSION_CODENAME=bookworm\n")
}

#[test]
fn one_line_sources_become_source_lines_of_the_distribution_alone() {
    let text = "\
# deb http://mirror.example/debian bookworm main
deb http://mirror.example/debian bookworm main contrib # fast
deb-src http://mirror.example/debian bookworm main contrib
deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/security bookworm-security main
deb [signed-by=/etc/apt/keyrings/vendor.gpg] https://vendor.example/apt bookworm main
deb https://vendor.example/apt vendor-bookworm main
deb [arch=amd64] https://vendor.example/apt bookworm stable
";
    insta::assert_snapshot!(private_list(text, &own()), @r"
        deb-src http://mirror.example/debian bookworm main contrib
        deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/security bookworm-security main
        ");
}

#[test]
fn deb822_sources_become_source_stanzas_of_the_distribution_alone() {
    let text = "\
Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Architectures: amd64
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://vendor.example/apt
Suites: nodistro
Components: main
Signed-By: /usr/share/keyrings/vendor.gpg

Types: deb
Enabled: no
URIs: http://mirror.example/debian
Suites: bookworm
Components: main
";
    insta::assert_snapshot!(private_deb822(text, &own()), @r"
        Types: deb-src
        URIs: http://mirror.example/debian
        Suites: bookworm bookworm-updates
        Components: main
        Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
        ");
}

#[test]
fn a_key_inside_a_stanza_is_kept_line_by_line() {
    let text = "Types: deb\nURIs: http://m.example\nSuites: bookworm\nComponents: main\nSigned-By:\n -----BEGIN\n .\n abc\n";
    assert!(private_deb822(text, &own()).contains("Signed-By:\n -----BEGIN\n .\n abc\n"));
}

#[test]
fn the_private_configuration_keeps_the_network_and_drops_the_hooks() {
    let dump = "APT::Update::Post-Invoke:: \"rm -f /var/cache/apt/*.bin\";\n\
                    Acquire::http::Proxy \"http://proxy.example:3128\";\n\
                    Acquire::IndexTargets::deb::DEP-11 \"\";\n";
    insta::assert_snapshot!(private_config(dump, Path::new("/c/apt")), @r#"
        Acquire::http::Proxy "http://proxy.example:3128";
        Dir::Etc::Main "/dev/null";
        Dir::Etc::Parts "/c/apt/none";
        Dir::Etc::SourceList "/dev/null";
        Dir::Etc::SourceParts "/c/apt/sources";
        Dir::State::Lists "/c/apt/lists";
        Dir::Cache "/c/apt/cache";
        APT::Sandbox::User "root";
        "#);
}

#[test]
fn acceptable_versions_come_newest_first_and_once() {
    let shown = "Package: linux\nVersion: 6.1.176-1\n\nPackage: linux\nVersion: 6.1.192-2\n\n\
                     Package: linux\nVersion: 5.10.1-1\n\nPackage: linux\nVersion: 6.1.176-1\n";
    assert_eq!(acceptable_versions(shown, &["6.".to_owned()]), ["6.1.192-2", "6.1.176-1"]);
    let shown = "Version: 1:7.2+dfsg-7+deb12u18\n";
    assert_eq!(acceptable_versions(shown, &["7.".to_owned()]), ["1:7.2+dfsg-7+deb12u18"]);
    assert!(acceptable_versions(shown, &["8.".to_owned()]).is_empty());
}

#[test]
fn versions_are_ordered_as_debian_orders_them() {
    // Oldest first; as dpkg --compare-versions says.
    let ordered = [
        "1.0~~-1",
        "1.0~~a-1",
        "1.0~-1",
        "1.0~rc1-1",
        "1.0-1~bpo12+1",
        "1.0-1",
        "1.0-1+b1",
        "1.0-1+deb12u2",
        "1.0-1+deb12u10",
        "1.0-1.1",
        "1.0-10",
        "1.0a-1",
        "1.0+dfsg-1",
        "1.0-rc1-1",
        "1.0.1-1",
        "1.2-1",
        "1.10-1",
        "1:0.1-1",
        "10:0.1-1",
    ];
    let shown: String = ordered.iter().map(|version| format!("Version: {version}\n\n")).collect();
    let newest_first: Vec<&str> = ordered.into_iter().rev().collect();
    assert_eq!(acceptable_versions(&shown, &[String::new()]), newest_first);
    let backwards: String = newest_first.iter().map(|version| format!("Version: {version}\n\n")).collect();
    assert_eq!(acceptable_versions(&backwards, &[String::new()]), newest_first);
    assert!(acceptable_versions("Version: 1.é-1\n", &[String::new()]).is_empty());
    // It would be a path, and two words, of a line that was continued.
    for odd in ["1.0/../../../other", "5.10-2\nFiles\n 00 1 a.dsc", "", "1 2"] {
        let found = acceptable_versions(&format!("Version: {odd}\n"), &[String::new()]);
        assert!(found.is_empty(), "{found:?}");
    }
}

#[test]
fn the_files_of_a_source_package_are_read_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("p_1.0.orig.tar.xz", "orig");
    write("p_1.0.orig-extra.tar.gz", "extra");
    write("p_1.0-2.debian.tar.xz", "debian");
    let line = |name: &str, text: &str| format!(" {} {} {name}\n", digest::of_bytes(text.as_bytes()), 4);
    let dsc = format!(
        "Format: 3.0 (quilt)\nChecksums-Sha1:\n 00 4 p_1.0.orig.tar.xz\nChecksums-Sha256:\n{}{}{}Files:\n 00 4 x\n",
        line("p_1.0.orig-extra.tar.gz", "extra"),
        line("p_1.0.orig.tar.xz", "orig"),
        line("p_1.0-2.debian.tar.xz", "debian"),
    );
    write("p_1.0-2.dsc", &dsc);
    let package = read_package(dir.path(), "p", "1:1.0-2").unwrap();
    assert_eq!(package.orig[0], (dir.path().join("p_1.0.orig.tar.xz"), None));
    assert_eq!(package.orig[1].1.as_deref(), Some("extra"));
    assert_eq!(package.record.files.len(), 3);
    write("p_1.0.orig.tar.xz", "evil");
    assert!(read_package(dir.path(), "p", "1:1.0-2").unwrap_err().to_string().contains("removed"));
}

#[test]
fn apt_s_complaint_is_one_line() {
    let text = "failed\n    Err:7 http://m.example x\n    E: Failed to fetch y  404  Not Found";
    assert_eq!(first_complaint(text), "Failed to fetch y  404  Not Found");
}
