//! What says that a program died: the kernel, a shell, the C library, the loader, a run time, an audit record, and
//! the program that started it.
//!
//! Invariant: **a word that means a death only when it stands alone counts only there**; drivers and programs use
//! the same words in sentences.

use crate::console::classify::kind::Kind;
use crate::console::classify::signs::heading::Place::{Anywhere, Start, Word};
use crate::console::classify::signs::heading::Voice::{Any, Program};
use crate::console::classify::signs::heading::Wants::{self, Nothing};
use crate::console::classify::signs::heading::{Heading, Line, Sign, number, sign};
use crate::console::classify::text::{clean, stable};

/// The rows.
pub static SIGNS: &[Sign] = &[
    // The kernel's.
    sign("segfault at ", Word, Any, |line| user(line.before, "segfault")),
    sign("unhandled ", Word, Any, |line| {
        // arm64: `sh[12]: unhandled exception: DABT (lower EL), ESR 0x…, level 0 translation fault in …`.
        let what = match line.rest.strip_prefix("exception: ") {
            Some(rest) => rest.rsplit(", ").next()?.split(" in ").next()?,
            None => line.rest.split(" (").next()?,
        };
        user(line.before, what)
    }),
    sign("traps: ", Word, Any, |line| {
        // x86: `traps: sh[12] general protection fault ip:… sp:… error:0 in busybox[…]`.
        let (program, what) = line.rest.split_once("] ")?;
        let (what, _) = what.split_once(" ip:")?;
        user(&format!("{program}]: "), what.trim_start_matches("trap "))
    }),
    sign("potentially unexpected fatal signal ", Word, Any, |line| {
        Heading::new(Kind::UserFault, format!("fatal signal {}", number(line.rest)), Wants::Program)
    }),
    sign("bad frame in ", Word, Any, |line| {
        // `app[412]: bad frame in rt_sigreturn: …`
        let (program, _) = line.before.split_once('[')?;
        line.rest.contains("sigreturn").then(|| dead(program, "bad signal frame"))?
    }),
    sign("unhandled signal ", Word, Any, |line| user(line.before, &format!("signal {}", number(line.rest)))),
    // Audit records: ANOM_ABEND and SECCOMP.
    sign("type=1701 audit(", Anywhere, Any, |line| audit(line.rest)),
    sign("type=1326 audit(", Anywhere, Any, |line| audit(line.rest)),
    sign("type=SECCOMP ", Anywhere, Any, |line| audit(line.rest)),
    sign("type=ANOM_ABEND ", Anywhere, Any, |line| audit(line.rest)),
    // systemd's, of its services.
    sign("rocess exited, code=", Anywhere, Program, |line| {
        let (code, status) = line.rest.split_once(", status=")?;
        let harmless = ["15/TERM", "1/HUP", "2/INT", "13/PIPE", "0/SUCCESS"];
        let ended = status.split([' ', ',']).next().unwrap_or_default();
        (code != "exited" && !harmless.contains(&ended)).then(|| service(line.before, ended))?
    }),
    sign(": Failed with result '", Anywhere, Program, |line| {
        service(line.before, line.rest.split('\'').next().unwrap_or_default())
    }),
    sign(" dumped core", Anywhere, Program, |line| {
        // `Process 412 (app) of user 0 dumped core.`
        let (_, rest) = line.before.split_once("Process ")?;
        let (name, _) = rest.split_once('(')?.1.split_once(')')?;
        dead(name, "core dumped")
    }),
    sign(" terminated abnormally with signal ", Anywhere, Program, |line| {
        let (name, _) = line.before.split_once('(')?.1.split_once(')')?;
        dead(name, &format!("signal {}", number(line.rest)))
    }),
    sign("Watchdog timeout (limit ", Word, Program, |line| service(line.before, "watchdog")),
    sign("Unit entered failed state", Word, Program, |line| service(line.before, "failed")),
    sign("has been killed by the OOM killer", Word, Program, |_| {
        Heading::half(Kind::OomKill, "Out of memory")
    }),
    sign("respawning too fast", Word, Program, |_| words("a service is respawning too fast")),
    // Process 1 that stops, so that nothing is left to go on.
    sign("Caught <", Start, Program, |line| {
        let signal = line.rest.split('>').next()?;
        Heading::half(Kind::InitDeath, format!("init caught {}", clean(signal.trim_start_matches("SIG"))))
    }),
    sign("Freezing execution.", Start, Program, |_| Heading::half(Kind::InitDeath, "init froze")),
    sign("INIT: PANIC: ", Start, Program, |_| Heading::half(Kind::InitDeath, "init caught SEGV")),
    // A shell's, and those of other programs that start some.
    sign("Segmentation fault", Word, Program, |line| alone(line, "Segmentation fault")),
    sign("Illegal instruction", Word, Program, |line| alone(line, "Illegal instruction")),
    sign("Bus error", Word, Program, |line| alone(line, "Bus error")),
    sign("Aborted", Word, Program, |line| alone(line, "Aborted")),
    sign("Abort", Word, Program, |line| alone(line, "Aborted")),
    sign("Floating point exception", Word, Program, |line| alone(line, "Floating point exception")),
    sign("Trace/breakpoint trap", Word, Program, |line| alone(line, "Trace/breakpoint trap")),
    sign("Bad system call", Word, Program, |line| alone(line, "Bad system call")),
    sign("Killed", Word, Program, |line| alone(line, "Killed")),
    sign("Terminated", Word, Program, |line| alone(line, "Terminated")),
    sign("Quit", Word, Program, |line| alone(line, "Quit")),
    sign("Hangup", Word, Program, |line| alone(line, "Hangup")),
    sign("Stack fault", Word, Program, |line| alone(line, "Stack fault")),
    sign("Stack limit exceeded", Word, Program, |line| alone(line, "Stack limit exceeded")),
    sign("CPU time limit exceeded", Word, Program, |line| alone(line, "CPU time limit exceeded")),
    sign("File size limit exceeded", Word, Program, |line| alone(line, "File size limit exceeded")),
    sign("Alarm clock", Word, Program, |line| alone(line, "Alarm clock")),
    sign("Virtual timer expired", Word, Program, |line| alone(line, "Virtual timer expired")),
    sign("Profiling timer expired", Word, Program, |line| alone(line, "Profiling timer expired")),
    sign("User defined signal ", Word, Program, |line| alone(line, "User defined signal")),
    sign("Real-time signal ", Word, Program, |line| alone(line, "Real-time signal")),
    sign("EMT trap", Word, Program, |line| alone(line, "EMT trap")),
    sign("Power failure", Word, Program, |line| alone(line, "Power failure")),
    sign("segmentation fault", Word, Program, |line| zsh(line, "Segmentation fault")),
    sign("illegal hardware instruction", Word, Program, |line| zsh(line, "Illegal instruction")),
    sign("bus error", Word, Program, |line| zsh(line, "Bus error")),
    sign("abort", Word, Program, |line| zsh(line, "Aborted")),
    sign("floating point exception", Word, Program, |line| zsh(line, "Floating point exception")),
    sign("trace trap", Word, Program, |line| zsh(line, "Trace/breakpoint trap")),
    sign("invalid system call", Word, Program, |line| zsh(line, "Bad system call")),
    sign("killed", Word, Program, |line| zsh(line, "Killed")),
    sign("terminated by signal ", Word, Program, |line| {
        let name = line.rest.split([' ', ',', '.']).next().unwrap_or_default();
        let known = !number(name).is_empty() || name.starts_with("SIG");
        known.then(|| Heading::half(Kind::UserFault, format!("fatal signal {name}")))?
    }),
    sign("SIGSEGV", Word, Program, |line| handler(line, "SIGSEGV")),
    sign("SIGBUS", Word, Program, |line| handler(line, "SIGBUS")),
    sign("SIGILL", Word, Program, |line| handler(line, "SIGILL")),
    sign("SIGFPE", Word, Program, |line| handler(line, "SIGFPE")),
    sign("SIGABRT", Word, Program, |line| handler(line, "SIGABRT")),
    sign("aught signal ", Anywhere, Program, |line| signal(line.rest)),
    sign("eceived signal ", Anywhere, Program, |line| signal(line.rest)),
    sign("illed by signal ", Anywhere, Program, |line| signal(line.rest)),
    sign("xited on signal ", Anywhere, Program, |line| signal(line.rest)),
    sign("uncaught target signal ", Word, Program, |line| signal(line.rest)),
    sign("the monitored command dumped core", Word, Program, |_| {
        Heading::half(Kind::UserFault, "core dumped")
    }),
    sign("core dumped)", Anywhere, Program, |_| Heading::half(Kind::UserFault, "core dumped")),
    // The C library's and the loader's.
    sign("*** stack smashing detected ***", Word, Any, |_| words("stack smashing detected")),
    sign("*** buffer overflow detected ***", Word, Any, |_| words("buffer overflow detected")),
    sign("*** bit out of range ", Word, Any, |_| words("buffer overflow detected")),
    sign("*** %n in writable segment", Word, Any, |_| words("%n in writable segment")),
    sign("*** longjmp causes uninitialized stack frame ***", Word, Any, |_| {
        words("longjmp causes uninitialized stack frame")
    }),
    sign("*** invalid %N$ use detected ***", Word, Any, |_| words("invalid %N$ use detected")),
    sign("*** glibc detected ***", Word, Any, |line| words(stable(line.rest.rsplit(": ").nth(1)?))),
    sign("double free or corruption", Word, Any, |_| words("double free or corruption")),
    sign("corrupted size vs. prev_size", Word, Any, |_| words("corrupted size vs. prev_size")),
    sign("corrupted double-linked list", Word, Any, |_| words("corrupted double-linked list")),
    sign("break adjusted to free malloc space", Word, Any, |_| words("break adjusted to free malloc space")),
    sign("invalid fastbin entry (free)", Word, Any, |_| words("invalid fastbin entry")),
    sign("free(): ", Word, Any, |line| allocator("free()", line)),
    sign("malloc(): ", Word, Any, |line| allocator("malloc()", line)),
    sign("malloc_consolidate(): ", Word, Any, |line| allocator("malloc_consolidate()", line)),
    sign("munmap_chunk(): ", Word, Any, |line| allocator("munmap_chunk()", line)),
    sign("mremap_chunk(): ", Word, Any, |line| allocator("mremap_chunk()", line)),
    sign("realloc(): ", Word, Any, |line| allocator("realloc()", line)),
    sign("calloc(): ", Word, Any, |line| allocator("calloc()", line)),
    sign("Fatal glibc error: ", Word, Any, |line| words(format!("Fatal glibc error: {}", stable(line.rest)))),
    sign("tcache_thread_shutdown(): ", Word, Any, |line| allocator("tcache_thread_shutdown()", line)),
    sign("The futex facility returned an unexpected error code", Word, Any, |_| {
        words("futex: unexpected error")
    }),
    sign("' failed.", Anywhere, Program, |line| {
        // `app: main.c:12: main: Assertion `x > 0' failed.`
        let (place, _) = line.before.rsplit_once(": Assertion `")?;
        Heading::new(
            Kind::UserFault,
            format!("assertion failed in {}", clean(place.split(':').next()?)),
            Nothing,
        )
    }),
    sign("Inconsistency detected by ld.so: ", Word, Any, |_| words("Inconsistency detected by ld.so")),
    sign("error while loading shared libraries: ", Word, Any, |_| {
        words("error while loading shared libraries")
    }),
    sign("not found (required by ", Word, Any, |_| words("a version of a library is not found")),
    sign("symbol lookup error: ", Word, Any, |_| words("symbol lookup error")),
    sign("relocation error: ", Word, Any, |_| words("relocation error")),
    sign("Error relocating ", Word, Any, |_| words("relocation error")),
    sign("Error loading shared library ", Word, Any, |_| words("error while loading shared libraries")),
    sign("cannot execute binary file", Word, Program, |_| words("cannot execute binary file")),
    sign("Exec format error", Word, Program, |_| words("cannot execute binary file")),
    // Run times'.
    sign("terminate called after throwing ", Word, Any, |_| words("uncaught C++ exception")),
    sign("terminate called without an active exception", Word, Any, |_| words("uncaught C++ exception")),
    sign("terminate called recursively", Word, Any, |_| words("uncaught C++ exception")),
    sign("pure virtual method called", Word, Any, |_| words("pure virtual method called")),
    sign("thread '", Word, Program, |line| {
        let (name, what) = line.rest.split_once('\'')?;
        let said = what.contains(" panicked at ") || what.contains(" has overflowed its stack");
        said.then(|| words(format!("Rust: thread '{}' panicked", clean(name))))?
    }),
    sign("fatal runtime error: ", Start, Program, |line| words(format!("Rust: {}", stable(line.rest)))),
    sign("panic: runtime error: ", Start, Program, |line| words(format!("Go: {}", stable(line.rest)))),
    sign("fatal error: ", Start, Program, |line| {
        let known = [
            "out of memory",
            "all goroutines",
            "unexpected signal",
            "stack overflow",
            "concurrent map",
            "fault",
        ];
        known
            .iter()
            .any(|words| line.rest.starts_with(words))
            .then(|| words(format!("Go: {}", stable(line.rest))))?
    }),
    sign("goroutine ", Start, Program, |line| {
        line.rest.ends_with("]:").then(|| Heading::half(Kind::UserFault, "Go: a panic"))?
    }),
    sign("runtime stack:", Start, Program, |_| Heading::half(Kind::UserFault, "Go: a panic")),
    sign("[signal SIG", Start, Program, |_| words("Go: a fatal signal")),
    sign("SIGSEGV: segmentation violation", Word, Program, |_| words("Go: a fatal signal")),
    sign("Fatal Python error: ", Word, Program, |line| words(format!("Python: {}", stable(line.rest)))),
    sign("Traceback (most recent call last)", Start, Program, |_| words("Python: uncaught exception")),
    sign("A fatal error has been detected by the Java Runtime", Word, Program, |_| {
        words("Java: a fatal error")
    }),
    sign("ERROR: AddressSanitizer: ", Word, Program, |line| {
        words(format!("AddressSanitizer: {}", clean(line.rest.split(' ').next()?)))
    }),
    sign("AddressSanitizer:DEADLYSIGNAL", Word, Program, |_| words("AddressSanitizer: DEADLYSIGNAL")),
    sign("WARNING: ThreadSanitizer: ", Word, Program, |line| {
        words(format!("ThreadSanitizer: {}", stable(line.rest)))
    }),
];

fn words(title: impl Into<String>) -> Option<Heading> {
    Heading::new(Kind::UserFault, title, Nothing)
}

fn allocator(function: &str, line: &Line) -> Option<Heading> {
    let what = line.rest.trim_end();
    let known = [
        "invalid",
        "corrupt",
        "double",
        "mismatch",
        "unaligned",
        "unsorted",
        "smallbin",
        "largebin",
        "too many",
    ];
    known.iter().any(|word| what.contains(word)).then(|| words(format!("{function}: {}", stable(what))))?
}

fn dead(name: &str, what: &str) -> Option<Heading> {
    Heading::new(Kind::UserFault, format!("user fault in {}: {}", clean(name), what.trim()), Nothing)
}

/// A program's fault; `before` ends with `NAME[PID]: `.
fn user(before: &str, what: &str) -> Option<Heading> {
    let (name, pid) = before.trim_end().strip_suffix("]:")?.rsplit_once('[')?;
    (!pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit())).then_some(())?;
    // A name may have spaces, and dates end with a colon.
    Heading::new(Kind::UserFault, format!("user fault in {name}: {}", what.trim()), Nothing)
}

fn service(before: &str, what: &str) -> Option<Heading> {
    let unit = before.split(": ").find(|part| part.ends_with(".service")).unwrap_or(before);
    let unit = unit.split(' ').next().unwrap_or(unit).trim_end_matches([':', ' ']);
    Heading::new(Kind::UserFault, format!("user fault in {}: {}", clean(unit), what.trim_end()), Nothing)
}

fn audit(record: &str) -> Option<Heading> {
    let field = |name: &str| {
        let rest = &record[record.find(name)? + name.len()..];
        rest.split([' ', '"']).find(|part| !part.is_empty())
    };
    dead(field(" comm=").unwrap_or("a program"), &format!("signal {}", field(" sig=")?))
}

/// A shell's word for a signal: alone in the line, behind `NAME: line N: PID `, `[1]+ ` or `NAME: `, before
/// ` (core dumped)` or two spaces and the command.
fn alone(line: &Line, title: &str) -> Option<Heading> {
    let before = line.before.trim_end();
    let numbered = before.rsplit(' ').next().is_some_and(|word| !word.is_empty() && number(word) == word);
    let job = before.starts_with('[') && before.trim_end_matches(['+', '-', ' ']).ends_with(']');
    let bash = numbered && (before.contains(": line ") || before.trim() == number(before.trim()));
    let make = before.contains("*** [") && before.ends_with(']');
    let ksh = numbered && before.contains("]: ");
    let rest = line.rest.trim_start_matches(|c: char| c.is_ascii_digit()).trim_end();
    let dumped = rest.trim_start().starts_with("(core dumped)") || rest == "(coredump)";
    let command = (rest.starts_with("  ") && job) || (rest.starts_with(' ') && bash);
    let last = rest.is_empty() || dumped || command || (rest.trim_start().starts_with('(') && bash);
    let first = before.is_empty() || bash || job || make || ksh;
    (first && last).then(|| Heading::half(Kind::UserFault, title))?
}

/// A program's own handler: `app: caught SIGSEGV at 0x8`.
fn handler(line: &Line, name: &str) -> Option<Heading> {
    let said = line.before.trim_end_matches([' ', '<', '(']).to_ascii_lowercase();
    let verbs = ["caught", "received", "got", "killed by", "died of", "crashed with", "fatal signal"];
    let last = line.rest.trim_end().is_empty() && said.ends_with(':');
    let verb = verbs.iter().any(|verb| said.ends_with(verb));
    (last || verb).then(|| Heading::half(Kind::UserFault, format!("fatal signal {name}")))?
}

/// The number of a signal by which programs die of a fault.
fn signal(rest: &str) -> Option<Heading> {
    let signal = number(rest);
    ["4", "5", "6", "7", "8", "9", "11", "31"]
        .contains(&signal)
        .then(|| Heading::half(Kind::UserFault, format!("fatal signal {signal}")))?
}

/// zsh's words: `zsh: segmentation fault (core dumped)  ./app`.
fn zsh(line: &Line, title: &str) -> Option<Heading> {
    let shell =
        line.before.trim_end().rsplit(' ').all(|word| word.starts_with("zsh:") || number(word) == word);
    let shell = shell && line.before.starts_with("zsh:");
    let end = line.rest.is_empty() || line.rest.starts_with("  ") || line.rest.starts_with(" (core dumped)");
    (shell && end).then(|| Heading::half(Kind::UserFault, title))?
}
