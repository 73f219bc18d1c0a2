//! What a service prints without any fault, in three boots that begin at different times.
//!
//! Invariant: **an output that depends on when a guest was booted is no golden output**: a fault that delays the
//! service would look like one that corrupted it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flipsim::arch::Arch;
use flipsim::console::{Done, Marker, flipsim_marker};
use flipsim::files;
use flipsim::machine::boot::{BOOT_STEP, step};
use flipsim::machine::spec::CONSOLE_LOG;
use flipsim::target::{SILENCE, Silence, Target};
use flipsim::text::{shown, visible};
use flipsim::trial::clone::{CloneOptions, Folder};
use flipsim::trial::template::{Booted, MakeOptions, TemplateError, boot};
use flipsim::units::{VirtualNs, format_duration};

use crate::exit::{Code, exit_error};
use crate::guest::errors::boot_error;
use crate::guest::plan::GuestArgs;
use crate::guest::spec::GuestSpec;
use crate::guest::template::clones_dir;
use crate::interrupt::{self, Interrupted};
use crate::progress::ProgressStep;

/// What the kernel's command line says in each of the boots: the service begins at another time, and the kernel
/// draws other random numbers, because they depend on that line.
const BOOTS: [&str; 3] = ["", "flipsim.delay=0.31 flipsim.boot=2", "flipsim.delay=1.07 flipsim.boot=3"];

/// How long a run may take on the host's clock.
const LIMIT: Duration = Duration::from_secs(300);

/// What a service prints, and how long it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Golden {
    /// The first 16 hex digits of the SHA-256 of its standard output.
    pub digest: String,
    /// All that it printed.
    pub lines: Vec<String>,
    /// How long it took, on the guest's clock.
    pub took: VirtualNs,
}

/// Boots the image of a service three times, and lets it run.
pub fn measure(name: &str, arch: Arch, image: &Path) -> Result<Golden> {
    let mut first: Option<Golden> = None;
    for (number, append) in BOOTS.iter().enumerate() {
        let what = format!("{name} for {arch}: boot {} of {}, and run", number + 1, BOOTS.len());
        let progress = ProgressStep::spinner(what);
        let spec = GuestSpec {
            arch: Some(arch),
            workload: Some(name.to_owned()),
            image: Some(image.to_owned()),
            append: (*append).to_owned(),
            ..GuestSpec::default()
        };
        let golden = run(name, GuestArgs { spec, ..GuestArgs::default() }, &progress)?;
        progress.done_with(&format!("digest {}", golden.digest));
        match &first {
            None => first = Some(golden),
            Some(first) => {
                if let Some(text) = difference(first, &golden) {
                    bail!(exit_error(
                        Code::Usage,
                        format!("{name} prints something else each time: {text}{CAUSES}")
                    ));
                }
            }
        }
    }
    first.context("there is no boot")
}

const CAUSES: &str = "\nusually it prints a time or a duration, a process's number, an address, or a random number, or reads \
                      /proc or /dev/urandom; leave that out of its standard output, so that only a fault can change it";

fn run(name: &str, args: GuestArgs, progress: &ProgressStep) -> Result<Golden> {
    let plan = args.template_plan()?;
    let place = CloneOptions { name: "golden".to_owned(), ..CloneOptions::below(&clones_dir()?) };
    let folder = Folder::make(&place)?;
    let options = MakeOptions { patience: args.spec.patience(LIMIT), interrupted: interrupt::raised };
    let mut booted = boot(&plan, folder.path(), options, |line| progress.line(line)).map_err(boot_failed)?;
    let console = folder.path().join(CONSOLE_LOG);
    let began = booted.target.virtual_time()?;
    let said = follow(&mut booted, &console, progress)?;
    let ended = booted.target.virtual_time()?;
    let took = ended.zip(began).map_or(0, |(ended, began)| ended.0.saturating_sub(began.0));
    golden_of(name, &said, VirtualNs(took))
}

fn boot_failed(error: TemplateError) -> anyhow::Error {
    match error {
        error if error.is_interrupted() => Interrupted.into(),
        TemplateError::Boot(error) => boot_error(error),
        other => other.into(),
    }
}

/// Lets the guest run until it says DONE; all that it said.
fn follow(booted: &mut Booted, console: &Path, progress: &ProgressStep) -> Result<String> {
    let end = Instant::now() + LIMIT;
    let (mut silence, mut length) = (Silence::default(), 0);
    loop {
        let bytes =
            files::read_plain(console).with_context(|| format!("cannot read {}", console.display()))?;
        let said = String::from_utf8_lossy(&bytes).into_owned();
        if said.len() != length {
            length = said.len();
            silence.broken();
        }
        let last = said.lines().last().unwrap_or_default();
        progress.line(last);
        let whole = said.rfind('\n').map_or("", |at| &said[..at]);
        if whole.lines().any(|line| matches!(flipsim_marker(line), Some(Marker::Done(_)))) {
            return Ok(said);
        }
        interrupt::check()?;
        let clock = step(&mut booted.target, BOOT_STEP).map_err(boot_error)?;
        let idled = clock.and_then(|clock| silence.at(&clock)).filter(|idled| *idled >= SILENCE);
        if idled.is_some() || Instant::now() > end {
            let why = match idled {
                Some(idled) => format!("idles, and has said nothing for {idled} of its time"),
                None => format!("was not done after {}", format_duration(LIMIT)),
            };
            bail!(exit_error(
                Code::Usage,
                format!(
                    "it {why}; its last line is `{}`. A service runs to its end, reads nothing, and needs no network",
                    shown(last, 200)
                )
            ));
        }
    }
}

/// Whether the kernel printed a line.
fn is_the_kernel_s(line: &str) -> bool {
    let stamp = line.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    stamp.is_some_and(|(stamp, _)| stamp.contains('.') && stamp.trim_start().parse::<f64>().is_ok())
}

/// What the console says of the run between READY and DONE.
fn golden_of(name: &str, console: &str, took: VirtualNs) -> Result<Golden> {
    let mut lines = Vec::new();
    let mut checks = Vec::new();
    let mut done: Option<Done> = None;
    let mut is_ready = false;
    for line in console.lines() {
        match flipsim_marker(line) {
            Some(Marker::Ready(_)) if !is_ready => is_ready = true,
            Some(Marker::Check(text)) if is_ready => checks.push(text),
            Some(Marker::Done(end)) if is_ready => {
                done = Some(end);
                break;
            }
            _ if is_ready && !is_the_kernel_s(line) => lines.push(line.trim_end_matches('\r').to_owned()),
            _ => {}
        }
    }
    let done = done.context("the guest did not say how the service ended")?;
    let own = lines.iter().find(|line| line.contains("FLIPSIM "));
    if done.workload != name || done.digest.is_empty() || own.is_some() {
        let line = own.map_or("FLIPSIM DONE", String::as_str);
        bail!(exit_error(
            Code::Usage,
            format!(
                "{name} prints `{}`, in the words of the lab's init; print something else",
                shown(line, 100)
            )
        ));
    }
    if done.status != "ok" {
        let how = |text: &String| text.split_once(' ').map_or(text.as_str(), |(_, how)| how).to_owned();
        let how: Vec<String> = checks.iter().map(how).collect();
        let last: Vec<String> =
            lines.iter().rev().take(5).rev().map(|line| format!("\n  | {}", shown(line, 200))).collect();
        bail!(exit_error(
            Code::Usage,
            format!(
                "{name} {} without any fault; it must end with status 0 (with `|| true` at the end of --run any other \
                 is right as well). It printed:{}",
                how.join(", "),
                if last.is_empty() { " nothing".to_owned() } else { last.concat() }
            )
        ));
    }
    if lines.iter().all(|line| line.trim().is_empty()) {
        bail!(exit_error(
            Code::Usage,
            format!(
                "{name} prints nothing, so that no wrong result could be seen; print what depends on all that it \
                 computes"
            )
        ));
    }
    Ok(Golden { digest: done.digest, lines, took })
}

/// Where two outputs differ first.
fn difference(first: &Golden, other: &Golden) -> Option<String> {
    let line = |golden: &Golden, at: usize| {
        golden.lines.get(at).map_or("nothing".to_owned(), |line| format!("`{}`", visible(&shown(line, 120))))
    };
    let length = first.lines.len().max(other.lines.len());
    let at = (0..length).find(|at| first.lines.get(*at) != other.lines.get(*at));
    match at {
        Some(at) => {
            Some(format!("line {} is {}, and in another boot {}", at + 1, line(first, at), line(other, at)))
        }
        None if first.digest != other.digest => Some("bytes that are no text differ".to_owned()),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "[    0.1] Booting\nFLIPSIM READY workload=mine\n[    0.412345] random: crng init done\r\n\
                           [1] one\r\ntwo\r\nFLIPSIM DONE workload=mine digest=0123456789abcdef status=ok\n# ";

    fn golden(console: &str) -> Result<Golden> {
        golden_of("mine", console, VirtualNs(7))
    }

    fn refusal(console: &str) -> String {
        let error = golden(console).unwrap_err();
        assert_eq!(crate::exit::code_of(&error), 2, "{error}");
        error.to_string()
    }

    #[test]
    fn the_output_is_what_is_said_between_ready_and_done_but_for_the_kernel() {
        let golden = golden(CONSOLE).unwrap();
        assert_eq!(golden.lines, ["[1] one", "two"]);
        assert_eq!(golden.digest, "0123456789abcdef");
    }

    #[test]
    fn the_first_difference_of_two_boots_is_said() {
        let (first, other) = (golden(CONSOLE).unwrap(), golden(&CONSOLE.replace("two", "2")).unwrap());
        assert_eq!(difference(&first, &first), None);
        assert_eq!(difference(&first, &other).unwrap(), "line 2 is `two`, and in another boot `2`");
        let shorter = golden(&CONSOLE.replace("two\r\n", "")).unwrap();
        assert_eq!(difference(&first, &shorter).unwrap(), "line 2 is `two`, and in another boot nothing");
        let bytes = golden(&CONSOLE.replace("cdef", "0000")).unwrap();
        assert!(difference(&first, &bytes).unwrap().contains("no text"));
    }

    #[test]
    fn a_service_that_fails_says_nothing_or_speaks_as_init_does_is_refused() {
        let died = CONSOLE
            .replace("FLIPSIM DONE", "FLIPSIM CHECK workload=mine died of signal 11\nFLIPSIM DONE")
            .replace("status=ok", "status=error signal=11");
        let text = refusal(&died);
        assert!(text.starts_with("mine died of signal 11 without any fault; it must"), "{text}");
        assert!(text.ends_with("It printed:\n  | [1] one\n  | two"), "{text}");
        assert!(refusal(&CONSOLE.replace("[1] one\r\ntwo\r\n", "\n")).contains("prints nothing"));
        assert!(
            refusal(&CONSOLE.replace("two", "FLIPSIM ROUND 1")).contains("in the words of the lab's init")
        );
        assert!(
            refusal(&CONSOLE.replace("DONE workload=mine", "DONE workload=other")).contains("FLIPSIM DONE")
        );
        assert!(refusal(&CONSOLE.replace("two", "FLIPSIM DONE workload=mine")).contains("FLIPSIM DONE"));
        assert!(golden("FLIPSIM READY workload=mine\n").is_err());
    }
}
