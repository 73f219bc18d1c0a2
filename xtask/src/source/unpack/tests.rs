//! Archives, sound ones and those that mean harm.

use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;

/// One entry as raw header fields: the tar crate refuses to write the names that matter here.
#[derive(Debug, Clone)]
struct Raw {
    kind: u8,
    name: String,
    link: String,
    content: Vec<u8>,
    mode: u32,
}

fn file(name: &str, content: &str) -> Raw {
    Raw { kind: b'0', name: name.into(), link: String::new(), content: content.into(), mode: 0o644 }
}

fn link(kind: u8, name: &str, target: &str) -> Raw {
    Raw { kind, name: name.into(), link: target.into(), content: Vec::new(), mode: 0o777 }
}

fn folder(name: &str) -> Raw {
    Raw { kind: b'5', name: name.into(), link: String::new(), content: Vec::new(), mode: 0o755 }
}

fn tar_of(entries: &[Raw]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        let mut header = [0u8; 512];
        header[..entry.name.len()].copy_from_slice(entry.name.as_bytes());
        let number = |value: u64, width: usize| format!("{value:0width$o}\0", width = width - 1).into_bytes();
        header[100..108].copy_from_slice(&number(entry.mode.into(), 8));
        header[124..136].copy_from_slice(&number(entry.content.len() as u64, 12));
        header[136..148].copy_from_slice(&number(1_000_000_000, 12));
        header[156] = entry.kind;
        header[157..157 + entry.link.len()].copy_from_slice(entry.link.as_bytes());
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].copy_from_slice(b"        ");
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&entry.content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        fs::write(place.0.path().join("victim"), "untouched").unwrap();
        place
    }

    fn target(&self) -> PathBuf {
        self.0.path().join("out")
    }

    fn unpack(&self, bytes: &[u8]) -> Result<()> {
        let archive = self.0.path().join("a.tar");
        fs::write(&archive, bytes).unwrap();
        unpack_new(&archive, &self.target())
    }

    fn refused(&self, entries: &[Raw]) -> String {
        let error = format!("{:#}", self.unpack(&tar_of(entries)).unwrap_err());
        assert_eq!(self.listing(), ["a.tar", "victim"], "{error}");
        assert_eq!(fs::read_to_string(self.0.path().join("victim")).unwrap(), "untouched");
        error
    }

    fn listing(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn compress_xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = xz2::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn compress_gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn compress_bz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn sample() -> Vec<u8> {
    tar_of(&[
        folder("top/"),
        file("top/a/b.txt", "hello"),
        link(b'2', "top/a/up", "../c"),
        file("top/c", "x"),
    ])
}

#[test]
fn every_compression_is_recognised_by_its_first_bytes() {
    for bytes in [sample(), compress_xz(&sample()), compress_gz(&sample()), compress_bz(&sample())] {
        let place = Place::new();
        place.unpack(&bytes).unwrap();
        assert_eq!(fs::read_to_string(place.target().join("a/b.txt")).unwrap(), "hello");
        assert_eq!(fs::read_to_string(place.target().join("a/up")).unwrap(), "x");
    }
}

#[test]
fn an_archive_of_several_streams_is_read_to_its_end() {
    let plain = sample();
    let (first, second) = plain.split_at(1536);
    for compress in [compress_xz, compress_gz, compress_bz] {
        let place = Place::new();
        place.unpack(&[compress(first), compress(second)].concat()).unwrap();
        assert!(place.target().join("c").exists());
    }
}

#[test]
fn a_truncated_archive_is_an_error_and_leaves_nothing() {
    for bytes in [sample(), compress_xz(&sample()), compress_gz(&sample()), compress_bz(&sample())] {
        for cut in [bytes.len() / 3, bytes.len() / 2, bytes.len() - 1025.min(bytes.len() / 4)] {
            let place = Place::new();
            let error = format!("{:#}", place.unpack(&bytes[..cut]).unwrap_err());
            assert!(error.contains("truncated") || error.contains("no archive"), "{cut}: {error}");
            assert_eq!(place.listing(), ["a.tar", "victim"]);
        }
    }
}

#[test]
fn a_damaged_compressed_archive_is_an_error() {
    let mut bytes = compress_xz(&sample());
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    assert!(Place::new().unpack(&bytes).is_err());
}

#[test]
fn names_that_lead_outside_are_refused() {
    let up = Place::new().refused(&[file("top/../../victim", "evil")]);
    assert!(up.contains("holds `..`") && up.contains("top/../../victim"), "{up}");
    let bare = Place::new().refused(&[file("../x", "evil")]);
    assert!(bare.contains("holds `..`"), "{bare}");
    let absolute = Place::new().refused(&[file("/tmp/flipsim-evil", "evil")]);
    assert!(absolute.contains("absolute"), "{absolute}");
}

#[test]
fn links_that_lead_outside_are_left_out() {
    for target in ["../victim", "/etc/passwd", "a/../../victim", "../../..", ".."] {
        let place = Place::new();
        let entries = [folder("top/"), link(b'2', "top/l", target), file("top/f", "kept")];
        place.unpack(&tar_of(&entries)).unwrap();
        assert!(place.target().join("l").symlink_metadata().is_err(), "{target} was made");
        assert_eq!(fs::read_to_string(place.target().join("f")).unwrap(), "kept");
    }
}

#[test]
fn what_is_written_through_a_link_that_was_left_out_stays_inside() {
    let place = Place::new();
    let outside = place.0.path().to_str().unwrap().to_owned();
    let entries = [folder("top/"), link(b'2', "top/l", &outside), file("top/l/victim", "evil")];
    place.unpack(&tar_of(&entries)).unwrap();
    assert_eq!(fs::read_to_string(place.0.path().join("victim")).unwrap(), "untouched");
    assert!(place.target().join("l").symlink_metadata().unwrap().is_dir());
}

#[test]
fn links_that_together_lead_outside_are_left_out() {
    let place = Place::new();
    let entries = [link(b'2', "top/d", "."), link(b'2', "top/e", "d/d/../../victim")];
    place.unpack(&tar_of(&entries)).unwrap();
    assert!(place.target().join("d").symlink_metadata().is_ok());
    assert!(place.target().join("e").symlink_metadata().is_err());
}

#[test]
fn hard_links_to_the_outside_or_through_links_are_refused() {
    for target in ["top/../victim", "/etc/passwd", "top/missing", "victim"] {
        Place::new().refused(&[folder("top/"), link(b'1', "top/l", target)]);
    }
    let entries = [file("top/d/f", "x"), link(b'2', "top/s", "d"), link(b'1', "top/l", "top/s/f")];
    assert!(Place::new().refused(&entries).contains("through the link"));
}

#[test]
fn a_hard_link_to_an_unpacked_file_is_made() {
    let place = Place::new();
    place.unpack(&tar_of(&[file("top/a", "same"), link(b'1', "top/b", "top/a")])).unwrap();
    assert_eq!(fs::read_to_string(place.target().join("b")).unwrap(), "same");
}

#[test]
fn nothing_is_written_through_a_link_or_in_its_place() {
    let through = [folder("top/real/"), link(b'2', "top/l", "real"), file("top/l/f", "evil")];
    assert!(Place::new().refused(&through).contains("through the link"));
    let over = [file("top/f", "x"), link(b'2', "top/l", "f"), file("top/l", "evil")];
    assert!(Place::new().refused(&over).contains("a link is in its place"));
}

#[test]
fn devices_and_pipes_are_refused() {
    for kind in *b"346" {
        let error = Place::new().refused(&[folder("top/"), link(kind, "top/dev", "")]);
        assert!(error.contains("device nodes and pipes"), "{error}");
    }
}

#[test]
fn set_user_id_bits_are_dropped_and_times_kept() {
    let place = Place::new();
    let mut entry = file("top/tool", "x");
    entry.mode = 0o6755;
    place.unpack(&tar_of(&[entry])).unwrap();
    let meta = fs::metadata(place.target().join("tool")).unwrap();
    assert_eq!(meta.permissions().mode() & 0o7100, 0o100);
    assert_eq!(meta.modified().unwrap(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
}

#[test]
fn an_archive_beyond_the_limits_is_refused() {
    let place = Place::new();
    let archive = place.0.path().join("a.tar");
    fs::write(&archive, sample()).unwrap();
    let out = place.target();
    fs::create_dir(&out).unwrap();
    let few = unpack_into(&archive, &out, 1, Limits { entries: 2, bytes: 100 }).unwrap_err();
    assert!(format!("{few:#}").contains("more than 2 entries"));
    let small = unpack_into(&archive, &out, 1, Limits { entries: 9, bytes: 3 }).unwrap_err();
    assert!(format!("{small:#}").contains("more than 3 bytes"));
}

#[test]
fn what_is_no_archive_is_reported() {
    let error = format!("{:#}", Place::new().unpack(b"<html>not found</html>").unwrap_err());
    assert!(error.contains("neither tar's"), "{error}");
}

/// An entry that describes the next one: `L` and `K` are GNU's long names, `x` and `g` are pax records.
fn described(kind: u8, content: impl Into<Vec<u8>>) -> Raw {
    Raw { kind, name: "././@LongLink".into(), link: String::new(), content: content.into(), mode: 0o644 }
}

fn pax(key: &str, value: &str) -> Raw {
    let rest = format!(" {key}={value}\n");
    let with = |length: usize| format!("{length}{rest}");
    let length = (rest.len()..).find(|length| with(*length).len() == *length).unwrap();
    described(b'x', with(length))
}

#[test]
fn what_describes_an_entry_has_a_bound_in_every_form_and_compression() {
    let long = vec![b'a'; 8 << 20];
    for kind in *b"LKx" {
        for compress in [compress_xz, compress_gz, compress_bz] {
            let place = Place::new();
            let bytes = compress(&tar_of(&[described(kind, long.clone()), file("top/f", "x")]));
            assert!(bytes.len() < 40_000);
            let error = format!("{:#}", place.unpack(&bytes).unwrap_err());
            assert!(error.contains("described in more than 1.0 MiB"), "{error}");
            assert_eq!(place.listing(), ["a.tar", "victim"]);
        }
    }
}

#[test]
fn the_map_of_a_sparse_file_has_a_bound() {
    let mut bytes = tar_of(&[Raw { kind: b'S', ..file("top/f", "") }]);
    bytes.truncate(512);
    bytes[257..265].copy_from_slice(b"ustar  \0");
    bytes[482] = 1;
    let sum: u64 =
        bytes[..148].iter().chain(&bytes[156..512]).map(|byte| u64::from(*byte)).sum::<u64>() + 8 * 32;
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut more = [0; 512];
    more[504] = 1;
    for _ in 0..20_000 {
        bytes.extend_from_slice(&more);
    }
    let error = format!("{:#}", Place::new().unpack(&compress_gz(&bytes)).unwrap_err());
    assert!(error.contains("described in more than 1.0 MiB"), "{error}");
}

#[test]
fn all_that_is_no_file_counts_as_well() {
    let within = |entries: &[Raw], limits: Limits| {
        let place = Place::new();
        let (archive, out) = (place.0.path().join("a.tar"), place.target());
        fs::write(&archive, compress_gz(&tar_of(entries))).unwrap();
        fs::create_dir(&out).unwrap();
        unpack_into(&archive, &out, 1, limits).map_err(|error| format!("{error:#}"))
    };
    let few = Limits { entries: 10, bytes: 100_000 };
    let globals = vec![described(b'g', "11 a=bcde\n"); 20];
    assert!(within(&globals, few).unwrap_err().contains("more than 10 entries"));
    for kind in *b"g5" {
        let big = Raw { name: "top/d".into(), ..described(kind, vec![0; 200_000]) };
        assert!(within(&[big, file("top/f", "x")], few).unwrap_err().contains("more than 100000 bytes"));
    }
    let names: Vec<Raw> =
        (0..4).flat_map(|_| [described(b'x', vec![b'a'; 40_000]), file("top/f", "x")]).collect();
    assert!(within(&names, few).unwrap_err().contains("more than 100000 bytes"));
    within(&[pax("mtime", "1.5"), file("top/f", "x")], few).unwrap();
}

#[test]
fn a_bomb_is_refused_in_every_compression_in_a_file_and_after_the_end() {
    let mut late = tar_of(&[file("top/f", "x")]);
    late.resize(8 << 20, 0);
    let early = tar_of(&[file("top/f", &"0".repeat(8 << 20))]);
    for bytes in [early, late] {
        for compress in [compress_xz, compress_gz, compress_bz] {
            let place = Place::new();
            let (archive, out) = (place.0.path().join("a.tar"), place.target());
            fs::write(&archive, compress(&bytes)).unwrap();
            fs::create_dir(&out).unwrap();
            let error = unpack_into(&archive, &out, 1, Limits { entries: 9, bytes: 1 << 20 }).unwrap_err();
            assert!(format!("{error:#}").contains("more than 1048576 bytes"), "{error:#}");
        }
    }
}

#[test]
fn a_header_that_asks_for_gigabytes_of_memory_is_refused() {
    let mut bytes = compress_xz(&sample());
    // The block's header: its size, flags, LZMA2 and its one property, the size of the dictionary.
    let size = (usize::from(bytes[12]) + 1) * 4;
    assert_eq!(bytes[14..16], [0x21, 1]);
    bytes[16] = 40;
    let mut crc = flate2::Crc::new();
    crc.update(&bytes[12..12 + size - 4]);
    bytes[12 + size - 4..12 + size].copy_from_slice(&crc.sum().to_le_bytes());
    let error = format!("{:#}", Place::new().unpack(&bytes).unwrap_err());
    assert!(error.contains("more than 256.0 MiB of memory"), "{error}");
}

#[test]
fn long_names_and_pax_records_lead_nowhere_outside() {
    let long = |name: &str| described(b'L', format!("{name}\0"));
    for entry in [long("top/../../victim"), pax("path", "top/../../victim")] {
        assert!(Place::new().refused(&[entry, file("top/f", "evil")]).contains("holds `..`"));
    }
    for entry in [long("/tmp/flipsim-evil"), pax("path", "/tmp/flipsim-evil")] {
        assert!(Place::new().refused(&[entry, file("top/f", "evil")]).contains("absolute"));
    }
    for entry in [described(b'K', "../../victim\0"), pax("linkpath", "../../victim")] {
        let place = Place::new();
        let hard = [entry.clone(), link(b'1', "top/l", "top/f")];
        place.refused(&hard);
        place.unpack(&tar_of(&[entry, link(b'2', "top/l", "f"), file("top/f", "kept")])).unwrap();
        assert!(place.target().join("l").symlink_metadata().is_err());
    }
    let through = [folder("top/d/"), link(b'2', "top/l", "d"), long("top/l/f"), file("top/f", "evil")];
    assert!(Place::new().refused(&through).contains("through the link"));
    let far = Place::new().refused(&[long(&format!("top/{}", "a/".repeat(4000))), file("top/f", "x")]);
    assert!(far.contains("longest that there can be") && far.len() < 700, "{far}");
}

fn any_name() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec!["a", "b", "top", "..", ".", "", "victim"]);
    prop::collection::vec(part, 1..5).prop_map(|parts| parts.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn whatever_the_archive_says_nothing_outside_changes(
        entries in prop::collection::vec((prop::sample::select(b"0125".to_vec()), any_name(), any_name()), 1..12)
    ) {
        let place = Place::new();
        let raw: Vec<Raw> = entries
            .into_iter()
            .map(|(kind, name, target)| {
                let content = if kind == b'0' { b"evil".to_vec() } else { Vec::new() };
                let link = if kind == b'1' || kind == b'2' { target } else { String::new() };
                // Most names start well, or nearly every archive would end at its first entry.
                Raw { kind, name: format!("top/{name}"), link, content, mode: 0o4755 }
            })
            .collect();
        let out = place.target();
        fs::create_dir(&out).unwrap();
        let archive = place.0.path().join("a.tar");
        fs::write(&archive, tar_of(&raw)).unwrap();
        let _refused_or_not = unpack_into(&archive, &out, 1, Limits::default());
        prop_assert_eq!(place.listing(), ["a.tar", "out", "victim"]);
        prop_assert_eq!(fs::read_to_string(place.0.path().join("victim")).unwrap(), "untouched");
        let root = out.canonicalize().unwrap();
        let mut open = vec![out];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if let Ok(real) = path.canonicalize() {
                    prop_assert!(real.starts_with(&root), "{} leads to {}", path.display(), real.display());
                }
                if path.symlink_metadata().unwrap().is_dir() {
                    open.push(path);
                }
            }
        }
    }
}
