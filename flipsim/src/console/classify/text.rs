//! The texts inside a console's lines: function names, the details of a report, and what of a message is stable.
//!
//! Invariant: no address, number or time stamp passes [`clean`].

/// The longest title.
const MAX_TITLE: usize = 160;
/// The longest name of a function.
const MAX_NAME: usize = 128;

/// A message without what differs from run to run: offsets go, addresses become `ADDR`, numbers `N`.
pub fn clean(message: &str) -> String {
    let mut out = String::new();
    let mut rest = message.trim();
    while let Some(first) = rest.chars().next() {
        if out.len() >= MAX_TITLE {
            break;
        }
        if let Some(length) = offset(rest) {
            rest = &rest[length..];
        } else if first.is_ascii_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let word = &rest[..end];
            let hex = word.strip_prefix("0x").unwrap_or(word);
            let all_hex = !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit());
            if word.bytes().all(|b| b.is_ascii_digit()) {
                out.push('N');
            } else if all_hex && (hex.len() < word.len() || hex.len() >= 8) {
                out.push_str("ADDR");
            } else {
                out.push_str(word);
            }
            rest = &rest[end..];
        } else {
            // Garbage is not part of a title, and a run of spaces becomes a single one.
            let space = first.is_whitespace();
            if space && !out.ends_with(' ') {
                out.push(' ');
            } else if first.is_ascii_graphic() {
                out.push(first);
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    shorten(out.trim_end(), MAX_TITLE)
}

/// What of a message about a disk or a program is the same in every run: its first words, up to the place, the
/// number or the name that it is about.
pub fn stable(message: &str) -> String {
    let ends = [
        " (", ": -", ": comm ", " comm ", ", want ", " want ", " dev ", " device ", " on ", " from ",
        " for ", " at ", " /dev/", " 0x", " #", "=",
    ];
    // Words that name what is counted, where the number follows.
    let counted = ["ino", "inode", "block", "block:", "sector", "LEB", "PEB", "root", "off", "id", "page"];
    let message = message.trim_start();
    let mut end = ends.iter().filter_map(|end| message.find(end)).filter(|end| *end > 0).min();
    let mut from = 0;
    for word in message.split(' ') {
        let next = message.get(from + word.len() + 1..).unwrap_or_default();
        if from > 0 && counted.contains(&word) && next.starts_with(|c: char| c.is_ascii_digit()) {
            end = Some(end.map_or(from, |end| end.min(from)));
        }
        from += word.len() + 1;
    }
    clean(message[..end.unwrap_or(message.len())].trim_end_matches([' ', '.', ',', ':', '!']))
}

/// At most so many bytes of a text.
pub fn shorten(text: &str, limit: usize) -> String {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// The length of `+0xOFFSET/0xSIZE`, or of its first half.
fn offset(text: &str) -> Option<usize> {
    let hex = |text: &str| text.bytes().take_while(u8::is_ascii_hexdigit).count();
    let digits = hex(text.strip_prefix("+0x")?);
    let first = (digits > 0).then_some(3 + digits)?;
    let size = text[first..].strip_prefix("/0x").map_or(0, hex);
    Some(if size > 0 { first + 3 + size } else { first })
}

/// The source file of `FILE:LINE` in a text, without the folders of the machine that built the kernel.
pub fn source_file(text: &str) -> Option<String> {
    let word = text.split_ascii_whitespace().find(|word| {
        word.split_once(':').is_some_and(|(file, line)| {
            [".c", ".h", ".S", ".rs"].iter().any(|end| file.ends_with(end))
                && line.starts_with(|c: char| c.is_ascii_digit())
        })
    })?;
    let file = word.split(':').next()?;
    let file = match file.strip_prefix('/') {
        Some(path) => {
            let mut last: Vec<&str> = path.rsplit('/').take(2).collect();
            last.reverse();
            last.join("/")
        }
        None => file.trim_start_matches("../").trim_start_matches("./").to_owned(),
    };
    Some(shorten(&file, MAX_NAME))
}

/// The first `function+0xOFFSET/0xSIZE` of a text, without the suffixes of compilers.
pub fn function_in(text: &str) -> Option<String> {
    let mut from = 0;
    while let Some(found) = text[from..].find("+0x") {
        let at = from + found;
        let whole = offset(&text[at..]).is_some_and(|length| text[at..at + length].contains('/'));
        let name = text[..at].rsplit(|c: char| !c.is_ascii_alphanumeric() && !"_.$".contains(c)).next();
        // `.isra.0`, `.constprop.0`, `.cold`, `.llvm.123` change from build to build.
        let name = name.and_then(|name| name.split('.').find(|part| !part.is_empty()));
        if let Some(name) = name.filter(|n| whole && !n.starts_with(|c: char| c.is_ascii_digit())) {
            return Some(shorten(name, MAX_NAME));
        }
        from = at + 3;
    }
    None
}

/// The first `FUNCTION+0xOFFSET` of a text that is of this function, whatever a compiler put behind its name.
pub fn frame(text: &str, function: &str) -> Option<(String, u64)> {
    text.match_indices(function).find_map(|(at, _)| {
        let apart = !text[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || "_.$".contains(c));
        let (name, rest) = text[at..].split_once("+0x")?;
        let suffix = name.strip_prefix(function)?;
        let suffixed = suffix.is_empty() || suffix.starts_with('.');
        let named = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.$".contains(&byte));
        let digits = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        let offset = u64::from_str_radix(&rest[..digits], 16).ok()?;
        (apart && suffixed && named).then(|| (name.to_owned(), offset))
    })
}

/// A line that belongs to a report which another line began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageDetail {
    /// The function at the program counter; `None` where there is no symbol.
    Pc(Option<String>),
    /// The function that the link register points to.
    Lr(String),
    /// The function that holds or wants a lock: `…, at: rtnl_lock+0x17/0x20`.
    Lock(String),
    /// A trace begins.
    Trace,
    /// The stack of an interrupt begins in a trace.
    Interrupt,
    /// It ends: what follows was interrupted.
    Interrupted,
    /// Another CPU is shown.
    Cpu,
    /// Another task is shown.
    Task,
    /// What is shown next is RCU's own thread.
    RcuThread,
    /// A frame of a trace that is not a guess.
    Frame(String),
    /// KASAN: `Read` or `Write`.
    Access(&'static str),
    /// The program that ran.
    Program(String),
}

/// Reads a message as a detail of a report.
pub fn detail(message: &str) -> Option<MessageDetail> {
    let text = message.trim_start();
    for start in ["pc : ", "PC is at ", "RIP: ", "EIP: ", "IP: "] {
        if let Some(rest) = text.strip_prefix(start) {
            // Of user space, there are no names.
            let user = rest.starts_with("0033:") || rest.starts_with("0023:");
            return (!user).then(|| MessageDetail::Pc(function_in(rest).or_else(|| inlined(rest))));
        }
    }
    if let Some(rest) = text.strip_prefix("lr : ").or_else(|| text.strip_prefix("LR is at ")) {
        return function_in(rest).map(MessageDetail::Lr);
    }
    for (start, detail) in STARTS {
        if text.starts_with(start) {
            return Some(detail.clone());
        }
    }
    if let Some((_, place)) = text.rsplit_once(" at: ") {
        return function_in(place).map(MessageDetail::Lock);
    }
    for (start, access) in
        [("Read of size", "Read"), ("Write of size", "Write"), ("Read at", "Read"), ("Write at", "Write")]
    {
        if text.starts_with(start) {
            return Some(MessageDetail::Access(access));
        }
    }
    if let Some((_, rest)) = text.split_once(" Comm: ").filter(|_| text.starts_with("CPU: ")) {
        let end = [" Not tainted", " Tainted: ", " Kdump: "].iter().filter_map(|mark| rest.find(mark)).min();
        return Some(MessageDetail::Program(shorten(rest[..end.unwrap_or(rest.len())].trim_end(), 32)));
    }
    // `[<ffff…>] func+0x1/0x2` before 4.10; a `?` marks a guess.
    let frame =
        text.strip_prefix("[<").and_then(|rest| rest.split_once(">] ")).map_or(text, |(_, frame)| frame);
    // 32-bit ARM: `[<8026c5c4>] (panic) from [<80243d54>] (__warn+0x7c/0x180)`.
    if let Some((name, _)) = frame.strip_prefix('(').and_then(|rest| rest.split_once(") from ")) {
        return Some(MessageDetail::Frame(shorten(name.split('.').next().unwrap_or(name), MAX_NAME)));
    }
    let word = frame.split_ascii_whitespace().next()?;
    let function = if word.contains("+0x") { function_in(word) } else { inlined(frame) };
    function.map(MessageDetail::Frame)
}

/// How the lines begin that stand between the frames.
const STARTS: &[(&str, MessageDetail)] = &[
    ("Call trace:", MessageDetail::Trace),
    ("Call Trace:", MessageDetail::Trace),
    ("Backtrace:", MessageDetail::Trace),
    ("backtrace", MessageDetail::Trace),
    ("<IRQ>", MessageDetail::Interrupt),
    ("<NMI>", MessageDetail::Interrupt),
    ("</IRQ>", MessageDetail::Interrupted),
    ("</NMI>", MessageDetail::Interrupted),
    ("<EOI>", MessageDetail::Interrupted),
    ("Exception stack(", MessageDetail::Interrupted),
    ("NMI backtrace for cpu ", MessageDetail::Cpu),
    ("Task dump for CPU ", MessageDetail::Cpu),
    ("Sending NMI ", MessageDetail::Cpu),
    ("task:", MessageDetail::Task),
    ("rcu: RCU grace-period kthread stack dump:", MessageDetail::RcuThread),
    ("RCU grace-period kthread stack dump:", MessageDetail::RcuThread),
];

/// A frame that a symbolizer added: `func net/core/dev.c:12 [inline]`.
fn inlined(frame: &str) -> Option<String> {
    let frame = frame.trim_end().strip_suffix(" [inline]")?;
    let (function, place) = frame.split_once(' ')?;
    let function = function.rsplit(':').next()?;
    source_file(place)?;
    let named = function.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.$".contains(&b));
    (named && !function.is_empty()).then(|| shorten(function.split('.').next().unwrap_or(function), MAX_NAME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn functions_lose_offsets_and_the_suffixes_of_compilers() {
        for (text, name) in [
            ("pc : dput+0x4c/0x5d0", Some("dput")),
            ("0010:[<ffffffff81a1b2c3>] foo.isra.0.cold+0x2a/0x30 [ext4]", Some("foo")),
            ("at fs/inode.c:331 drop_nlink+0x30/0x40", Some("drop_nlink")),
            ("0xffff0000041a2b08", None),
            ("1+0x2/0x3 f+0x2", None),
            ("+0x1/0x2 g+0x1/0x2", Some("g")),
        ] {
            assert_eq!(function_in(text).as_deref(), name, "{text}");
        }
    }

    #[test]
    fn a_frame_is_that_of_the_function_asked_for() {
        for (text, function, found) in [
            ("pc : dput+0x4c/0x5d0", "dput", Some(("dput", 0x4c))),
            ("lr : __dput+0x8/0x10, dput.part.0+0x14/0x20", "dput", Some(("dput.part.0", 0x14))),
            ("dput of dput_x+0x1/0x2", "dput", None),
            ("f+0xzz", "f", None),
        ] {
            let found = found.map(|(name, offset): (&str, u64)| (name.to_owned(), offset));
            assert_eq!(frame(text, function), found, "{text}");
        }
    }

    #[test]
    fn a_source_file_has_no_folder_of_its_builder() {
        assert_eq!(source_file("mm/slub.c:305!").as_deref(), Some("mm/slub.c"));
        assert_eq!(source_file("./include/linux/mm.h:3").as_deref(), Some("include/linux/mm.h"));
        assert_eq!(
            source_file("at /build/x/linux-6.1/mm/slub.c:305 f+0x1/0x2").as_deref(),
            Some("mm/slub.c")
        );
        assert_eq!(source_file("/slub.c:1").as_deref(), Some("slub.c"));
        assert_eq!(source_file("slub.c: a:1"), None);
    }

    #[test]
    fn a_clean_message_keeps_words_and_loses_values() {
        assert_eq!(
            clean(" bad  magic 0x12, ext4 at ffff000012345678 of 12 "),
            "bad magic ADDR, ext4 at ADDR of N"
        );
        assert_eq!(clean("corrupted in: f+0x1/0x2"), "corrupted in: f");
    }

    proptest! {
        #[test]
        fn no_address_and_no_number_passes(value in any::<u64>(), width in 8usize..16, text in "[ !-/:-~]{0,40}") {
            for value in [format!("{value:0width$x}"), format!("{value:#x}"), value.to_string()] {
                let cleaned = clean(&format!("{text} {value} {text}"));
                prop_assert!(!cleaned.contains(&value), "{}", cleaned);
            }
        }
    }
}
