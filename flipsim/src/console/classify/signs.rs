//! How a line that reports trouble is known: the only table of the kernel's messages.
//!
//! The texts are those of Linux 6.1 (`kernel/panic.c`, `lib/bug.c`, `kernel/watchdog*.c`, `kernel/rcu/tree_stall.h`,
//! `mm/`, `arch/{arm64,x86}/{kernel,mm}`), with older and newer forms where they differ.
//! Invariant: a line is read in one pass, by itself, whatever bytes it was made of.

use std::sync::LazyLock;

use crate::console::classify::kind::Kind;
use crate::console::classify::text::{clean, function_in, source_file};

/// What a line says by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    /// The kind of report that it begins, or belongs to.
    pub kind: Kind,
    /// The title so far.
    pub title: String,
    /// The function, where the line itself names it.
    pub function: Option<String>,
    /// What the lines that follow should add to the title.
    pub wants: Wants,
    /// Whether the line may also be the later half of a report that is already open.
    pub half: bool,
}

/// What a title still lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Nothing: the line has it all.
    Nothing,
    /// The function, from the registers or the trace.
    Function,
    /// Whether it was a read or a write (KASAN).
    Access,
    /// The name of the program.
    Program,
    /// The name of the program that was killed.
    Victim,
}

impl Heading {
    fn new(kind: Kind, title: impl Into<String>, wants: Wants) -> Option<Self> {
        Some(Heading { kind, title: title.into(), function: None, wants, half: false })
    }

    fn with_function(mut self, function: Option<String>) -> Self {
        if function.is_some() {
            self.function = function;
        }
        self
    }
}

/// Where a sign counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Anywhere: nothing else prints this.
    Anywhere,
    /// At the start of a word.
    Word,
    /// At the start of the message, or behind the name of a subsystem: `watchdog: BUG: …`.
    Start,
}

/// A line around a sign.
struct Line<'a> {
    /// What stands before the sign, without the time stamp.
    before: &'a str,
    /// What stands behind the sign.
    rest: &'a str,
    /// Whether the kernel's time stamp came first.
    stamped: bool,
}

struct Sign {
    text: &'static str,
    place: Place,
    read: fn(&Line) -> Option<Heading>,
}

const fn sign(text: &'static str, place: Place, read: fn(&Line) -> Option<Heading>) -> Sign {
    Sign { text, place, read }
}

use Place::{Anywhere, Start, Word};
use Wants::{Access, Function, Nothing, Program, Victim};

/// The table. Of two signs at the same place, the earlier row counts; a row may decline.
static SIGNS: &[Sign] = &[
    sign("Kernel panic - ", Anywhere, panic),
    sign("Attempted to kill init!", Anywhere, |_| Heading::new(Kind::InitDeath, INIT_DEATH, Nothing)),
    sign("Rebooting in ", Word, |line| {
        // Only a panic says so; its own line may have been lost.
        line.rest.contains(" seconds..").then(|| half(Kind::Panic, "Kernel panic"))
    }),
    // Oopses.
    sign("Unable to handle kernel ", Anywhere, |line| fault(line.rest)),
    sign("BUG: unable to handle kernel ", Anywhere, |line| fault(line.rest)),
    sign("BUG: unable to handle page fault", Anywhere, |_| fault("paging request")),
    sign("BUG: kernel NULL pointer dereference", Anywhere, |_| fault("NULL pointer dereference")),
    sign("Internal error: ", Word, |line| died(line.rest)),
    sign("[#", Anywhere, |line| {
        // x86: `general protection fault: 0000 [#1]`.
        let (what, code) = line.before.strip_suffix(' ')?.rsplit_once(": ")?;
        let counted = line.rest.starts_with(|c: char| c.is_ascii_digit());
        (counted && code.len() == 4 && is_hex(code)).then(|| died(what))?
    }),
    sign("PANIC: double fault", Word, |_| Heading::new(Kind::Oops, "double fault", Function)),
    sign("Insufficient stack space to handle exception", Anywhere, |_| stack_overflow()),
    sign("SError Interrupt on CPU", Anywhere, |_| Heading::new(Kind::Serror, "SError Interrupt", Function)),
    sign("Unhandled ", Word, unhandled),
    sign("Bad mode in ", Word, |line| {
        let (what, _) = line.rest.split_once(" detected")?;
        Heading::new(Kind::UnhandledFault, format!("Bad mode in {}", clean(what)), Function)
    }),
    // The kernel's checks of itself.
    sign("kernel BUG at ", Anywhere, |line| bug_at(line.rest)),
    sign("Kernel BUG at ", Anywhere, |line| bug_at(line.rest)),
    sign("BUG: KASAN: ", Anywhere, |line| sanitizer(Kind::Kasan, "KASAN", line.rest, Access)),
    sign("BUG: KFENCE: ", Anywhere, |line| sanitizer(Kind::Kfence, "KFENCE", line.rest, Nothing)),
    sign("UBSAN: ", Word, |line| {
        let (what, _) = line.rest.split_once(" in ")?;
        Heading::new(Kind::Ubsan, format!("UBSAN: {}", clean(what)), Function)
    }),
    sign("BUG: soft lockup", Word, |_| Heading::new(Kind::SoftLockup, "BUG: soft lockup", Function)),
    sign("atchdog detected hard LOCKUP", Anywhere, |_| {
        Heading::new(Kind::HardLockup, "Watchdog detected hard LOCKUP", Function)
    }),
    sign("BUG: Bad ", Word, |line| {
        let what =
            ["page state", "page map", "rss-counter state"].iter().find(|w| line.rest.starts_with(**w))?;
        let wants = if what.starts_with("page") { Function } else { Nothing };
        Heading::new(Kind::BadPageState, format!("BUG: Bad {what}"), wants)
    }),
    sign(": bad p", Anywhere, |line| {
        // `mm/memory.c:427: bad pmd 0000…`, from pmd_ERROR and its like.
        let (level, value) = line.rest.split_once(' ')?;
        let known = ["gd", "4d", "ud", "md", "te"].contains(&level);
        let file = source_file(line.before)?;
        (known && value.starts_with(|c: char| c.is_ascii_hexdigit()))
            .then(|| Heading::new(Kind::BadPageState, format!("bad p{level} in {file}"), Nothing))?
    }),
    sign("BUG: ", Start, bug),
    sign("BUG ", Start, |line| {
        // SLUB: `BUG kmalloc-64 (Not tainted): Redzone overwritten`.
        let (cache, rest) = line.rest.split_once(" (").filter(|(cache, _)| !cache.contains(' '))?;
        let (taint, what) = rest.split_once("): ")?;
        taint
            .to_ascii_lowercase()
            .contains("tainted")
            .then(|| Heading::new(Kind::Bug, format!("BUG {cache}: {}", clean(what)), Function))?
    }),
    sign("WARNING: ", Word, warning),
    sign("INFO: ", Word, info),
    // Memory, devices, file systems.
    sign("invoked oom-killer", Word, |_| Heading::new(Kind::OomKill, "Out of memory", Victim)),
    sign("ut of memory: Kill", Anywhere, |line| {
        let name = line.rest.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(name, _)| name);
        let title =
            name.map_or_else(|| "Out of memory".to_owned(), |name| format!("Out of memory: killed {name}"));
        Some(half(Kind::OomKill, title))
    }),
    sign("[Hardware Error]: ", Anywhere, |line| {
        let machine_check = line.rest.to_ascii_lowercase().contains("machine check");
        Heading::new(
            Kind::HardwareError,
            if machine_check { "Machine check" } else { "Hardware Error" },
            Nothing,
        )
    }),
    sign("EXT4-fs error (device ", Word, |line| {
        let (_, rest) = line.rest.split_once(')')?;
        let function = rest.trim_start_matches([':', ' ']).trim_start_matches("in ").split(':').next()?;
        let heading = Heading::new(Kind::FilesystemError, "EXT4-fs error", Nothing)?;
        Some(heading.with_function(Some(clean(function)).filter(|name| !name.is_empty())))
    }),
    // Programs.
    sign("segfault at ", Word, |line| user(line.before, "segfault")),
    sign("unhandled ", Word, |line| {
        // arm64: `sh[12]: unhandled exception: DABT (lower EL), ESR 0x…, level 0 translation fault in …`.
        let what = match line.rest.strip_prefix("exception: ") {
            Some(rest) => rest.rsplit(", ").next()?.split(" in ").next()?,
            None => line.rest.split(" (").next()?,
        };
        user(line.before, what)
    }),
    sign("traps: ", Word, |line| {
        // x86: `traps: sh[12] general protection fault ip:… sp:… error:0 in busybox[…]`.
        let (program, what) = line.rest.split_once("] ")?;
        let (what, _) = what.split_once(" ip:")?;
        user(&format!("{program}]: "), what.trim_start_matches("trap "))
    }),
    sign("potentially unexpected fatal signal ", Word, |line| {
        let number: String = line.rest.chars().take_while(char::is_ascii_digit).collect();
        Heading::new(Kind::UserFault, format!("fatal signal {number}"), Program)
    }),
    // What a shell, or another program that started one, says of its death by a signal.
    sign("Segmentation fault", Word, |_| Some(half(Kind::UserFault, "Segmentation fault"))),
    sign("Illegal instruction", Word, |_| Some(half(Kind::UserFault, "Illegal instruction"))),
    sign("Bus error", Word, |_| Some(half(Kind::UserFault, "Bus error"))),
    sign("terminated by signal ", Word, |line| {
        let number: String = line.rest.chars().take_while(char::is_ascii_digit).collect();
        Some(half(Kind::UserFault, format!("fatal signal {number}")))
    }),
    // Ends without a panic.
    sign("reboot: Restarting system", Word, |_| Heading::new(Kind::Reboot, "Restarting system", Nothing)),
    sign("reboot: machine restart", Word, |_| Some(half(Kind::Reboot, "Restarting system"))),
    sign("sysrq: Resetting", Word, |_| Heading::new(Kind::Reboot, "sysrq: Resetting", Nothing)),
    sign("reboot: Power down", Word, |_| Heading::new(Kind::PowerOff, "Power down", Nothing)),
    sign("reboot: System halted", Word, |_| Heading::new(Kind::PowerOff, "System halted", Nothing)),
];

const INIT_DEATH: &str = "Kernel panic - not syncing: Attempted to kill init!";

/// The rows by their first byte.
static BY_FIRST_BYTE: LazyLock<Vec<Vec<&'static Sign>>> = LazyLock::new(|| {
    let mut rows: Vec<Vec<&Sign>> = vec![Vec::new(); 256];
    for row in SIGNS {
        rows[usize::from(row.text.as_bytes()[0])].push(row);
    }
    rows
});

/// The first sign in a message, and where it stands. `message` has no time stamp any more.
pub fn find(message: &str, stamped: bool) -> Option<(usize, Heading)> {
    if message.starts_with("Kernel command line: ") || message.starts_with("Command line: ") {
        return None;
    }
    let bytes = message.as_bytes();
    let rows = &*BY_FIRST_BYTE;
    for (at, first) in bytes.iter().enumerate() {
        for row in &rows[usize::from(*first)] {
            let text = row.text.as_bytes();
            if bytes.get(at + 1) != text.get(1) || !bytes[at..].starts_with(text) {
                continue;
            }
            let before = &message[..at];
            let word = !before.ends_with(|c: char| c.is_alphanumeric() || "_-".contains(c));
            let there = match row.place {
                Anywhere => true,
                Word => word,
                Start => {
                    before.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).is_empty()
                        || (before.ends_with(": ") && before.split_ascii_whitespace().count() == 1)
                }
            };
            let line = Line { before, rest: &message[at + text.len()..], stamped };
            if let Some(heading) = there.then(|| (row.read)(&line)).flatten() {
                return Some((at, heading));
            }
        }
    }
    None
}

fn half(kind: Kind, title: impl Into<String>) -> Heading {
    Heading { kind, title: title.into(), function: None, wants: Nothing, half: true }
}

fn panic(line: &Line) -> Option<Heading> {
    // A line that ends before its reason is a panic all the same.
    let reason = line.rest.strip_prefix("not syncing").unwrap_or_default().trim_start_matches(": ");
    if reason.starts_with("Attempted to kill init!") {
        return Heading::new(Kind::InitDeath, INIT_DEATH, Nothing);
    }
    let reason = clean(reason.trim_end().trim_end_matches("]---"));
    let heading = if reason.is_empty() {
        half(Kind::Panic, "Kernel panic")
    } else {
        Heading::new(Kind::Panic, format!("Kernel panic - not syncing: {reason}"), Nothing)?
    };
    // The last line of a panic says it once more.
    Some(Heading { half: heading.half || line.before.contains("---[ end "), ..heading })
}

fn fault(what: &str) -> Option<Heading> {
    let what = what.split(" at ").next().unwrap_or_default();
    Heading::new(Kind::Oops, format!("Unable to handle kernel {}", clean(what)), Function)
}

/// `TEXT: CODE [#COUNT]`, with which both architectures let a task die; where the line was cut, the code
/// may be missing.
fn died(text: &str) -> Option<Heading> {
    let head = text.split(" [#").next().unwrap_or(text);
    let what = head.rsplit_once(": ").filter(|(_, code)| is_hex(code)).map_or(head, |(what, _)| what);
    let what = what.trim_start_matches("Internal error: ");
    // `general protection fault, probably for non-canonical address 0x…: 0000 [#1]`, since 6.10 with `Oops: `.
    let what = what.split(", ").next().unwrap_or(what);
    let short = what.trim_start_matches("Oops: ").trim_start_matches("Oops - ");
    let (kind, title) = match short {
        "BUG" => (Kind::Bug, short.to_owned()),
        "Oops" => (Kind::Oops, short.to_owned()),
        "bad mode" => (Kind::UnhandledFault, "Bad mode".to_owned()),
        _ if short.starts_with("UBSAN") => (Kind::Ubsan, short.to_owned()),
        _ if short.starts_with("KASAN") => (Kind::Kasan, short.to_owned()),
        _ => (Kind::Oops, clean(short)),
    };
    Some(Heading { kind, title, function: None, wants: Function, half: true })
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn stack_overflow() -> Option<Heading> {
    Heading::new(Kind::StackOverflow, "kernel stack overflow", Function)
}

fn unhandled(line: &Line) -> Option<Heading> {
    let what = if let Some(rest) = line.rest.strip_prefix("fault: ") {
        format!("fault: {}", clean(rest.split(" (").next()?))
    } else if let Some((vector, _)) = line.rest.split_once(" exception on CPU") {
        format!("{vector} exception")
    } else if line.rest.starts_with("fault at ") {
        "fault".to_owned()
    } else {
        line.rest.strip_prefix("prefetch abort: ")?;
        "prefetch abort".to_owned()
    };
    Heading::new(Kind::UnhandledFault, format!("Unhandled {what}"), Function)
}

fn bug_at(rest: &str) -> Option<Heading> {
    let heading = match source_file(rest) {
        Some(file) => Heading::new(Kind::Bug, format!("kernel BUG at {file}"), Function)?,
        // Without the table of lines: `Kernel BUG at func+0x1/0x2 [verbose debug info unavailable]`.
        None => Heading::new(Kind::Bug, "kernel BUG", Function)?,
    };
    Some(heading.with_function(function_in(rest)))
}

fn sanitizer(kind: Kind, name: &str, rest: &str, wants: Wants) -> Option<Heading> {
    let (what, place) = rest.split_once(" in ").unwrap_or((rest, ""));
    let what = what.split(" on address").next().unwrap_or(what);
    Some(Heading::new(kind, format!("{name}: {}", clean(what)), wants)?.with_function(function_in(place)))
}

fn bug(line: &Line) -> Option<Heading> {
    let rest = line.rest;
    if rest.contains("stack guard page was hit") {
        return stack_overflow();
    }
    // Behind the first of these there is only the place and the task.
    let end = [": ", ", ", " - ", " at ", " on CPU", " [", " mm:", " ("]
        .iter()
        .filter_map(|mark| rest.find(mark))
        .min()
        .unwrap_or(rest.len());
    Heading::new(Kind::Bug, format!("BUG: {}", clean(&rest[..end])), Function)
}

fn warning(line: &Line) -> Option<Heading> {
    let function = function_in(line.rest);
    let placed = line.rest.starts_with("CPU: ") || (function.is_some() && source_file(line.rest).is_some());
    if placed {
        return Some(Heading::new(Kind::Warning, "WARNING", Function)?.with_function(function));
    }
    // Lockdep's headlines have no place. Programs warn as well, but without a time stamp.
    let headline = line.before.is_empty() && line.stamped;
    let what = headline.then(|| clean(line.rest))?;
    Heading::new(Kind::Warning, format!("WARNING: {what}"), Function)
}

fn info(line: &Line) -> Option<Heading> {
    if line.rest.starts_with("rcu") && line.rest.contains("detected") && line.rest.contains("stall") {
        return Heading::new(Kind::RcuStall, "INFO: rcu detected stall", Function);
    }
    (line.rest.starts_with("task ") && line.rest.contains(" blocked for more than "))
        .then(|| Heading::new(Kind::HungTask, "INFO: task hung", Function))?
}

/// A program's fault; `before` ends with `NAME[PID]: `.
fn user(before: &str, what: &str) -> Option<Heading> {
    let (name, pid) = before.trim_end().strip_suffix("]:")?.rsplit_once('[')?;
    (!pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit())).then_some(())?;
    Heading::new(Kind::UserFault, format!("user fault in {name}: {}", what.trim()), Nothing)
}
