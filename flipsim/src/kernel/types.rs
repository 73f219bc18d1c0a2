//! The kernel's types, as its BTF has them: where a member lies in its structure, and how large it is.
//!
//! ```text
//! header (24 bytes: magic, lengths) │ types, one behind the other; their numbers begin at 1 │ names
//! ```
//!
//! Source: Linux, `Documentation/bpf/btf.rst`, `include/uapi/linux/btf.h`.
//!
//! Invariant: **what a file says is bounded**: no place outside of it is read, and no chain of types is followed without an end.

use std::collections::HashMap;

/// Types that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypesError {
    /// Other bytes.
    #[error("these are no types of a kernel (BTF): {0}")]
    Header(&'static str),
    /// A type that runs over the end, or of an unknown kind.
    #[error(
        "type {number} of the kernel's (BTF) {what}; a newer kernel may have kinds of types that are not known here"
    )]
    Type {
        /// Its number.
        number: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Where a member lies in its structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// From the structure's first byte.
    pub offset: u64,
    /// Its bytes; of a bit field those of the word that holds it.
    pub size: u64,
    /// The lowest bit, and how many there are, of a bit field.
    pub bits: Option<(u32, u32)>,
}

/// An array in a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Array {
    /// From the structure's first byte.
    pub offset: u64,
    /// How many elements.
    pub count: u64,
    /// The bytes of each.
    pub stride: u64,
}

/// A member, and its place in bits.
#[derive(Clone, Copy)]
struct Found {
    of: u32,
    bits: u64,
    width: u32,
}

/// The types of one kernel.
#[derive(Debug)]
pub struct Types {
    bytes: Vec<u8>,
    /// Where each type begins, by its number less one.
    types: Vec<usize>,
    names: (usize, usize),
    by_name: HashMap<String, Vec<u32>>,
}

const MAGIC: u16 = 0xeb9f;

/// The kinds that matter here.
mod kind {
    pub const INT: u32 = 1;
    pub const PTR: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const TYPEDEF: u32 = 8;
    pub const RESTRICT: u32 = 11;
    pub const FLOAT: u32 = 16;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

/// The bytes of a type's head.
const HEAD: usize = 12;

/// What follows the head of each kind: so many bytes, and so many for each of its members.
const BEHIND: [(usize, usize); 20] = [
    (0, 0),
    (4, 0),
    (0, 0),
    (12, 0),
    (0, 12),
    (0, 12),
    (0, 8),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 8),
    (4, 0),
    (0, 12),
    (0, 0),
    (4, 0),
    (0, 0),
    (0, 12),
];

/// So many names for one type, or structures in structures, are followed.
const MOST_STEPS: usize = 32;

/// One type.
#[derive(Clone, Copy)]
struct Type {
    at: usize,
    name: u32,
    kind: u32,
    members: usize,
    flag: bool,
    size_or_type: u32,
}

impl Types {
    /// Reads the types of a kernel.
    ///
    /// # Errors
    /// It is something else, or has kinds of types that are not known.
    pub fn parse(bytes: &[u8]) -> Result<Types, TypesError> {
        let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let wrong = TypesError::Header;
        let magic = bytes.get(..2).and_then(|two| two.try_into().ok()).map(u16::from_le_bytes);
        if magic != Some(MAGIC) {
            return Err(wrong("they do not begin as such"));
        }
        let numbers: Vec<usize> = (1..6).filter_map(|n| word(n * 4)).map(|n| n as usize).collect();
        let [head, types_at, types_length, names_at, names_length] = *numbers.as_slice() else {
            return Err(wrong("the header is cut off"));
        };
        let part = |at: usize, length: usize| {
            let first = head.checked_add(at)?;
            let end = first.checked_add(length)?;
            (end <= bytes.len()).then_some((first, end))
        };
        let (first, end) = part(types_at, types_length).ok_or(wrong("they are cut off"))?;
        let names = part(names_at, names_length).ok_or(wrong("their names are cut off"))?;
        let mut found = Types { bytes: bytes.to_vec(), types: Vec::new(), names, by_name: HashMap::new() };
        let mut at = first;
        while at < end {
            let number = found.types.len() + 1;
            let bad = |what| TypesError::Type { number, what };
            let head = found.head(at).filter(|_| at + HEAD <= end).ok_or(bad("is cut off"))?;
            let (fixed, each) = *BEHIND.get(head.kind as usize).ok_or(bad("is of an unknown kind"))?;
            at = at + HEAD + fixed + each * head.members;
            if at > end {
                return Err(bad("is cut off"));
            }
            found.types.push(head.at);
            let named = [kind::STRUCT, kind::UNION, kind::ENUM, kind::ENUM64].contains(&head.kind);
            let name = found.name(head.name).filter(|name| named && !name.is_empty()).map(str::to_owned);
            if let (Some(name), Ok(number)) = (name, u32::try_from(number)) {
                found.by_name.entry(name).or_default().push(number);
            }
        }
        Ok(found)
    }

    /// How many types there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.types.len()
    }

    fn word(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
    }

    fn head(&self, at: usize) -> Option<Type> {
        let (name, info, size_or_type) = (self.word(at)?, self.word(at + 4)?, self.word(at + 8)?);
        let (kind, members) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        Some(Type { at, name, kind, members, flag: info >> 31 != 0, size_or_type })
    }

    fn get(&self, number: u32) -> Option<Type> {
        self.head(*self.types.get((number as usize).checked_sub(1)?)?)
    }

    fn name(&self, offset: u32) -> Option<&str> {
        let first = self.names.0.checked_add(offset as usize).filter(|first| *first < self.names.1)?;
        let rest = self.bytes.get(first..self.names.1)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        std::str::from_utf8(&rest[..end]).ok()
    }

    /// What a type is behind its other names.
    fn plain(&self, mut number: u32) -> Option<Type> {
        for _ in 0..MOST_STEPS {
            let one = self.get(number)?;
            let is_name = (kind::TYPEDEF..=kind::RESTRICT).contains(&one.kind) || one.kind == kind::TYPE_TAG;
            if !is_name {
                return Some(one);
            }
            number = one.size_or_type;
        }
        None
    }

    fn bytes_of(&self, number: u32) -> Option<u64> {
        let (mut number, mut times) = (number, 1u64);
        for _ in 0..MOST_STEPS {
            let one = self.plain(number)?;
            match one.kind {
                kind::PTR => return times.checked_mul(8),
                kind::ARRAY => {
                    times = times.checked_mul(u64::from(self.word(one.at + HEAD + 8)?))?;
                    number = self.word(one.at + HEAD)?;
                }
                kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::FLOAT | kind::ENUM64 => {
                    return times.checked_mul(u64::from(one.size_or_type));
                }
                _ => return None,
            }
        }
        None
    }

    /// A member of a structure, those of structures without a name in it included.
    fn member(&self, of: Type, name: &str, depth: usize) -> Option<Found> {
        if ![kind::STRUCT, kind::UNION].contains(&of.kind) || depth > MOST_STEPS / 4 {
            return None;
        }
        (0..of.members).find_map(|index| {
            let at = of.at + HEAD + index * 12;
            let (own, number, place) = (self.word(at)?, self.word(at + 4)?, self.word(at + 8)?);
            let (bits, width) = match of.flag {
                true => (place & 0xff_ffff, place >> 24),
                false => (place, 0),
            };
            match self.name(own)? {
                "" => {
                    let found = self.member(self.plain(number)?, name, depth + 1)?;
                    Some(Found { bits: found.bits + u64::from(bits), ..found })
                }
                own if own == name => Some(Found { of: number, bits: u64::from(bits), width }),
                _ => None,
            }
        })
    }

    /// A member of a member, as in `a.b`.
    fn found(&self, of: &str, path: &str) -> Option<Found> {
        self.by_name.get(of)?.iter().find_map(|number| {
            let mut found = Found { of: *number, bits: 0, width: 0 };
            for name in path.split('.') {
                let one = self.member(self.plain(found.of)?, name, 0)?;
                found = Found { bits: found.bits + one.bits, ..one };
            }
            Some(found)
        })
    }

    /// Where a member is, as `member` or `member.of_this`; `None` where this kernel has none of that name.
    #[must_use]
    pub fn field(&self, of: &str, path: &str) -> Option<Field> {
        let found = self.found(of, path)?;
        let (size, bits) = (self.bytes_of(found.of)?, u32::try_from(found.bits % 64).ok()?);
        if found.width == 0 {
            return (bits % 8 == 0).then_some(Field { offset: found.bits / 8, size, bits: None });
        }
        // The eight bytes that it lies in, which it does not leave.
        let inside = bits + found.width <= 64;
        inside.then_some(Field { offset: found.bits / 64 * 8, size: 8, bits: Some((bits, found.width)) })
    }

    /// As [`Types::field`], of a member that is an array.
    #[must_use]
    pub fn array(&self, of: &str, path: &str) -> Option<Array> {
        let found = self.found(of, path)?;
        let one = self.plain(found.of).filter(|one| one.kind == kind::ARRAY)?;
        let stride = self.bytes_of(self.word(one.at + HEAD)?)?;
        let count = u64::from(self.word(one.at + HEAD + 8)?);
        Some(Array { offset: found.bits / 8, count, stride })
    }

    /// The bytes of a structure.
    #[must_use]
    pub fn size(&self, of: &str) -> Option<u64> {
        self.by_name.get(of)?.iter().find_map(|number| self.bytes_of(*number))
    }

    /// A constant of an enumeration.
    #[must_use]
    pub fn constant(&self, of: &str, name: &str) -> Option<u64> {
        self.by_name.get(of)?.iter().find_map(|number| {
            let one = self.get(*number)?;
            let each = match one.kind {
                kind::ENUM => 8,
                kind::ENUM64 => 12,
                _ => return None,
            };
            (0..one.members).find_map(|index| {
                let at = one.at + HEAD + index * each;
                let value = self.word(at + 4)?;
                (self.name(self.word(at)?)? == name).then_some(u64::from(value))
            })
        })
    }

    /// The member of a structure that holds a byte, as `member` or `member.of_this`: for people.
    #[must_use]
    pub fn member_at(&self, of: &str, offset: u64) -> Option<String> {
        let mut one = self
            .by_name
            .get(of)?
            .iter()
            .find_map(|number| self.plain(*number).filter(|one| u64::from(one.size_or_type) > offset))?;
        let (mut path, mut inside) = (Vec::new(), offset);
        for _ in 0..MOST_STEPS {
            if ![kind::STRUCT, kind::UNION].contains(&one.kind) {
                break;
            }
            let holds = |index: usize| {
                let at = one.at + HEAD + index * 12;
                let place = self.word(at + 8)?;
                let bits = if one.flag { place & 0xff_ffff } else { place };
                let (number, first) = (self.word(at + 4)?, u64::from(bits / 8));
                let length = self.bytes_of(number).unwrap_or(1).max(1);
                let into = inside.checked_sub(first).filter(|into| *into < length)?;
                Some((self.name(self.word(at)?)?, number, into))
            };
            let Some((name, number, into)) = (0..one.members).find_map(holds) else { break };
            if !name.is_empty() {
                path.push(name);
            }
            let Some(next) = self.plain(number) else { break };
            (one, inside) = (next, into);
        }
        (!path.is_empty()).then(|| path.join("."))
    }
}

#[cfg(test)]
mod tests;
