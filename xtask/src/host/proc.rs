//! Running the host's programs: compilers, apt, patch, qemu-img.
//!
//! Invariants: **every child ends with us**, whatever ends us; in a dry run **nothing is started**,
//! and what is printed can be pasted into a shell.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flipsim::files;
use flipsim::text::shell_quote;
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};

use crate::interrupt::{self, GroupGuard, Interrupted};
use crate::progress::ProgressStep;

/// How many of the last lines an error quotes.
const QUOTED_LINES: usize = 20;

/// Runs programs, or prints what would be run.
#[derive(Debug)]
pub struct CommandRunner {
    dry_run: bool,
    logs: PathBuf,
}

/// Called with each line that a program prints.
pub type OnLine<'a> = &'a mut dyn FnMut(&str);

impl CommandRunner {
    /// Programs' output goes to files in `logs`.
    pub fn new(dry_run: bool, logs: PathBuf) -> CommandRunner {
        CommandRunner { dry_run, logs }
    }

    /// Whether commands are printed and not run.
    pub fn is_dry(&self) -> bool {
        self.dry_run
    }

    /// A step on display, which shows nothing in a dry run.
    pub fn step(&self, make: impl FnOnce() -> ProgressStep) -> ProgressStep {
        if self.dry_run { ProgressStep::silent() } else { make() }
    }

    /// Says what a step that is no program does; only in a dry run.
    pub fn note(&self, text: &str) {
        if self.dry_run {
            outln!("# {text}");
        }
    }

    /// Runs `command` to its end. Its output goes to `log` (a file name) and, line by line, to
    /// `on_line`; on failure the error quotes the last lines.
    pub fn run(&self, what: &str, log: &str, command: Command, on_line: OnLine<'_>) -> Result<()> {
        if self.dry_run {
            outln!("{}", shell_line(&command));
            return Ok(());
        }
        fs::create_dir_all(&self.logs).with_context(|| format!("cannot make {}", self.logs.display()))?;
        run_logged(what, &self.logs.join(log), command, on_line)
    }

    /// Like [`CommandRunner::run`], for programs whose lines are of no interest while all goes well.
    pub fn run_quietly(&self, what: &str, log: &str, command: Command) -> Result<()> {
        self.run(what, log, command, &mut |_| {})
    }

    /// Runs a program that talks to the user: it keeps the terminal, and Ctrl-C reaches it there.
    pub fn run_on_terminal(&self, what: &str, mut command: Command) -> Result<()> {
        if self.dry_run {
            outln!("{}", shell_line(&command));
            return Ok(());
        }
        die_with_parent(&mut command);
        let mut child = spawn(what, &mut command)?;
        let status = wait_passing_on(what, &mut child)?;
        interrupt::check()?;
        if !status.success() {
            bail!("{what} failed ({}): {}", describe(status), shell_line(&command));
        }
        Ok(())
    }
}

/// The output of a short program, which has `limit` to answer. Stderr is quoted in the error.
pub fn output_of(what: &str, mut command: Command, limit: Duration) -> Result<String> {
    let line = shell_line(&command);
    let (out, err, status) = capture(what, &mut command, limit)?;
    if !status.success() {
        let said = String::from_utf8_lossy(&err);
        bail!("{what} failed ({}): {line}\n{}", describe(status), said.trim_end());
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Runs a short program and takes what it prints, whether it succeeds or not.
pub fn capture(what: &str, command: &mut Command, limit: Duration) -> Result<(Vec<u8>, Vec<u8>, ExitStatus)> {
    own_group(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn(what, command)?;
    let guard = GroupGuard::new(pid_of(&child));
    // Both pipes are drained at once: a program that fills one while we read the other would hang.
    let read = |pipe: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                // What was read before an error is still worth quoting.
                let _partial = pipe.read_to_end(&mut bytes);
            }
            bytes
        })
    };
    let out = read(child.stdout.take().map(|p| Box::new(p) as _));
    let err = read(child.stderr.take().map(|p| Box::new(p) as _));
    let (status, in_time) = wait(&mut child, Some(&guard), Some(limit))?;
    if !in_time {
        bail!(
            "{what} did not answer within {} s and was ended: {}",
            limit.as_secs_f32(),
            shell_line(command)
        );
    }
    Ok((out.join().unwrap_or_default(), err.join().unwrap_or_default(), status))
}

/// Variables that change what compilers, make and configure do. What a product's key does not know must
/// not change the product.
const BUILD_VARIABLES: [&str; 16] = [
    "ARCH",
    "CC",
    "CFLAGS",
    "CPPFLAGS",
    "CROSS_COMPILE",
    "CXX",
    "CXXFLAGS",
    "HOSTCC",
    "HOSTCFLAGS",
    "KBUILD_OUTPUT",
    "KCFLAGS",
    "LDFLAGS",
    "LLVM",
    "LOCALVERSION",
    "MAKEFLAGS",
    "PKG_CONFIG_PATH",
];

fn run_logged(what: &str, log_path: &Path, mut command: Command, on_line: OnLine<'_>) -> Result<()> {
    interrupt::check()?;
    let set: Vec<_> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
    for name in BUILD_VARIABLES.iter().filter(|name| !set.iter().any(|own| own == **name)) {
        command.env_remove(name);
    }
    let mut log = files::start_again(log_path)
        .with_context(|| format!("cannot write the log {}", log_path.display()))?;
    writeln!(log, "$ {}", shell_line(&command)).with_context(|| write_failed(log_path))?;

    own_group(&mut command);
    // One pipe for both streams keeps their order.
    let (read_end, write_end) = std::io::pipe().context("cannot make a pipe")?;
    command.stdin(Stdio::null()).stderr(write_end.try_clone().context("cannot make a pipe")?);
    command.stdout(write_end);
    let mut child = spawn(what, &mut command)?;
    let guard = GroupGuard::new(pid_of(&child));
    // The command holds our copies of the pipe's write end; while one is open there is no end of file.
    let line_for_error = shell_line(&command);
    drop(command);

    let (lines, received) = sync_channel::<Vec<u8>>(256);
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(read_end);
        let mut line = Vec::new();
        while matches!(pipe.read_until(b'\n', &mut line), Ok(n) if n > 0) {
            if lines.send(std::mem::take(&mut line)).is_err() {
                break;
            }
        }
    });

    let mut last = VecDeque::with_capacity(QUOTED_LINES);
    let mut exited: Option<(ExitStatus, Instant)> = None;
    loop {
        match received.recv_timeout(Duration::from_millis(50)) {
            Ok(bytes) => {
                log.write_all(&bytes).with_context(|| write_failed(log_path))?;
                let text = String::from_utf8_lossy(&bytes);
                let text = text.trim_end();
                on_line(text);
                if last.len() == QUOTED_LINES {
                    last.pop_front();
                }
                last.push_back(text.to_owned());
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if interrupt::raised() {
            end_group(&mut child, &guard)?;
            return Err(Interrupted.into());
        }
        // Something the program started in the background may keep the pipe open: it has one
        // second after the program's own end.
        if exited.is_none()
            && let Some(status) = child.try_wait().with_context(|| format!("cannot wait for {what}"))?
        {
            exited = Some((status, Instant::now()));
        }
        if exited.is_some_and(|(_, when)| when.elapsed() > Duration::from_secs(1)) {
            break;
        }
    }
    let status = match exited {
        Some((status, _)) => status,
        None => wait(&mut child, Some(&guard), None)?.0,
    };
    if status.success() {
        return Ok(());
    }
    let quoted: Vec<String> = last.into_iter().map(|line| format!("    {line}")).collect();
    let quoted = quoted.join("\n");
    let hint = if quoted.contains("No space left on device") {
        "\nThe disk is full: free some space, or set FLIPSIM_CACHE to a folder on another disk."
    } else {
        ""
    };
    bail!(
        "{what} failed ({}): {line_for_error}\n{quoted}{hint}\nThe whole output is in {}",
        describe(status),
        log_path.display()
    )
}

fn write_failed(path: &Path) -> String {
    format!("cannot write to {}", path.display())
}

fn spawn(what: &str, command: &mut Command) -> Result<Child> {
    interrupt::check()?;
    command.spawn().with_context(|| {
        let program = command.get_program().to_string_lossy().into_owned();
        format!("{what}: cannot start `{program}`; `cargo xtask doctor` says what the host lacks")
    })
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// Waits for the end, for `limit` at most; says whether the program ended by itself. A signal to
/// us, or the limit, ends the group.
fn wait(
    child: &mut Child,
    group: Option<&GroupGuard>,
    limit: Option<Duration>,
) -> Result<(ExitStatus, bool)> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for a child process")? {
            return Ok((status, true));
        }
        if let Some(group) = group {
            if interrupt::raised() {
                end_group(child, group)?;
                return Err(Interrupted.into());
            }
            if limit.is_some_and(|limit| started.elapsed() > limit) {
                return Ok((end_group(child, group)?, false));
            }
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Waits for a program that has this terminal, or ours of no terminal, and is in no group that we end: a signal that
/// reached us alone is passed on to it, and one that does not heed it is killed after ten seconds.
pub fn wait_passing_on(what: &str, child: &mut Child) -> Result<ExitStatus> {
    let mut asked: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait().with_context(|| format!("cannot wait for {what}"))? {
            return Ok(status);
        }
        match asked {
            None if interrupt::raised() => {
                // What ran as another user, as by sudo, cannot be signalled; on a terminal it has heard already.
                let _ = rustix::process::kill_process(pid_of(child), Signal::TERM);
                asked = Some(Instant::now());
            }
            Some(when) if when.elapsed() > Duration::from_secs(10) => {
                let _ = child.kill();
            }
            _ => {}
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ends a group: asked first, because ninja and make then take their own children along, which
/// ninja puts into separate groups; forced after three seconds.
fn end_group(child: &mut Child, group: &GroupGuard) -> Result<ExitStatus> {
    group.signal(Signal::TERM);
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_secs(3) {
        if let Some(status) = child.try_wait().context("cannot wait for a child process")? {
            // The leader is gone; what is left of the group has no reason to live.
            group.signal(Signal::KILL);
            group.wait_until_gone();
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    group.signal(Signal::KILL);
    let status = child.wait().context("cannot wait for a child process")?;
    group.wait_until_gone();
    Ok(status)
}

/// Puts the program into a separate process group, which is ended as a whole, and binds its life
/// to ours.
fn own_group(command: &mut Command) {
    command.process_group(0);
    die_with_parent(command);
}

/// Asks the kernel to end the program when we die without a chance to do it ourselves.
///
/// The signal is SIGTERM and not SIGKILL: make and ninja then end their compilers as well. It is
/// bound to the *thread* that spawns, so programs are started only from threads that stay.
fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    // SAFETY: between fork and exec only system calls are made, no allocation, no lock.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::TERM))?;
            // We may have died before the call took effect.
            if getppid() != Some(parent) {
                return Err(std::io::Error::from(rustix::io::Errno::SRCH));
            }
            Ok(())
        });
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The command as a line for a shell, with its folder and the variables set for it.
pub fn shell_line(command: &Command) -> String {
    let mut words: Vec<String> = Vec::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!("{}={}", name.to_string_lossy(), quote(value)));
        }
    }
    words.push(quote(command.get_program()));
    words.extend(command.get_args().map(quote));
    let line = words.join(" ");
    // xshell names the folder even where it is the one we are in.
    let here = std::env::current_dir().ok();
    match command.get_current_dir() {
        Some(dir) if Some(dir) != here.as_deref() => format!("(cd {} && {line})", quote(dir.as_os_str())),
        _ => line,
    }
}

/// A word for a shell.
pub fn quote(word: impl AsRef<OsStr>) -> String {
    shell_quote(&word.as_ref().to_string_lossy())
}

/// The path of a program in PATH, or the path itself where `name` holds a slash.
pub fn find_program(name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let runnable = |p: &Path| p.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| runnable(path));
    }
    // mke2fs lives in sbin, which is not in every user's PATH.
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(name))
        .find(|path| runnable(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_arrives_line_by_line_and_in_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let runner = CommandRunner::new(false, dir.path().into());
        let mut seen = Vec::new();
        runner.run("echo", "e.log", sh("echo one; echo two >&2"), &mut |l| seen.push(l.to_owned())).unwrap();
        assert_eq!(seen, ["one", "two"]);
        assert!(fs::read_to_string(dir.path().join("e.log")).unwrap().ends_with("one\ntwo\n"));
    }

    #[test]
    fn a_failure_quotes_the_last_lines_and_names_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let runner = CommandRunner::new(false, dir.path().into());
        let error = runner.run_quietly("the build", "b.log", sh("seq 1 50; exit 3")).unwrap_err().to_string();
        assert!(error.starts_with("the build failed (exit code 3)"), "{error}");
        assert!(
            error.contains("    50") && error.contains("    31") && !error.contains("    30\n"),
            "{error}"
        );
        assert!(error.contains("b.log"));
    }

    #[test]
    fn a_full_disk_in_a_build_is_explained() {
        let dir = tempfile::tempdir().unwrap();
        let runner = CommandRunner::new(false, dir.path().into());
        let script = "echo 'cc: error: No space left on device'; exit 1";
        let error = runner.run_quietly("the build", "b.log", sh(script)).unwrap_err().to_string();
        assert!(error.contains("The disk is full"), "{error}");
    }

    #[test]
    fn a_missing_program_points_at_the_doctor() {
        let dir = tempfile::tempdir().unwrap();
        let runner = CommandRunner::new(false, dir.path().into());
        let error = runner.run_quietly("x", "x.log", Command::new("no-such-program")).unwrap_err();
        assert!(format!("{error:#}").contains("cargo xtask doctor"));
    }

    #[test]
    fn a_program_that_does_not_answer_is_ended_with_its_children() {
        let started = Instant::now();
        let error =
            output_of("sleep", sh("sleep 30 & sleep 30; wait"), Duration::from_millis(100)).unwrap_err();
        assert!(error.to_string().contains("did not answer"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn nothing_of_an_ended_group_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids");
        let script =
            format!("for i in 1 2 3; do sh -c 'sleep 33' & echo $! >> {}; done; wait", pids.display());
        output_of("sleep", sh(&script), Duration::from_millis(300)).unwrap_err();
        for pid in fs::read_to_string(pids).unwrap().lines() {
            // A zombie that waits to be reaped by process 1 has no command line any more.
            let left = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            assert!(left.is_empty(), "{pid} is still there");
        }
    }

    #[test]
    fn a_child_left_in_the_background_does_not_hold_us_up() {
        let dir = tempfile::tempdir().unwrap();
        let started = Instant::now();
        CommandRunner::new(false, dir.path().into())
            .run_quietly("x", "x.log", sh("sleep 20 & exit 0"))
            .unwrap();
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_dry_run_starts_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let marker = dir.path().join("marker");
        let mut command = Command::new("touch");
        command.arg(&marker);
        CommandRunner::new(true, dir.path().join("logs")).run_quietly("touch", "t.log", command).unwrap();
        assert!(!marker.exists() && !dir.path().join("logs").exists());
    }

    #[test]
    fn printed_commands_can_be_pasted_into_a_shell() {
        let mut command = Command::new("make");
        command.args(["it's", "a=b c", "", "plain/path"]).env("V", "1 2").current_dir("/tmp/x y");
        assert_eq!(shell_line(&command), "(cd '/tmp/x y' && V='1 2' make \"it's\" 'a=b c' '' plain/path)");
    }

    #[test]
    fn a_shell_reads_a_printed_command_as_it_was_meant() {
        let words = ["-c", "$HOME `id` \\", "!x^y", "~", "{a,b}", "*", "#no", "two\nlines", "é", "'\""];
        let mut command = Command::new("printf");
        command.arg("%s\\n").args(words);
        let out = output_of("sh", sh(&shell_line(&command)), Duration::from_secs(10)).unwrap();
        assert_eq!(out, words.map(|word| format!("{word}\n")).concat());
        assert_eq!(shlex::split(&shell_line(&command)).unwrap()[2..], words);
    }
}
