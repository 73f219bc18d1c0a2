//! What stands before a message: levels, time stamps of the kernel's console, of `dmesg`, of a journal or of a
//! syslog, and who speaks.
//!
//! Invariant: **the same message has the same rest, whatever stands before it.**

/// What stands before a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    /// The kernel's log says it.
    pub stamped: bool,
    /// The time since the boot, in microseconds.
    pub at: Option<u64>,
    /// The task or CPU that speaks (`CONFIG_PRINTK_CALLER`).
    pub caller: Option<(u8, u32)>,
    /// A program speaks: `NAME[PID]: ` stands first in the message, or a journal says so.
    pub program: bool,
}

/// Splits a line into its prefix and the message: `<4>[    1.234567][   T12] message`,
/// `Jan 21 11:05:41 host kernel: message`.
pub fn split_prefix(line: &str) -> (Prefix, &str) {
    let mut prefix = Prefix::default();
    let mut rest = level(line);
    if let Some(behind) = kmsg(rest).or_else(|| dmesg(rest)) {
        prefix.stamped = true;
        rest = behind;
    } else if let Some(behind) = date(rest) {
        match speaker(behind) {
            Some((message, program)) => {
                rest = message;
                prefix.program = program;
                prefix.stamped = !program;
            }
            // `dmesg --time-format iso` names no host, as programs with dates of their own; only it has a comma.
            None => {
                prefix.stamped = rest.split(' ').next().is_some_and(|date| date.contains(','));
                rest = behind;
            }
        }
    }
    if let Some(length) = stamp(rest.as_bytes()) {
        prefix.stamped = true;
        prefix.at = microseconds(&rest[..length]);
        rest = caller(&rest[length..], &mut prefix);
        rest = rest.strip_prefix(' ').unwrap_or(rest);
        // `journalctl -o short-monotonic`
        if let Some((host, behind)) = rest.split_once(" kernel: ")
            && is_host(host)
        {
            rest = behind;
        }
    }
    prefix.program |= tag(rest).is_some();
    (prefix, rest)
}

/// The rest behind `<4>`, or behind `kern  :warn  : ` of `dmesg -x`.
fn level(line: &str) -> &str {
    let number = |text: &str| text.len() <= 3 && is_digits(text);
    if let Some((_, rest)) =
        line.strip_prefix('<').and_then(|rest| rest.split_once('>')).filter(|(level, _)| number(level))
    {
        return rest;
    }
    let decoded = || {
        let (facility, rest) = line.split_once(':')?;
        let (level, rest) = rest.split_once(": ")?;
        let known = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"];
        let facilities = ["kern", "user", "daemon", "syslog", "auth"];
        (facilities.contains(&facility.trim_end()) && known.contains(&level.trim_end())).then_some(rest)
    };
    decoded().unwrap_or(line)
}

/// The rest behind `6,339,5140900,-;`, as `/dev/kmsg` has it.
fn kmsg(line: &str) -> Option<&str> {
    let (head, rest) = line.split_once(';')?;
    let mut fields = head.split(',');
    let numbers = fields.by_ref().take(3).filter(|field| is_digits(field)).count() == 3;
    (numbers && head.len() <= 64 && fields.next().is_some()).then_some(rest)
}

/// The rest behind a time of `dmesg`: `[Sat Nov 28 23:06:19 2026]`, `[Nov28 23:06]`, `[  +0.000012]`,
/// `[    1.234567 <    0.000012>]`.
fn dmesg(line: &str) -> Option<&str> {
    let (inside, rest) = line.strip_prefix('[')?.split_once(']')?;
    if inside.len() > 40 {
        return None;
    }
    let inside = inside.trim();
    let delta = inside.split_once('<').is_some_and(|(time, delta)| {
        let time = time.trim();
        (time.is_empty() || is_decimal(time)) && is_decimal(delta.trim_end_matches('>').trim())
    });
    let relative = inside.strip_prefix('+').is_some_and(is_decimal);
    let mut words = inside.split_ascii_whitespace();
    let first = words.next().unwrap_or_default();
    let clock = |word: Option<&str>| word.is_some_and(|word| is_clock(word.as_bytes()));
    let short = first.len() > 3 && is_month(first) && is_digits(&first[3..]) && clock(words.clone().next());
    let long = is_weekday(first)
        && words.next().is_some_and(is_month)
        && words.next().is_some_and(is_digits)
        && clock(words.next());
    (delta || relative || short || long).then(|| rest.strip_prefix(' ').unwrap_or(rest))
}

/// The rest behind the date of a journal or a syslog: `Jan 21 11:05:41 `, `2026-11-28T23:06:19.123456+00:00 `,
/// `Sat 2026-11-28 23:06:19 UTC `, `1700000000.123456 `.
fn date(line: &str) -> Option<&str> {
    let (first, rest) = line.split_once(' ')?;
    if is_weekday(first) && rest.as_bytes().get(4) == Some(&b'-') {
        let (date, rest) = rest.split_once(' ')?;
        let (time, rest) = rest.split_once(' ')?;
        let (_zone, rest) = rest.split_once(' ')?;
        return (is_date(date) && is_clock(time.as_bytes())).then_some(rest);
    }
    if is_month(first) && first.len() == 3 {
        let (day, rest) = rest.trim_start().split_once(' ')?;
        let (time, rest) = rest.trim_start().split_once(' ')?;
        if is_clock(time.as_bytes()) {
            return is_digits(day).then_some(rest);
        }
        // With the year: `Jan 21 2026 11:05:41 `.
        let (clock, rest) = rest.split_once(' ')?;
        return (is_digits(day) && is_digits(time) && is_clock(clock.as_bytes())).then_some(rest);
    }
    if first.len() >= 19 && is_date(&first[..first.find('T')?]) {
        let time = first.split_once('T')?.1;
        return is_clock(time.as_bytes()).then_some(rest);
    }
    if is_date(first) {
        let (time, rest) = rest.split_once(' ')?;
        return is_clock(time.as_bytes()).then_some(rest);
    }
    (first.len() >= 12 && is_decimal(first)).then_some(rest)
}

/// What is said behind `HOST TAG: ` of a journal, and whether a program says it; its tag stays with the message.
fn speaker(rest: &str) -> Option<(&str, bool)> {
    let (_host, mut message) = rest.split_once(' ').filter(|(host, _)| is_host(host))?;
    // BusyBox has the level between: `host kern.err kernel: …`.
    if let Some((level, behind)) = message.split_once(' ')
        && level.contains('.')
        && !level.ends_with(':')
        && level.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.')
    {
        message = behind;
    }
    if let Some(said) = message.strip_prefix("kernel:") {
        return Some((said.strip_prefix(' ').unwrap_or(said), false));
    }
    let (name, _) = message.split_once(": ")?;
    (is_host(name) || tag(message).is_some()).then_some((message, true))
}

/// The name in `NAME[PID]: ` at the start of a message, and the length of all three.
pub fn tag(message: &str) -> Option<(&str, usize)> {
    let open = message.find('[').filter(|open| (1..=64).contains(open))?;
    let name = &message[..open];
    let digits = message[open + 1..].bytes().take_while(u8::is_ascii_digit).count();
    let end = open + 1 + digits;
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.@/()+:-".contains(&b));
    (plain && digits > 0 && message[end..].starts_with("]: ")).then_some((name, end + 3))
}

fn caller<'a>(rest: &'a str, prefix: &mut Prefix) -> &'a str {
    if let Some((inside, behind)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let inside = inside.trim_start();
        let who = inside.bytes().next().filter(|b| matches!(b, b'T' | b'C'));
        if let (Some(who), Some(Ok(number))) = (who, inside.get(1..).map(str::parse)) {
            prefix.caller = Some((who, number));
            return behind;
        }
    }
    rest
}

/// The length of a time stamp at the start: `[`, spaces, seconds, a point, six digits, `]`.
pub fn stamp(bytes: &[u8]) -> Option<usize> {
    let mut at = bytes.strip_prefix(b"[")?.iter().position(|b| *b != b' ')? + 1;
    let digits = |at: usize| bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
    let seconds = digits(at);
    at += seconds;
    let whole = (1..=10).contains(&seconds) && bytes.get(at) == Some(&b'.') && digits(at + 1) == 6;
    (whole && bytes.get(at + 7) == Some(&b']')).then_some(at + 8)
}

fn microseconds(stamp: &str) -> Option<u64> {
    let (seconds, rest) = stamp.trim_matches(['[', ']', ' ']).split_once('.')?;
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(rest.parse().ok()?)
}

/// Where a further time stamp begins: another message cut into this line there.
pub fn cut(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    let mut from = 1;
    while let Some(found) = bytes.get(from..)?.iter().position(|b| *b == b'[') {
        let at = from + found;
        // Behind a level, and behind what a journal puts first, it is the line's own.
        let own = || bytes[..at].ends_with(b">") || line[..at].ends_with("kernel: ");
        if stamp(&bytes[at..]).is_some() && !own() {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_decimal(text: &str) -> bool {
    text.split_once('.').is_some_and(|(whole, part)| is_digits(whole) && is_digits(part))
}

/// `11:05`, `11:05:41`, with a fraction and a zone behind it.
fn is_clock(text: &[u8]) -> bool {
    let pair = |at: usize| text.get(at..at + 2).is_some_and(|two| two.iter().all(u8::is_ascii_digit));
    pair(0)
        && text.get(2) == Some(&b':')
        && pair(3)
        && (text.len() == 5 || text.get(5) == Some(&b':') && pair(6))
}

fn is_date(text: &str) -> bool {
    let mut parts = text.split(['-', '/']);
    let mut part = |length| parts.next().is_some_and(|part| part.len() == length && is_digits(part));
    part(4) && part(2) && part(2)
}

fn is_month(text: &str) -> bool {
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    months.iter().any(|month| text.starts_with(month))
}

fn is_weekday(text: &str) -> bool {
    ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].contains(&text)
}

/// A name of a host, or of a program without its number.
fn is_host(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-@".contains(&b))
}

#[cfg(test)]
mod tests;
