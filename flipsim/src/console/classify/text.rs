//! The texts inside a console's lines: time stamps, function names, and what of a message is stable.
//!
//! Invariant: no address, number or time stamp passes [`clean`].

use crate::console::classify::kind::Kind;

/// The longest title.
const MAX_TITLE: usize = 160;
/// The longest name of a function.
const MAX_NAME: usize = 128;

/// What stands before a kernel message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    /// It has a time stamp.
    pub stamped: bool,
    /// The time stamp is the boot's first moment.
    pub zero: bool,
    /// The task or CPU that speaks (`CONFIG_PRINTK_CALLER`).
    pub caller: Option<(u8, u32)>,
}

/// Splits a line into its prefix and the message: `<4>[    1.234567][   T12] message`.
pub fn split_prefix(line: &str) -> (Prefix, &str) {
    let mut prefix = Prefix::default();
    let mut rest = line;
    if let Some((level, behind)) = line.strip_prefix('<').and_then(|rest| rest.split_once('>'))
        && level.len() <= 3
        && level.bytes().all(|b| b.is_ascii_digit())
    {
        rest = behind;
    }
    let Some(length) = stamp(rest.as_bytes()) else { return (prefix, rest) };
    prefix.stamped = true;
    prefix.zero = rest[..length].ends_with(" 0.000000]");
    rest = &rest[length..];
    if let Some((inside, behind)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let inside = inside.trim_start();
        let who = inside.bytes().next().filter(|b| matches!(b, b'T' | b'C'));
        if let (Some(who), Some(Ok(number))) = (who, inside.get(1..).map(str::parse)) {
            prefix.caller = Some((who, number));
            rest = behind;
        }
    }
    (prefix, rest.strip_prefix(' ').unwrap_or(rest))
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

/// Where a further time stamp begins: another message cut into this line there.
pub fn cut(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    let mut from = 1;
    while let Some(found) = bytes.get(from..)?.iter().position(|b| *b == b'[') {
        let at = from + found;
        if stamp(&bytes[at..]).is_some() && !bytes[..at].ends_with(b">") {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

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

/// A line that belongs to a report which another line began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageDetail {
    /// The function at the program counter; `None` where there is no symbol.
    Pc(Option<String>),
    /// The function that the link register points to.
    Lr(String),
    /// A trace begins.
    Trace,
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
    for start in ["pc : ", "PC is at ", "RIP: ", "EIP: "] {
        if let Some(rest) = text.strip_prefix(start) {
            // Of user space, there are no names.
            let user = rest.starts_with("0033:") || rest.starts_with("0023:");
            return (!user).then(|| MessageDetail::Pc(function_in(rest)));
        }
    }
    if let Some(rest) = text.strip_prefix("lr : ").or_else(|| text.strip_prefix("LR is at ")) {
        return function_in(rest).map(MessageDetail::Lr);
    }
    if text.starts_with("Call trace:") || text.starts_with("Call Trace:") {
        return Some(MessageDetail::Trace);
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
    let word = frame.split_ascii_whitespace().next()?;
    (word.contains("+0x")).then(|| function_in(word)).flatten().map(MessageDetail::Frame)
}

/// Whether a function says nothing about where the trouble is, in a report of this kind.
pub fn is_boring(function: &str, kind: Kind, is_pc: bool) -> bool {
    // The program counter says where a fault struck, even in a function that otherwise only reports.
    let struck = matches!(kind, Kind::Oops | Kind::UnhandledFault | Kind::Serror | Kind::StackOverflow);
    let starts = |list: &[&str]| list.iter().any(|start| function.starts_with(start));
    starts(HELPERS) || (!(struck && is_pc) && (starts(MACHINERY) || EXACTLY.contains(&function)))
}

/// What is called from everywhere: the caller is of interest. Beginnings of names.
const HELPERS: &[&str] = &[
    "__arch_copy_",
    "__memcpy",
    "__memset",
    "__memmove",
    "__pi_",
    "_raw_",
    "clear_page",
    "copy_page",
    "memcmp",
    "memcpy",
    "memmove",
    "memset",
    "native_queued_spin",
    "queued_spin",
    "queued_read",
    "queued_write",
    "strcmp",
    "strlen",
    "strncpy",
    "strnlen",
    "do_raw_",
];

/// What takes part in reporting, in waiting, and in getting into the kernel. Beginnings of names.
const MACHINERY: &[&str] = &[
    "__alloc_pages",
    "__asan_",
    "__check_",
    "__die",
    "__down_",
    "__dump_stack",
    "__hrtimer_run",
    "__irq_",
    "__kasan_",
    "__list_",
    "__might_",
    "__mutex_",
    "__panic",
    "__rcu_",
    "__report_",
    "__schedule",
    "__show_",
    "__switch_to",
    "__sysvec_",
    "__ubsan_",
    "__wait_",
    "__warn",
    "apic_timer_",
    "arch_cpu_idle",
    "arch_timer_handler",
    "arm64_serror",
    "asm_",
    "bad_page",
    "bit_wait",
    "check_",
    "debug_",
    "default_idle",
    "die_",
    "do_idle",
    "do_interrupt_handler",
    "do_mem_abort",
    "do_page_fault",
    "do_serror",
    "do_sp_pc",
    "do_syscall",
    "do_translation_fault",
    "do_undef",
    "down_",
    "dump_",
    "el0_",
    "el0t_",
    "el1_",
    "el1h_",
    "el1t_",
    "entry_",
    "exc_",
    "fortify_",
    "free_page_is_bad",
    "generic_handle_",
    "gic_",
    "handle_bug",
    "handle_percpu_",
    "hrtimer_",
    "invoke_syscall",
    "io_schedule",
    "irq_",
    "kasan_",
    "kfence_",
    "lockdep_",
    "mutex_lock",
    "native_safe_halt",
    "nmi_",
    "oom_",
    "oops_",
    "out_of_memory",
    "panic",
    "preempt_schedule",
    "print_",
    "rcu_",
    "refcount_",
    "report_",
    "ret_from_",
    "rwsem_",
    "schedule",
    "show_",
    "softlockup_",
    "stack_trace_",
    "sysvec_",
    "tick_",
    "trigger_",
    "ubsan_",
    "update_process_times",
    "usercopy_",
    "wait_for_completion",
    "wait_on_",
    "warn_",
    "watchdog_",
];

/// The same, as whole names.
const EXACTLY: &[&str] = &[
    "brk_handler",
    "bug_handler",
    "call_break_hook",
    "call_on_irq_stack",
    "cpu_do_idle",
    "cpu_startup_entry",
    "die",
    "kthread",
    "primary_entry",
    "process_one_work",
    "secondary_start_kernel",
    "worker_thread",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_prefix_is_read_with_level_stamp_and_caller_or_without() {
        let stamped = Prefix { stamped: true, ..Prefix::default() };
        assert_eq!(split_prefix("[    1.234567] x"), (stamped, "x"));
        assert_eq!(split_prefix("<4>[12345.234567]  x"), (stamped, " x"));
        assert_eq!(
            split_prefix("[    0.000000][   T12] x"),
            (Prefix { zero: true, caller: Some((b'T', 12)), ..stamped }, "x")
        );
        for line in ["[    1.2345] x", "[1.234567 x", "[ abc ]", "[", "", "<4", "[ 99999999999.000000] x"] {
            assert_eq!(split_prefix(line), (Prefix::default(), line));
        }
        assert_eq!(cut("user [te[    1.234567] x"), Some(8));
        assert_eq!(cut("[    1.234567] x [1.2]"), None);
        assert_eq!(cut("<3>[    1.234567] x"), None);
    }

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
