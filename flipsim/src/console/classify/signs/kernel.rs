//! The kernel's own reports: panics, oopses, its checks, watchdogs and complaints.
//!
//! The texts are those of Linux 6.1 (`kernel/`, `lib/`, `mm/`, `arch/{arm64,x86}/{kernel,mm}`), with older and newer
//! forms where they differ. Invariant: **a headline that a notice could have counts only with a trace behind it.**

use crate::console::classify::kind::Kind;
use crate::console::classify::signs::heading::Place::{Anywhere, Start, Word};
use crate::console::classify::signs::heading::Voice::{Any, Kernel};
use crate::console::classify::signs::heading::Wants::{self, Access, Function, Nothing, Victim};
use crate::console::classify::signs::heading::{Heading, Line, Sign, is_hex, number, sign};
use crate::console::classify::text::{clean, function_in, source_file};

/// The rows.
pub static SIGNS: &[Sign] = &[
    sign("Kernel panic - ", Anywhere, Kernel, panic),
    sign("Attempted to kill init!", Anywhere, Kernel, |_| Heading::new(Kind::InitDeath, INIT_DEATH, Nothing)),
    sign("Rebooting in ", Word, Kernel, |line| {
        // Only a panic says so; its own line may have been lost.
        line.rest.contains(" seconds..").then(|| Heading::half(Kind::Panic, "Kernel panic"))?
    }),
    // Oopses.
    sign("Unable to handle kernel ", Anywhere, Kernel, |line| fault(line.rest)),
    sign("BUG: unable to handle kernel ", Anywhere, Kernel, |line| fault(line.rest)),
    sign("BUG: unable to handle page fault", Anywhere, Kernel, |_| fault("paging request")),
    sign("BUG: Unable to handle kernel ", Anywhere, Kernel, |line| fault(line.rest)),
    sign("BUG: Kernel NULL pointer dereference", Anywhere, Kernel, |_| fault("NULL pointer dereference")),
    sign("BUG: kernel NULL pointer dereference", Anywhere, Kernel, |_| fault("NULL pointer dereference")),
    sign("Internal error: ", Word, Kernel, |line| died(line.rest)),
    sign("[#", Anywhere, Kernel, |line| {
        // x86: `general protection fault: 0000 [#1]`.
        let (what, code) = line.before.strip_suffix(' ')?.rsplit_once(": ")?;
        let counted = line.rest.starts_with(|c: char| c.is_ascii_digit());
        (counted && code.len() == 4 && is_hex(code)).then(|| died(what))?
    }),
    sign("PANIC: double fault", Word, Kernel, |_| Heading::new(Kind::Oops, "double fault", Function)),
    sign("Insufficient stack space to handle exception", Anywhere, Kernel, |_| stack_overflow()),
    sign("Thread overran stack, or stack corrupted", Word, Kernel, |_| {
        Heading::alone(Kind::StackOverflow, "kernel stack overflow")
    }),
    sign("Fixing recursive fault but reboot is needed", Word, Kernel, |_| {
        Heading::alone(Kind::Oops, "recursive fault")
    }),
    sign(" exited with irqs disabled", Anywhere, Kernel, |line| exited(line, "irqs disabled")),
    sign(" exited with preempt_count ", Anywhere, Kernel, |line| exited(line, "preempt_count")),
    sign("SError Interrupt on CPU", Anywhere, Kernel, |_| {
        Heading::new(Kind::Serror, "SError Interrupt", Function)
    }),
    sign("Unhandled ", Word, Kernel, unhandled),
    sign("Alignment trap: ", Word, Kernel, |_| {
        Heading::new(Kind::UnhandledFault, "Alignment trap", Function)
    }),
    sign("Bad mode in ", Word, Kernel, |line| {
        let (what, _) = line.rest.split_once(" detected")?;
        Heading::new(Kind::UnhandledFault, format!("Bad mode in {}", clean(what)), Function)
    }),
    sign("Corrupted page table at address ", Word, Kernel, |_| {
        Heading::new(Kind::BadPageState, "Corrupted page table", Function)
    }),
    // The kernel's checks of itself.
    sign("kernel BUG at ", Anywhere, Kernel, |line| bug_at(line.rest)),
    sign("Kernel BUG at ", Anywhere, Kernel, |line| bug_at(line.rest)),
    sign("BUG: KASAN: ", Anywhere, Kernel, |line| {
        let wants = if line.rest.contains("invalid-free") || line.rest.contains("double-free") {
            Function
        } else {
            Access
        };
        sanitizer(Kind::Kasan, "KASAN", line.rest, wants)
    }),
    sign("BUG: KFENCE: ", Anywhere, Kernel, |line| {
        let heading = sanitizer(Kind::Kfence, "KFENCE", line.rest, Function)?;
        Some(Heading { frames_follow: true, ..heading })
    }),
    sign("BUG: KMSAN: ", Anywhere, Kernel, |line| {
        let heading = sanitizer(Kind::Bug, "KMSAN", line.rest, Function)?;
        Some(Heading { frames_follow: true, ..heading })
    }),
    sign("BUG: KCSAN: ", Anywhere, Kernel, |line| {
        let (what, place) = line.rest.split_once(" in ")?;
        let places: Vec<String> = place.split(" / ").map(name).collect();
        let heading = Heading::new(Kind::Bug, format!("KCSAN: {}", clean(what)), Nothing)?;
        Some(heading.with_function(Some(places.join(" / "))))
    }),
    sign("UBSAN: ", Word, Kernel, |line| {
        let (what, _) = line.rest.split_once(" in ")?;
        Heading::new(Kind::Ubsan, format!("UBSAN: {}", clean(what)), Function)
    }),
    sign("BUG: soft lockup", Word, Kernel, |_| Heading::new(Kind::SoftLockup, "BUG: soft lockup", Function)),
    sign("atchdog detected hard LOCKUP", Anywhere, Kernel, |_| {
        Heading::new(Kind::HardLockup, "Watchdog detected hard LOCKUP", Function)
    }),
    sign("BUG: Bad ", Word, Kernel, |line| {
        let known = ["page state", "page map", "page cache", "rss-counter state"];
        let what = known.iter().find(|what| line.rest.starts_with(**what))?;
        if line.rest.contains("messages suppressed") {
            return Heading::alone(Kind::BadPageState, format!("BUG: Bad {what}"));
        }
        let wants = if what.starts_with("page") { Function } else { Nothing };
        Heading::new(Kind::BadPageState, format!("BUG: Bad {what}"), wants)
    }),
    sign("BUG: non-zero pgtables_bytes", Word, Kernel, |_| {
        pages("BUG: non-zero pgtables_bytes on freeing mm")
    }),
    sign("BUG: non-zero nr_", Word, Kernel, |line| {
        pages(format!("BUG: non-zero nr_{} on freeing mm", clean(line.rest.split(' ').next()?)))
    }),
    sign(": bad p", Anywhere, Kernel, |line| {
        // `mm/memory.c:427: bad pmd 0000…`, from pmd_ERROR and its like.
        let (level, value) = line.rest.split_once(' ')?;
        let known = ["gd", "4d", "ud", "md", "te"].contains(&level);
        let file = source_file(line.before)?;
        (known && value.starts_with(|c: char| c.is_ascii_hexdigit()))
            .then(|| pages(format!("bad p{level} in {file}")))?
    }),
    sign(": Bad swap ", Anywhere, Kernel, |line| {
        // `swap_free: Bad swap file entry 28…`, `get_swap_device: Bad swap offset entry …`
        let what: Vec<&str> = line.rest.split(' ').take(2).collect();
        pages(format!("Bad swap {}", clean(&what.join(" "))))
    }),
    sign(": Unused swap ", Anywhere, Kernel, |line| {
        let what: Vec<&str> = line.rest.split(' ').take(2).collect();
        pages(format!("Unused swap {}", clean(&what.join(" "))))
    }),
    sign("pagealloc: memory corruption", Start, Kernel, |_| pages("pagealloc: memory corruption")),
    sign("pagealloc: single bit error", Start, Kernel, |_| pages("pagealloc: single bit error")),
    sign("BUG: Dentry ", Word, Kernel, |_| Heading::new(Kind::Bug, "BUG: Dentry still in use", Nothing)),
    sign("BUG: ", Start, Kernel, bug),
    sign("BUG ", Start, Kernel, |line| {
        // SLUB: `BUG kmalloc-64 (Not tainted): Redzone overwritten`.
        let (cache, rest) = line.rest.split_once(" (").filter(|(cache, _)| !cache.contains(' '))?;
        let (taint, what) = rest.split_once("): ")?;
        taint
            .to_ascii_lowercase()
            .contains("tainted")
            .then(|| Heading::new(Kind::Bug, format!("BUG {cache}: {}", clean(what)), Function))?
    }),
    sign("Slab corruption", Start, Kernel, |_| Heading::new(Kind::Bug, "Slab corruption", Function)),
    sign("Slab cache still has objects", Word, Kernel, |_| {
        Heading::new(Kind::Bug, "Slab cache still has objects", Function)
    }),
    sign("slab error in ", Start, Kernel, |_| Heading::new(Kind::Bug, "slab error", Function)),
    sign("WARNING: ", Word, Kernel, warning),
    sign("INFO: ", Word, Kernel, info),
    sign("rcu: ", Start, Kernel, |line| {
        let starved =
            line.rest.contains(" kthread starved for ") || line.rest.contains(" kthread timer wakeup didn't");
        starved.then(|| Heading::alone(Kind::RcuStall, "rcu kthread starved"))?
    }),
    // What is said right before a `WARNING` or a `kernel BUG`, or alone where these are switched off.
    sign("list_add corruption", Word, Kernel, |_| announced(Kind::Bug, "list_add corruption")),
    sign("list_add double add", Word, Kernel, |_| announced(Kind::Bug, "list_add double add")),
    sign("list_del corruption", Word, Kernel, |_| announced(Kind::Bug, "list_del corruption")),
    sign("refcount_t: ", Word, Kernel, |line| {
        let what = line.rest.trim_end().trim_end_matches('.');
        announced(Kind::Warning, &format!("refcount_t: {}", clean(what)))
    }),
    sign("ODEBUG: ", Word, Kernel, |line| {
        // Behind the first words there is only the object; what the option itself prints has none.
        let (what, _) = line.rest.split_once(" (active state")?;
        announced(Kind::Warning, &format!("ODEBUG: {}", clean(what)))
    }),
    sign("Ignoring spurious kernel translation fault", Word, Kernel, |_| {
        announced(Kind::Warning, "spurious kernel translation fault")
    }),
    sign("NETDEV WATCHDOG: ", Start, Kernel, |_| {
        announced(Kind::Warning, "NETDEV WATCHDOG: transmit queue timed out")
    }),
    sign("usercopy: Kernel memory ", Start, Kernel, |line| {
        let what = line.rest.split(" attempt").next()?;
        announced(Kind::Bug, &format!("usercopy: Kernel memory {}", clean(what)))
    }),
    // Complaints: damage that the kernel goes on with.
    sign("unchecked MSR access error: ", Word, Kernel, |line| {
        let what = line.rest.split([' ', ':']).next()?;
        let heading = complaint(format!("unchecked MSR access error: {}", clean(what)), Function)?;
        Some(heading.with_function(function_in(line.rest)))
    }),
    sign("MSR access error: ", Start, Kernel, |line| {
        let what = line.rest.split([' ', ':']).next()?;
        let heading = complaint(format!("MSR access error: {}", clean(what)), Function)?;
        Some(heading.with_function(function_in(line.rest)))
    }),
    sign(": nobody cared", Anywhere, Kernel, |_| complaint("irq: nobody cared", Function)),
    sign("Disabling IRQ #", Word, Kernel, |_| Heading::alone(Kind::Warning, "irq: nobody cared")),
    sign("irq event ", Start, Kernel, |line| {
        line.rest
            .contains("bogus return value")
            .then(|| complaint("irq event: bogus return value", Function))?
    }),
    sign("No irq handler for vector", Word, Kernel, |_| complaint("No irq handler for vector", Nothing)),
    sign("Spurious interrupt (vector ", Start, Kernel, |_| complaint("Spurious interrupt", Nothing)),
    sign("unexpected IRQ trap at vector ", Word, Kernel, |_| complaint("unexpected IRQ trap", Nothing)),
    sign("Unexpected interrupt ", Start, Kernel, |_| complaint("Unexpected interrupt", Nothing)),
    sign("bad: scheduling from the idle thread", Word, Kernel, |_| {
        complaint("bad: scheduling from the idle thread", Function)
    }),
    sign(": page allocation failure", Anywhere, Kernel, |_| complaint("page allocation failure", Function)),
    sign("page allocation stalls for ", Word, Kernel, |_| complaint("page allocation stalls", Function)),
    sign("Unable to allocate memory on node ", Word, Kernel, |_| {
        complaint("SLUB: unable to allocate memory", Nothing)
    }),
    sign(": vmalloc error: ", Anywhere, Kernel, |_| complaint("vmalloc error", Function)),
    sign("vmap allocation for size ", Word, Kernel, |_| complaint("vmap allocation failed", Function)),
    sign("vmap allocation failed", Word, Kernel, |_| complaint("vmap allocation failed", Function)),
    sign("percpu: allocation failed", Word, Kernel, |_| complaint("percpu: allocation failed", Function)),
    sign("allocation failed, reason: ", Word, Kernel, |_| complaint("allocation failed", Function)),
    sign("kobject ", Start, Kernel, kobject),
    sign("kobject: ", Start, Kernel, kobject),
    sign("kobject_add_internal failed for ", Word, Kernel, |_| {
        complaint("kobject_add_internal failed", Function)
    }),
    sign("cannot create duplicate filename ", Word, Kernel, |_| {
        complaint("sysfs: cannot create duplicate filename", Function)
    }),
    sign("does not have a release() function, it is broken", Word, Kernel, |_| {
        complaint("a device has no release() function", Function)
    }),
    sign("unregister_netdevice: waiting for ", Word, Kernel, |_| {
        complaint("unregister_netdevice: waiting for a device to become free", Nothing)
    }),
    sign(" new suspected memory leaks", Anywhere, Kernel, |line| {
        line.before
            .starts_with("kmemleak: ")
            .then(|| complaint("kmemleak: suspected memory leaks", Nothing))?
    }),
    sign("hw csum failure", Word, Kernel, |_| complaint("hw csum failure", Function)),
    sign("Initramfs unpacking failed: ", Word, Kernel, |line| {
        complaint(format!("Initramfs unpacking failed: {}", clean(line.rest)), Nothing)
    }),
    sign("Destroying alive neighbour ", Word, Kernel, |_| complaint("Destroying alive neighbour", Function)),
    sign("schedule_timeout: wrong timeout value", Word, Kernel, |_| {
        complaint("schedule_timeout: wrong timeout value", Function)
    }),
    sign("low stack detected by irq handler", Word, Kernel, |_| {
        Heading::new(Kind::StackOverflow, "low stack detected by irq handler", Function)
    }),
    sign("csd: ", Start, Kernel, |line| {
        line.rest
            .contains("non-responsive CSD lock")
            .then(|| complaint("non-responsive CSD lock", Function))?
    }),
    sign("Sleeping in atomic context", Word, Kernel, |_| complaint("Sleeping in atomic context", Function)),
    sign("capable() called with invalid cap=", Word, Kernel, |_| {
        complaint("capable() called with invalid cap", Function)
    }),
    sign("RCU used illegally from extended quiescent state", Word, Kernel, |_| {
        Heading::alone(Kind::Warning, "WARNING: suspicious RCU usage")
    }),
    sign("sysfs: ", Start, Kernel, |line| {
        line.rest.contains("buffer overflow").then(|| complaint("sysfs: buffer overflow", Function))?
    }),
    sign("invoked oom-killer", Word, Kernel, |_| Heading::new(Kind::OomKill, "Out of memory", Victim)),
    sign("ut of memory: Kill", Anywhere, Kernel, |line| {
        let name = line.rest.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(name, _)| name);
        let title =
            name.map_or_else(|| "Out of memory".to_owned(), |name| format!("Out of memory: killed {name}"));
        Heading::half(Kind::OomKill, title)
    }),
    sign("rust_kernel: panicked at ", Word, Any, |_| {
        Heading::new(Kind::Bug, "rust_kernel: panicked", Function)
    }),
];

const INIT_DEATH: &str = "Kernel panic - not syncing: Attempted to kill init!";

fn complaint(title: impl Into<String>, wants: Wants) -> Option<Heading> {
    Heading::new(Kind::Warning, title, wants)
}

fn pages(title: impl Into<String>) -> Option<Heading> {
    Heading::new(Kind::BadPageState, title, Nothing)
}

fn announced(kind: Kind, title: &str) -> Option<Heading> {
    Some(Heading { announces: true, ..Heading::new(kind, title, Function)? })
}

fn exited(line: &Line, with: &str) -> Option<Heading> {
    line.before
        .starts_with("note: ")
        .then(|| Heading::alone(Kind::Oops, format!("a task exited with {with}")))?
}

/// A function's name with or without its offset.
fn name(place: &str) -> String {
    let place = place.trim();
    function_in(place).unwrap_or_else(|| clean(place.split(' ').next().unwrap_or(place)))
}

fn kobject(line: &Line) -> Option<Heading> {
    let said = [
        "tried to init an initialized object",
        "tried to add an uninitialized object",
        "is not initialized, yet kobject_get",
        "is not initialized, yet kobject_put",
        "does not have a release() function",
        "attempted to be registered with empty name",
        "invalid access during add",
    ];
    let what = said.iter().find(|what| line.rest.contains(**what))?;
    complaint(format!("kobject: {what}"), Function)
}

fn panic(line: &Line) -> Option<Heading> {
    // A line that ends before its reason is a panic all the same.
    let reason = line.rest.strip_prefix("not syncing").unwrap_or_default().trim_start_matches(": ");
    if reason.starts_with("Attempted to kill init!") {
        return Heading::new(Kind::InitDeath, INIT_DEATH, Nothing);
    }
    let reason = clean(reason.trim_end().trim_end_matches("]---"));
    let heading = if reason.is_empty() {
        Heading::half(Kind::Panic, "Kernel panic")?
    } else {
        Heading::new(Kind::Panic, format!("Kernel panic - not syncing: {reason}"), Nothing)?
    };
    // The last line of a panic says it once more.
    Some(Heading { half: heading.half || line.before.contains("---[ end "), ..heading })
}

fn fault(what: &str) -> Option<Heading> {
    let at = what.find(" at ").unwrap_or(what.len());
    let (what, place) = what.split_at(at);
    let heading = Heading::new(Kind::Oops, format!("Unable to handle kernel {}", clean(what)), Function)?;
    // Some kernels name the place in the line: `… at ffff…0008 in dput+0x10/0x20`.
    Some(heading.with_function(function_in(place)))
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
    Some(Heading { half: true, ..Heading::new(kind, title, Function)? })
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

fn sanitizer(kind: Kind, tool: &str, rest: &str, wants: Wants) -> Option<Heading> {
    let (what, place) = rest.split_once(" in ").unwrap_or((rest, ""));
    let what = what.split(" on address").next().unwrap_or(what);
    Some(Heading::new(kind, format!("{tool}: {}", clean(what)), wants)?.with_function(function_in(place)))
}

/// Words behind `BUG: ` that only the kernel has; others need a trace.
const BUGS: &[&str] = &[
    "assuming atomic context",
    "assuming non migratable context",
    "bad unlock balance",
    "held lock freed",
    "Invalid wait context",
    "key ",
    "lock held when returning to user space",
    "looking up invalid subclass",
    "memory leak",
    "mempool element poison mismatch",
    "rwlock ",
    "scheduling in a non-blocking section",
    "scheduling while atomic",
    "sleeping function called from invalid context",
    "spinlock ",
    "still has locks held",
    "using ",
    "workqueue leaked",
    "workqueue lockup",
];

fn bug(line: &Line) -> Option<Heading> {
    let rest = line.rest;
    if rest.contains("stack guard page was hit") {
        return stack_overflow();
    }
    if rest.contains("still has locks held") {
        return Heading::new(Kind::Bug, "BUG: still has locks held", Function);
    }
    // Behind the first of these there is only the place and the task.
    let end = [": ", ", ", " - ", " at ", " on CPU", " [", " mm:", " (", " detected!"]
        .iter()
        .filter_map(|mark| rest.find(mark))
        .min()
        .unwrap_or(rest.len());
    let sure = BUGS.iter().any(|words| rest.starts_with(words));
    let heading = Heading::new(Kind::Bug, format!("BUG: {}", headline(&rest[..end])), Function)?;
    let frames_follow = ["memory leak", "bad unlock balance"].iter().any(|words| rest.starts_with(words));
    Some(Heading { if_traced: !sure, frames_follow, ..heading })
}

/// Lockdep's and RCU's headlines, which every version gives another first word; each with its title.
const HEADLINES: &[(&str, &str)] = &[
    ("possible circular locking dependency", "possible circular locking dependency detected"),
    ("possible recursive locking", "possible recursive locking detected"),
    ("possible irq lock inversion dependency", "possible irq lock inversion dependency detected"),
    ("-unsafe lock order detected", "unsafe lock order detected"),
    ("inconsistent lock state", "inconsistent lock state"),
    ("inconsistent {", "inconsistent lock state"),
    ("suspicious RCU usage", "suspicious RCU usage"),
    ("suspicious rcu_dereference_check() usage", "suspicious RCU usage"),
    ("bad unlock balance", "bad unlock balance detected"),
    ("bad contention", "bad contention detected"),
    ("held lock freed", "held lock freed"),
    ("lock held when returning to user space", "lock held when returning to user space"),
    ("still has locks held", "still has locks held"),
    ("Nested lock was not taken", "Nested lock was not taken"),
    ("Invalid wait context", "Invalid wait context"),
    ("chain_key collision", "chain_key collision"),
];

/// The unwinder's and others' headlines, which have no trace.
const LONE: &[(&str, &str)] = &[
    ("kernel stack regs at ", "kernel stack regs has a bad value"),
    ("kernel stack frame pointer at ", "kernel stack frame pointer has a bad value"),
    ("stack recursion on stack type ", "stack recursion"),
    ("can't access registers at ", "can't access registers"),
    ("can't dereference registers at ", "can't dereference registers"),
    ("stack going in the wrong direction", "stack going in the wrong direction"),
    ("unrecognized unwind stack type", "unrecognized unwind stack type"),
    ("Corrupt .orc_unwind table", "Corrupt .orc_unwind table"),
    ("bad lookup ", "bad lookup in .orc_unwind"),
];

fn known_headline(text: &str) -> Option<(&'static str, Wants)> {
    let lone = LONE.iter().find(|(words, _)| text.starts_with(words)).map(|(_, title)| (*title, Nothing));
    let headline =
        || HEADLINES.iter().find(|(words, _)| text.contains(words)).map(|(_, title)| (*title, Function));
    lone.or_else(headline)
}

/// Lockdep lists the locks with the functions that took them, then the chains, then the trace.
fn lock_report(title: &str, wants: Wants) -> Option<Heading> {
    let heading = Heading::new(Kind::Warning, format!("WARNING: {title}"), wants)?;
    Some(Heading { frames_follow: title.contains("lock"), ..heading })
}

/// A headline without the frame that some kernels draw around it.
fn headline(text: &str) -> String {
    clean(text.trim_end().trim_end_matches([']', '!', ' ', '.']))
}

fn warning(line: &Line) -> Option<Heading> {
    let function = function_in(line.rest);
    let placed = line.rest.starts_with("CPU: ")
        || ((function.is_some() || line.rest.contains("CPU#")) && source_file(line.rest).is_some());
    if placed {
        return Some(Heading::new(Kind::Warning, "WARNING", Function)?.with_function(function));
    }
    if !line.before.trim_matches(['[', ' ']).is_empty() {
        return None;
    }
    if let Some((title, wants)) = known_headline(line.rest) {
        return lock_report(title, wants);
    }
    let heading = Heading::new(Kind::Warning, format!("WARNING: {}", headline(line.rest)), Function)?;
    Some(Heading { if_traced: true, ..heading })
}

fn info(line: &Line) -> Option<Heading> {
    let rest = line.rest;
    if rest.starts_with("rcu") && rest.contains("detected") && rest.contains("stall") {
        return Heading::new(Kind::RcuStall, "INFO: rcu detected stall", Function);
    }
    if rest.starts_with("task ") && !rest.contains(" is blocked on ") {
        let hung =
            [" blocked for more than ", " blocked in I/O wait for more than ", " can't die for more than "];
        // The name of a task that was hit may have anything in it, the end of the line included.
        let sure = hung.iter().any(|words| rest.contains(words));
        let heading = Heading::new(Kind::HungTask, "INFO: task hung", Function)?;
        return Some(Heading { if_traced: !sure, ..heading });
    }
    if rest.starts_with("trying to register non-static key") {
        return complaint("INFO: trying to register non-static key", Function);
    }
    if let Some((title, wants)) = known_headline(rest) {
        return lock_report(title, wants);
    }
    // SLUB's lines about an object: `INFO: Freed in f age=1 cpu=0 pid=1`, `INFO: Slab 0x… objects=…`.
    let slub = (rest.starts_with("Freed in ") || rest.starts_with("Allocated in ")) && rest.contains(" age=");
    let slub = slub || (rest.starts_with("Slab 0x") && rest.contains("objects="));
    (slub && number(rest).is_empty()).then(|| Heading::alone(Kind::Bug, "SLUB: a damaged object"))?
}
