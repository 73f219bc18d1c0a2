//! Tests of `types`.

use proptest::prelude::*;

use super::*;

/// Some types by hand.
#[derive(Default)]
pub(crate) struct Maker {
    types: Vec<u8>,
    names: Vec<u8>,
    count: u32,
}

impl Maker {
    pub(crate) fn new() -> Maker {
        Maker { names: vec![0], ..Maker::default() }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.names.len() as u32;
        self.names.extend(name.bytes().chain([0]));
        at
    }

    fn words(&mut self, words: &[u32]) {
        self.types.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }

    /// A type with its members, each of some words of which the first is a name.
    fn add(&mut self, kind: u32, flag: bool, name: &str, value: u32, members: &[(&str, &[u32])]) -> u32 {
        let name = self.name(name);
        let info = kind << 24 | u32::from(flag) << 31 | members.len() as u32;
        self.words(&[name, info, value]);
        for (name, words) in members {
            let name = self.name(name);
            self.words(&[name]);
            self.words(words);
        }
        self.count += 1;
        self.count
    }

    fn int(&mut self, size: u32) -> u32 {
        let number = self.add(kind::INT, false, "int", size, &[]);
        self.words(&[size * 8]);
        number
    }

    fn array(&mut self, of: u32, count: u32) -> u32 {
        let number = self.add(kind::ARRAY, false, "", 0, &[]);
        self.words(&[of, of, count]);
        number
    }

    fn bytes(&self) -> Vec<u8> {
        let (types, names) = (self.types.len() as u32, self.names.len() as u32);
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        let head = [24, 0, types, types, names];
        bytes.extend(head.iter().flat_map(|word: &u32| word.to_le_bytes()));
        bytes.extend_from_slice(&self.types);
        bytes.extend_from_slice(&self.names);
        bytes
    }
}

/// A structure with all that members can be: plain, in a union without a name, in bits, in an array, in another one.
fn sample() -> Vec<u8> {
    let mut made = Maker::new();
    let (byte, word) = (made.int(1), made.int(8));
    let pointer = made.add(kind::PTR, false, "", word, &[]);
    let text = made.array(byte, 16);
    let inner =
        made.add(kind::STRUCT, false, "inner", 16, &[("next", &[pointer, 0]), ("prev", &[pointer, 64])]);
    let bits = made.add(
        kind::STRUCT,
        true,
        "",
        8,
        &[
            ("inuse", &[byte, 16 << 24]),
            ("objects", &[byte, 15 << 24 | 16]),
            ("frozen", &[byte, 1 << 24 | 31]),
        ],
    );
    let union = made.add(kind::UNION, false, "", 8, &[("counters", &[word, 0]), ("", &[bits, 0])]);
    let named = made.add(kind::TYPEDEF, false, "list_t", inner, &[]);
    made.add(
        kind::STRUCT,
        false,
        "outer",
        56,
        &[("flags", &[word, 0]), ("", &[union, 64]), ("list", &[named, 128]), ("name", &[text, 256])],
    );
    made.add(kind::ENUM, false, "pageflags", 4, &[("PG_locked", &[0]), ("PG_slab", &[9])]);
    made.bytes()
}

#[test]
fn a_member_is_found_wherever_it_lies_in_its_structure() {
    let types = Types::parse(&sample()).unwrap();
    let plain = |offset, size| Some(Field { offset, size, bits: None });
    assert_eq!(types.field("outer", "flags"), plain(0, 8));
    assert_eq!(types.field("outer", "counters"), plain(8, 8));
    assert_eq!(types.field("outer", "list.prev"), plain(24, 8));
    assert_eq!(types.field("outer", "name"), plain(32, 16));
    let bits = |low, width| Some(Field { offset: 8, size: 8, bits: Some((low, width)) });
    assert_eq!(types.field("outer", "inuse"), bits(0, 16));
    assert_eq!(types.field("outer", "objects"), bits(16, 15));
    assert_eq!(types.field("outer", "frozen"), bits(31, 1));
    assert_eq!(types.array("outer", "name"), Some(Array { offset: 32, count: 16, stride: 1 }));
    assert_eq!((types.size("outer"), types.size("inner")), (Some(56), Some(16)));
    assert_eq!(types.constant("pageflags", "PG_slab"), Some(9));
    for (of, path) in [("outer", "none"), ("none", "flags"), ("outer", "flags.deeper"), ("outer", "")] {
        assert_eq!(types.field(of, path), None, "{of}.{path}");
    }
    assert_eq!(types.array("outer", "flags"), None);
    assert_eq!(types.constant("pageflags", "PG_none"), None);
}

#[test]
fn a_byte_of_a_structure_has_the_name_of_its_member() {
    let types = Types::parse(&sample()).unwrap();
    let at = |offset| types.member_at("outer", offset);
    assert_eq!(at(3).as_deref(), Some("flags"));
    assert_eq!(at(9).as_deref(), Some("counters"));
    assert_eq!(at(25).as_deref(), Some("list.prev"));
    assert_eq!(at(47).as_deref(), Some("name"));
    assert_eq!((at(50), at(56)), (None, None));
}

#[test]
fn types_that_name_one_another_in_a_circle_end() {
    let mut made = Maker::new();
    made.add(kind::TYPEDEF, false, "one", 2, &[]);
    made.add(kind::TYPEDEF, false, "two", 1, &[]);
    made.array(3, 2);
    made.add(kind::STRUCT, false, "own", 8, &[("", &[4, 0]), ("two", &[1, 0]), ("three", &[3, 0])]);
    let types = Types::parse(&made.bytes()).unwrap();
    assert_eq!(types.field("own", "two"), None);
    assert_eq!(types.field("own", "three"), None);
    assert_eq!(types.field("own", "absent"), None);
    assert_eq!(types.member_at("own", 0), None);
}

#[test]
fn what_is_cut_off_or_of_an_unknown_kind_is_refused() {
    let whole = sample();
    for length in [0, 1, 10, 23, 40, whole.len() - 1] {
        assert!(Types::parse(&whole[..length]).is_err(), "{length}");
    }
    let mut made = Maker::new();
    made.add(25, false, "later", 0, &[]);
    let error = Types::parse(&made.bytes()).unwrap_err();
    assert_eq!(error, TypesError::Type { number: 1, what: "is of an unknown kind" });
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(at in 0usize..600, byte: u8, length in 0usize..700) {
        let mut bytes = sample();
        if let Some(one) = bytes.get_mut(at) {
            *one = byte;
        }
        bytes.truncate(length);
        if let Ok(types) = Types::parse(&bytes) {
            for path in ["flags", "list.next", "frozen", "name"] {
                let _ = (types.field("outer", path), types.array("outer", path));
            }
            let _ = (types.member_at("outer", at as u64), types.size("outer"), types.constant("pageflags", "PG_slab"));
        }
    }
}
