//! The hash by which a patched QEMU digests pages, so that the digest of a state follows from that of another one.
//!
//! A page's words are added up as the universal hash NH does: for each pair of words the product of both, each with a key
//! added to it; twice, with keys that are two apart. Then both sums of 128 bits are mixed with where the content is. The
//! digest of RAM is the sum, modulo 2^128, of the hashes of the pages that are not as in the template.
//!
//! Source: NH is the inner hash of UMAC (Black, Halevi, Krawczyk, Krovetz, Rogaway: UMAC: Fast and Secure Message
//! Authentication, CRYPTO '99); the mixing of words is that of SplitMix64 (Steele, Lea, Flood: Fast Splittable
//! Pseudorandom Number Generators, OOPSLA 2014).
//!
//! Invariant: **it gives the numbers that QEMU gives**, bit by bit (`util/flipsim-hash.c`, `ram_hash()`).

use super::digest::Digest128;

/// Bytes that are hashed together.
const CHUNK: usize = 4096;

/// A word has 8 bytes, a pair of them is multiplied.
const PAIR: usize = 16;

/// The hashes of names are apart from those of contents.
const NAMES: u64 = 1;

/// So are those of devices.
const DEVICES: u64 = 2;

const KEYS: [u64; CHUNK / 8 + 2] = {
    let mut keys = [0; CHUNK / 8 + 2];
    let mut at = 0;
    while at < keys.len() {
        keys[at] = mix((at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        at += 1;
    }
    keys
};

const fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The 64 low bits of a sum, and the 64 high ones.
fn halves(sum: u128) -> (u64, u64) {
    (sum as u64, (sum >> 64) as u64)
}

/// Of at most [`CHUNK`] bytes; what is missing of the last pair counts as zeros.
fn chunk(place: u64, bytes: &[u8]) -> u128 {
    let (mut one, mut other) = (0u128, 0u128);
    for (at, pair) in bytes.chunks(PAIR).enumerate() {
        let mut whole = [0; PAIR];
        whole[..pair.len()].copy_from_slice(pair);
        let (x, y) = halves(u128::from_le_bytes(whole));
        let product =
            |key: usize| u128::from(x.wrapping_add(KEYS[key])) * u128::from(y.wrapping_add(KEYS[key + 1]));
        one = one.wrapping_add(product(2 * at));
        other = other.wrapping_add(product(2 * at + 2));
    }
    let (low, high) = halves(one);
    let low = mix(mix(low.wrapping_add(place)).wrapping_add(high));
    let (other_low, other_high) = halves(other);
    let high = mix(mix(mix(other_low ^ place).wrapping_add(other_high)).wrapping_add(low));
    u128::from(high) << 64 | u128::from(low)
}

/// The hash of bytes that are the `index`-th of a space.
#[must_use]
pub fn hash(space: u64, index: u64, bytes: &[u8]) -> Digest128 {
    let place = mix(mix(space).wrapping_add(index)).wrapping_add(bytes.len() as u64);
    let chunks = bytes.chunks(CHUNK).zip(0u64..);
    let hashes = chunks.map(|(bytes, at)| chunk(mix(place.wrapping_add(at)), bytes));
    Digest128(hashes.fold(0, u128::wrapping_add))
}

/// The space of a RAM block's pages, by QEMU's name for the block.
#[must_use]
pub fn space_of(block: &str) -> u64 {
    halves(hash(NAMES, 0, block.as_bytes()).0).0
}

/// What a device's part of the state adds to the digest of devices: the first part of that name.
#[must_use]
pub fn of_section(name: &str, content: &[u8]) -> Digest128 {
    let (low, _) = halves(hash(NAMES, 0, name.as_bytes()).0);
    Digest128(hash(DEVICES, 0, content).0 ^ u128::from(low))
}

/// What a page adds to a digest of RAM: its hash, or nothing where it is as in the template.
#[must_use]
pub fn of_page(space: u64, number: u64, content: &[u8], template: &[u8]) -> Digest128 {
    if content == template { Digest128(0) } else { hash(space, number, content) }
}

/// A digest, of RAM or of the whole state, after a page that added `before` to it adds `after`.
#[must_use]
pub fn moved(digest: Digest128, before: Digest128, after: Digest128) -> Digest128 {
    Digest128(digest.0.wrapping_sub(before.0).wrapping_add(after.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of bytes that follow from their number. The expected values are what QEMU's `flipsim_hash_str(flipsim_hash(…))`
    /// gives, compiled from the patched source by itself.
    const HASHES: [(u64, u64, usize, &str); 12] = [
        (0x1234, 0, 0, "00000000000000000000000000000000"),
        (0x1235, 1, 1, "c0e238a674f7f38e36f097aaabd991a9"),
        (0x1236, 4, 8, "24deb1e6c8bc2667ab68396d0b5aa643"),
        (0x1237, 9, 15, "3a3d67008399ad8e4556d711b7075491"),
        (0x1238, 16, 16, "12b365541f63f3ba988a8411f4045a8d"),
        (0x1239, 25, 17, "3e8fbe1e5a6b52f10ebe7afc69ff0880"),
        (0x123a, 36, 100, "3ae8bd769a435449ffac0546704e776b"),
        (0x123b, 49, 4095, "ce3f732796e87054446f49aa000cee9f"),
        (0x123c, 64, 4096, "595a59f74f74899af09954724741e1aa"),
        (0x123d, 81, 4097, "8bb385e2b42bb003d263ef1a481fcc64"),
        (0x123e, 100, 8192, "641752a2f244b42838bd1ef5dd68ab8a"),
        (0x123f, 121, 10000, "0b003afd99e07fcac5ca64c109250f4f"),
    ];

    fn bytes(count: usize) -> Vec<u8> {
        (0..count).map(|at| (at * at * 31 + at * 7 + (at >> 8)) as u8).collect()
    }

    #[test]
    fn bytes_hash_as_in_qemu() {
        for (space, index, length, expected) in HASHES {
            assert_eq!(hash(space, index, &bytes(length)).to_string(), expected, "{length} bytes");
        }
        assert_eq!(hash(1, 2, &[0; 4096]).to_string(), "4ff94ebbe3e5aaa56bf081028df49ac1");
        assert_eq!(hash(u64::MAX, u64::MAX, &[0xff; 4096]).to_string(), "5f0f72b7f4dc35eeeda04c349f87a5b1");
    }

    #[test]
    fn blocks_have_qemus_spaces() {
        let spaces = ["mach-virt.ram", "pc.ram", "ram0"].map(space_of);
        assert_eq!(spaces, [0xdf9c_b9c1_ab2b_1b72, 0xeccf_fb77_39e6_4c8d, 0xe288_8ba6_ab41_0358]);
    }

    #[test]
    fn a_digest_follows_the_pages() {
        let (template, one, other) = ([0; 4096], [1; 4096], [2; 4096]);
        let page = |number, content: &[u8]| of_page(7, number, content, &template);
        assert_eq!(page(3, &template), Digest128(0));
        let sum = |a: Digest128, b: Digest128| Digest128(a.0.wrapping_add(b.0));
        let before = sum(page(3, &one), page(4, &other));
        assert_eq!(moved(before, page(3, &one), page(3, &other)), sum(page(3, &other), page(4, &other)));
        assert_eq!(moved(before, page(4, &other), page(4, &template)), page(3, &one));
        assert_ne!(page(3, &one), page(4, &one));
    }
}
