//! Packets of the gdb remote protocol: framing, escapes, run lengths, checksums and hex.
//!
//! Invariant: any bytes in any pieces are taken without a panic, and no more of them are kept than
//! the packet limit.

/// What asks a running target to stop: Ctrl-C, outside of any packet.
pub const INTERRUPT: u8 = 0x03;

/// A packet limit for the time before `PacketSize` is known, in decoded bytes.
pub const DEFAULT_LIMIT: usize = 0x4000;

/// What the parser found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// `+`: the other side has our last packet.
    Ack,
    /// `-`: the other side asks for our last packet again.
    Nak,
    /// A whole packet with the right checksum; its content is [`Parser::data`].
    Packet,
    /// A whole notification (`%`) with the right checksum; its content is [`Parser::data`].
    Notification,
    /// A packet whose checksum or encoding is wrong. It wants a [`Received::Nak`] sent back.
    Damaged,
    /// A packet longer than the limit. Its content is lost, its end was found.
    TooLong,
    /// [`INTERRUPT`], outside of a packet.
    Interrupt,
    /// A byte outside of any packet that means nothing.
    Noise(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Outside,
    Content,
    Escape,
    RunLength,
    HighDigit,
    LowDigit(u8),
}

/// Takes a byte stream apart. Feed it any pieces with [`Parser::next_event`].
///
/// ```text
///   $ m40000000,8 # 55          a packet: content, then its checksum in two hex digits
///   % Stop:T05    # 99          a notification: the same, never acknowledged
///   + -                         "have it", "send it again"
///   0x03                        Ctrl-C
///
///   in the content      means
///   } x                 the byte x ^ 0x20: how # $ } * travel in binary data
///   c * n               c, then c again (n - 29) times; n is printable and neither # nor $
///
///   checksum = sum of the bytes between $ and #, as they travel, modulo 256
/// ```
#[derive(Debug)]
pub struct Parser {
    state: State,
    data: Vec<u8>,
    limit: usize,
    sum: u8,
    notification: bool,
    damaged: bool,
    too_long: bool,
    /// The content of the last event has been seen; the next packet starts from an empty buffer.
    finished: bool,
}

impl Parser {
    /// A parser that keeps at most `limit` decoded bytes of a packet.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Parser {
            state: State::Outside,
            data: Vec::with_capacity(limit.min(DEFAULT_LIMIT)),
            limit,
            sum: 0,
            notification: false,
            damaged: false,
            too_long: false,
            finished: false,
        }
    }

    /// Changes the packet limit, in decoded bytes.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The content of the packet or notification that was found last, decoded.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        if self.finished { &self.data } else { &[] }
    }

    /// Takes bytes off the front of `input` until something was found. `None`: the input is used up.
    pub fn next_event(&mut self, input: &mut &[u8]) -> Option<Received> {
        while let Some((&byte, rest)) = input.split_first() {
            *input = rest;
            if let Some(event) = self.take(byte) {
                return Some(event);
            }
        }
        None
    }

    fn begin(&mut self, notification: bool) {
        self.state = State::Content;
        self.data.clear();
        self.sum = 0;
        self.notification = notification;
        self.damaged = false;
        self.too_long = false;
        self.finished = false;
    }

    fn keep(&mut self, byte: u8, count: usize) {
        if self.data.len() + count > self.limit {
            self.too_long = true;
        } else {
            self.data.resize(self.data.len() + count, byte);
        }
    }

    fn take(&mut self, byte: u8) -> Option<Received> {
        match (self.state, byte) {
            (State::Outside, b'$') => self.begin(false),
            (State::Outside, b'%') => self.begin(true),
            (State::Outside, b'+') => return Some(Received::Ack),
            (State::Outside, b'-') => return Some(Received::Nak),
            (State::Outside, INTERRUPT) => return Some(Received::Interrupt),
            (State::Outside, other) => return Some(Received::Noise(other)),
            // A bare `$` is never content, so what came before it lost its end on the way.
            (State::Content | State::Escape | State::RunLength, b'$') => self.begin(false),
            (State::Content, b'#') => self.state = State::HighDigit,
            // An escape or a run length cut short is no packet, but its end is an end.
            (State::Escape | State::RunLength, b'#') => {
                self.damaged = true;
                self.state = State::HighDigit;
            }
            (State::Content, b'}') => self.content(byte, State::Escape),
            (State::Content, b'*') => self.content(byte, State::RunLength),
            (State::Content, _) => {
                self.content(byte, State::Content);
                self.keep(byte, 1);
            }
            (State::Escape, _) => {
                self.content(byte, State::Content);
                self.keep(byte ^ 0x20, 1);
            }
            (State::RunLength, _) => {
                self.content(byte, State::Content);
                match (self.data.last(), byte) {
                    (Some(&last), b' '..=b'~') => self.keep(last, usize::from(byte - 29)),
                    // When the content was too long, the byte to repeat may not have been kept.
                    _ => self.damaged = true,
                }
            }
            (State::HighDigit, _) => match hex_digit(byte) {
                Some(digit) => self.state = State::LowDigit(digit << 4),
                None => return Some(self.end(false)),
            },
            (State::LowDigit(high), _) => {
                let right = hex_digit(byte).is_some_and(|low| high | low == self.sum);
                return Some(self.end(right));
            }
        }
        None
    }

    fn content(&mut self, byte: u8, next: State) {
        self.sum = self.sum.wrapping_add(byte);
        self.state = next;
    }

    fn end(&mut self, right_sum: bool) -> Received {
        self.state = State::Outside;
        if self.too_long {
            Received::TooLong
        } else if !right_sum || self.damaged {
            Received::Damaged
        } else {
            self.finished = true;
            if self.notification { Received::Notification } else { Received::Packet }
        }
    }
}

/// Appends `content` to `out` as a packet, with the bytes that mean something escaped.
pub fn encode_packet(content: &[u8], out: &mut Vec<u8>) {
    let mut packet = PacketWriter::begin(out);
    packet.binary(content);
    packet.finish();
}

/// Writes one packet piece by piece, straight into the buffer that is sent.
#[derive(Debug)]
pub struct PacketWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> PacketWriter<'a> {
    /// Starts a packet at the end of `out`.
    pub fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'$');
        let start = out.len();
        PacketWriter { out, start }
    }

    /// Text without any of `# $ } *`.
    pub fn text(&mut self, text: &str) -> &mut Self {
        debug_assert!(!text.contains(['#', '$', '}', '*']), "this text wants escapes");
        self.out.extend_from_slice(text.as_bytes());
        self
    }

    /// Any bytes, escaped where that is needed.
    pub fn binary(&mut self, bytes: &[u8]) -> &mut Self {
        for &byte in bytes {
            if matches!(byte, b'#' | b'$' | b'}' | b'*') {
                self.out.extend_from_slice(&[b'}', byte ^ 0x20]);
            } else {
                self.out.push(byte);
            }
        }
        self
    }

    /// Bytes as hex, two digits each.
    pub fn hex(&mut self, bytes: &[u8]) -> &mut Self {
        encode_hex(bytes, self.out);
        self
    }

    /// A number in hex without leading zeroes, as addresses and lengths are written.
    pub fn number(&mut self, number: u64) -> &mut Self {
        let digits = (64 - number.leading_zeros()).div_ceil(4).max(1);
        for place in (0..digits).rev() {
            self.out.push(DIGITS[(number >> (4 * place) & 0xf) as usize]);
        }
        self
    }

    /// Ends the packet: `#` and the checksum.
    pub fn finish(&mut self) {
        let sum = checksum(&self.out[self.start..]);
        self.out.extend_from_slice(&[b'#', DIGITS[usize::from(sum >> 4)], DIGITS[usize::from(sum & 0xf)]]);
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The sum of `bytes` modulo 256.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// The value of one hex digit, in either case.
#[must_use]
pub fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Appends `bytes` to `out` as hex, two digits each.
pub fn encode_hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]);
    }
}

/// Reads hex, two digits a byte, into `out`. `None`: another length than `out` needs, or no hex.
#[must_use]
pub fn decode_hex_into(hex: &[u8], out: &mut [u8]) -> Option<()> {
    if hex.len() != out.len() * 2 {
        return None;
    }
    for (pair, byte) in hex.chunks_exact(2).zip(out) {
        *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
    }
    Some(())
}

/// Reads hex, two digits a byte. `None`: an odd number of digits, or no hex.
#[must_use]
pub fn decode_hex(hex: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0; hex.len() / 2];
    decode_hex_into(hex, &mut out).map(|()| out)
}

/// Reads a number written in hex, without a prefix. `None`: nothing, no hex, or over 64 bits.
#[must_use]
pub fn decode_number(hex: &[u8]) -> Option<u64> {
    if hex.is_empty() || hex.len() > 16 {
        return None;
    }
    hex.iter().try_fold(0, |number, &byte| Some(number << 4 | u64::from(hex_digit(byte)?)))
}

#[cfg(test)]
mod tests;
