//! `cargo xtask boot`: starts a guest, lists guests, stops them.
//!
//! Invariant: every QEMU has a living parent of ours. A guest for a person is a child of this
//! command; a headless one is a child of its watcher (`guest-watch`), which itself hangs on this
//! command until the guest is ready.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flipsim::arch::Arch;
use flipsim::live::LiveTarget;
use flipsim::machine::boot::{
    BOOT_REST, BootError, LONG_BOOT_REST, Ready, rest, step as step_boot, wait_ready,
};
use flipsim::machine::console::ConsoleTail;
use flipsim::machine::process;
use flipsim::machine::pvpanic;
use flipsim::machine::run::{FORMAT, ProcessId, RunDir, RunError, RunRecord, Starting};
use flipsim::machine::signals::Signals;
use flipsim::machine::spec::{
    CONSOLE_LOG, CONSOLE_SOCKET, Clock, Console, Disk, DiskWrites, GDB_SOCKET, GdbPort, HMP_SOCKET,
    MachineSpec, QMP_SOCKET, kernel_command_line,
};
use flipsim::machine::watch::{RELEASE, WatchEnd, watch};
use flipsim::memory::MemoryMap;
use flipsim::net::{Endpoint, Timeouts};
use flipsim::qmp::QmpClient;
use flipsim::record::Timing;
use flipsim::target::Target;
use flipsim::template::{BaseImage, TemplatePlan};
use flipsim::units::{VirtualNs, format_duration, format_size, parse_duration, parse_size};

use crate::exit::{Code, ExitWith, exit_error};
use crate::guest::spec::GuestSpec;
use crate::host::proc;
use crate::interrupt;
use crate::interrupt::Interrupted;
use crate::lab::capabilities::{FIXED, STOP_AT};
use crate::lab::config::Config;
use crate::lab::in_use::Lab;
use crate::paths;

/// Boot a guest: console, monitor, gdb stub and a shared folder.
///
/// Without more, the guest's console is on this terminal; Ctrl-A X ends the guest, Ctrl-A C switches
/// to QEMU's monitor and back. With --headless the command returns as soon as the guest is ready.
#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  cargo xtask boot                                 a shell in the guest, on this terminal
  cargo xtask boot --headless --workload sha256    for scripts: returns when the guest is ready
  cargo xtask boot --debug                         waits for gdb: target remote :1234
  cargo xtask boot --share ~/exchange              the folder is host0 (9p) in the guest
  cargo xtask boot --monitor /tmp/qemu_socket --gdb tcp:1234
  cargo xtask boot --kernel vmlinuz --initrd initrd.img --image debian.img --memory 512M
  cargo xtask boot list
  cargo xtask boot stop g1"
)]
pub struct Args {
    #[command(subcommand)]
    sub: Option<Sub>,
    #[command(flatten)]
    guest: GuestArgs,
    /// Return when the guest is ready, and leave it running
    #[arg(long)]
    headless: bool,
    /// How long a headless guest may take until it is ready
    #[arg(long, default_value = "120s", value_parser = parse_duration, value_name = "TIME")]
    timeout: Duration,
    /// Return as soon as QEMU answers: for a guest that never prints FLIPSIM READY (with --headless)
    #[arg(long, requires = "headless")]
    no_wait: bool,
    /// Print QEMU's command line and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print how to reach the guest as JSON (with --headless)
    #[arg(long, requires = "headless")]
    json: bool,
}

#[derive(clap::Subcommand, Debug)]
enum Sub {
    /// List the guests that run, or with --all every guest whose folder is still there
    #[command(after_help = "Example:\n  cargo xtask boot list --json")]
    List {
        /// Ended guests as well
        #[arg(long)]
        all: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Stop guests
    #[command(
        after_help = "Examples:\n  cargo xtask boot stop\n  cargo xtask boot stop g1\n  cargo xtask boot stop --all"
    )]
    Stop {
        /// The guest's name; not needed when only one runs
        name: Vec<String>,
        /// Every guest that runs
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Delete the folders (logs, records, disks) of guests that have ended
    #[command(after_help = "Example:\n  cargo xtask boot prune")]
    Prune,
}

/// What a guest is made of, and what it gets from this host.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct GuestArgs {
    /// The guest's name [default: g1, g2, …]
    #[arg(long)]
    pub name: Option<String>,
    #[command(flatten)]
    pub spec: GuestSpec,
    /// Throw the guest's disk away at its end
    #[arg(long)]
    pub snapshot: bool,
    /// What the guest's clock follows
    #[arg(long, value_enum, default_value_t)]
    pub clock: ClockArg,
    /// No shared folder: the guest prints its memory map, and nothing of the host's enters its boot
    #[arg(long, conflicts_with = "share")]
    pub no_share: bool,
    /// Share this folder with the guest, which mounts it as host0 over 9p [default: a folder of its own]
    #[arg(long, value_name = "DIR")]
    pub share: Option<PathBuf>,
    /// A second monitor socket at a path of yours
    #[arg(long, value_name = "PATH")]
    pub monitor: Option<PathBuf>,
    /// Where the gdb stub listens: tcp:PORT, on the loopback interface only but open to every user of this host
    /// [default: a socket in the guest's folder]
    #[arg(long, value_name = "tcp:PORT", value_parser = parse_gdb_port)]
    pub gdb: Option<u16>,
    /// Wait for a debugger before the first instruction (gdb stub on tcp:1234, unless --gdb says otherwise)
    #[arg(long)]
    pub debug: bool,
}

/// What a guest's clock follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ClockArg {
    /// Its own instructions, 1 ns each: flips are exact, runs repeat, idle time is skipped
    Exact,
    /// The host's clock
    #[default]
    Real,
    /// The host's clock, with the guest on the host's processor
    Kvm,
}

impl From<ClockArg> for Clock {
    fn from(clock: ClockArg) -> Clock {
        match clock {
            ClockArg::Exact => Clock::Exact,
            ClockArg::Real => Clock::Real,
            ClockArg::Kvm => Clock::Kvm,
        }
    }
}

fn parse_gdb_port(text: &str) -> Result<u16, String> {
    let number = text.strip_prefix("tcp:").unwrap_or(text).trim_start_matches(':');
    number
        .parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("`{text}` is no port; write tcp:PORT, as in tcp:1234"))
}

/// The folder of all guests.
pub fn runs_dir() -> Result<PathBuf> {
    Ok(paths::lab_dir()?.join("runs"))
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    match args.sub {
        Some(Sub::List { all, json }) => list(all, json),
        Some(Sub::Stop { name, all }) => stop(&name, all),
        Some(Sub::Prune) => prune(),
        None if args.dry_run => dry_run(&args.guest, args.headless),
        None if args.headless => {
            let guest = start_headless(&args.guest, args.timeout, args.no_wait)?;
            guest.announce(args.json)?;
            guest.release()
        }
        None => interactive(&args.guest),
    }
}

/// A guest that is about to be started: its folder, specification and record.
struct Planned {
    spec: MachineSpec,
    record: RunRecord,
    /// The image below the guest's disk, with its format and the program that makes the layer.
    base: (PathBuf, String, PathBuf),
    /// Whether it gets no shared folder.
    no_share: bool,
    /// How it gets ready, and how it speaks.
    signals: Signals,
}

impl GuestArgs {
    fn plan(&self, console: Console) -> Result<Planned> {
        let config = Config::load()?;
        let arch = self.spec.arch.unwrap_or(config.guest.arch);
        let lab = Lab::load()?.ready(arch).exit_with(Code::Missing)?;
        let memory = match self.spec.memory {
            Some(memory) => memory,
            None => parse_size(&config.guest.memory).context("lab.toml: [guest] memory")?,
        };
        if memory < 32 << 20 || memory % (1 << 20) != 0 {
            bail!(exit_error(
                Code::Usage,
                format!(
                    "--memory {} will not do: a guest needs a whole number of MiB, 32M at least",
                    format_size(memory)
                )
            ));
        }
        let cpus = self.spec.cpus.unwrap_or(config.guest.cpus);
        if !(1..=8).contains(&cpus) {
            bail!(exit_error(Code::Usage, format!("--cpus {cpus} will not do: a guest has 1 to 8")));
        }
        let own = |path: &Option<PathBuf>, what: &str| -> Result<Option<PathBuf>> {
            let Some(path) = path else { return Ok(None) };
            let full = std::fs::canonicalize(path)
                .with_context(|| format!("cannot find {what} {}", path.display()))
                .exit_with(Code::Usage)?;
            Ok(Some(full))
        };
        let kernel = own(&self.spec.kernel, "the kernel")?;
        let initrd = own(&self.spec.initrd, "the initial RAM disk")?;
        let image = own(&self.spec.image, "the image")?;
        let share = own(&self.share, "the folder to share")?;
        if let Some(share) = share.as_ref().filter(|share| !share.is_dir()) {
            bail!(exit_error(Code::Usage, format!("--share {} is not a folder", share.display())));
        }
        let vmlinux = match own(&self.spec.vmlinux, "the symbols")? {
            Some(path) => Some(path),
            // The lab's symbols are those of the lab's kernel and of no other.
            None if kernel.is_none() => lab.kernel.vmlinux.clone(),
            None => None,
        };
        let kernel = kernel.unwrap_or_else(|| lab.kernel.image.clone());
        let base = image.unwrap_or_else(|| lab.image.qcow2.clone());
        let format = image_format(&base)?;
        let signals = self.spec.signals();
        let workload = self.spec.workload.clone().filter(|name| name != "none");
        if let Some(name) = workload.as_ref().filter(|_| !self.spec.speaks_as_ours()) {
            bail!(exit_error(
                Code::Usage,
                format!(
                    "--workload {name}: this guest becomes ready by words of its own, so its workload is what they \
                     start; leave --workload out"
                )
            ));
        }
        if signals.types() && console == Console::Terminal {
            bail!(exit_error(
                Code::Usage,
                "--dialogue: you sit at this guest's console yourself; leave it out, or add --headless"
            ));
        }
        if let Some(name) = workload.as_ref().filter(|_| self.spec.image.is_none()) {
            check_workload(name)?;
        }
        let gdb = match (self.gdb, self.debug) {
            (Some(port), _) => GdbPort::Tcp(port),
            (None, true) => GdbPort::Tcp(1234),
            (None, false) => GdbPort::Socket,
        };
        let monitor = self.monitor.as_deref().map(std::path::absolute).transpose()?;
        if let Some(path) = &monitor {
            check_socket_free(path)?;
        }
        if let GdbPort::Tcp(port) = gdb {
            check_port_free(port)?;
        }
        let clock = Clock::from(self.clock);
        let stepped = clock == Clock::Exact && console != Console::Terminal;
        let mut append = self.spec.append.clone();
        // Only a template's guest has no other console than its log.
        let rest = match (stepped, console) {
            (true, _) => Some(BOOT_REST),
            (false, Console::Log) => Some(LONG_BOOT_REST),
            _ => None,
        };
        if let Some(rest) = rest
            && workload.is_some()
            && !append.contains("flipsim.delay=")
        {
            append = format!("{append} flipsim.delay={rest}");
        }
        let fixed = |ability: &String| ability.strip_prefix(FIXED).map(str::to_owned);
        let fixed = match clock {
            Clock::Exact => lab.qemu.abilities.iter().filter_map(fixed).collect(),
            Clock::Real | Clock::Kvm => Vec::new(),
        };
        if clock == Clock::Exact && !is_exact(&lab.qemu.abilities) {
            bail!(exit_error(
                Code::Usage,
                "--clock exact: this QEMU lacks the lab's patches; use --clock real, or let the lab build its own \
                 with `cargo xtask setup qemu --reset`"
            ));
        }
        let append = match &self.spec.cmdline {
            Some(line) => line.trim().to_owned(),
            None => kernel_command_line(arch, workload.as_deref(), &append),
        };
        let spec = MachineSpec {
            arch,
            machine: self.spec.machine.clone(),
            cpu: self.spec.cpu.clone(),
            qemu: lab.qemu.system.clone(),
            kernel: kernel.clone(),
            initrd,
            disk: Some(Disk {
                path: "disk.qcow2".into(),
                format: "qcow2".to_owned(),
                writes: if self.snapshot { DiskWrites::Discard } else { DiskWrites::Keep },
            }),
            memory,
            cpus,
            append,
            share: share.clone(),
            clock,
            fixed,
            ram_file: None,
            incoming: false,
            stay_at_end: false,
            console,
            // With the exact clock a headless guest is let run step by step, so that it always stops at
            // the same instruction.
            start_stopped: self.debug || stepped,
            monitor: monitor.clone(),
            gdb,
            extra: self.spec.qemu_arg.clone(),
        };
        let record = RunRecord {
            format: FORMAT,
            name: String::new(),
            arch,
            process: None,
            started: jiff::Timestamp::now(),
            command: Vec::new(),
            memory,
            cpus,
            clock,
            gdb: match gdb {
                GdbPort::Socket => GDB_SOCKET.to_owned(),
                GdbPort::Tcp(port) => format!("tcp:127.0.0.1:{port}"),
            },
            monitor,
            kernel,
            vmlinux,
            image: Some(base.clone()),
            share,
            workload,
            qemu_version: lab.qemu.origin.version.clone(),
        };
        Ok(Planned {
            spec,
            record,
            base: (base, format, lab.qemu.img.clone()),
            no_share: self.no_share,
            signals,
        })
    }
}

impl GuestArgs {
    /// The same guest as the plan of a template: with the exact clock, and without anything of the host's.
    pub fn template_plan(&self) -> Result<TemplatePlan> {
        let not_in_a_template = [
            ("--share", self.share.is_some()),
            ("--monitor", self.monitor.is_some()),
            ("--gdb", self.gdb.is_some()),
            ("--debug", self.debug),
            ("--snapshot", self.snapshot),
        ];
        if let Some((option, _)) = not_in_a_template.iter().find(|(_, given)| *given) {
            bail!(exit_error(
                Code::Usage,
                format!("{option}: clones start from a template, which cannot have it; leave it out")
            ));
        }
        // Without the patches nothing stops a clock that counts instructions at a time that means anything.
        let clock = if can_be_exact(self.spec.arch)? { ClockArg::Exact } else { ClockArg::Real };
        let guest = GuestArgs { clock, ..self.clone() };
        let Planned { spec, record, base: (path, format, qemu_img), signals, .. } =
            guest.plan(Console::Log)?;
        Ok(TemplatePlan {
            spec,
            base: BaseImage { path, format },
            qemu_img,
            qemu_version: record.qemu_version,
            workload: record.workload,
            vmlinux: record.vmlinux,
            signals,
        })
    }
}

/// Whether the lab's QEMU has what the exact clock takes.
pub fn can_be_exact(arch: Option<Arch>) -> Result<bool> {
    let arch = match arch {
        Some(arch) => arch,
        None => Config::load()?.guest.arch,
    };
    let lab = Lab::load()?.ready(arch).exit_with(Code::Missing)?;
    Ok(is_exact(&lab.qemu.abilities))
}

fn is_exact(abilities: &[String]) -> bool {
    ["icount", STOP_AT].iter().all(|wanted| abilities.iter().any(|ability| ability == wanted))
}

/// Refuses a workload that the lab's own image does not have.
pub fn check_workload(name: &str) -> Result<()> {
    let known = crate::lab::recipe::workload_names(&paths::workspace_root()?)?;
    if name == "none" || known.iter().any(|workload| workload == name) {
        return Ok(());
    }
    bail!(exit_error(
        Code::Usage,
        format!("--workload {name}: the lab's image has {}, and `none` for a shell", known.join(", "))
    ))
}

/// What `qemu-img` calls the format, told by the file's first bytes: a name proves nothing, and a
/// guest that can write the header of a raw image must not choose how it is read next time.
fn image_format(path: &Path) -> Result<String> {
    let mut magic = [0; 4];
    let read = std::fs::File::open(path).and_then(|mut file| std::io::Read::read(&mut file, &mut magic));
    let count = read.with_context(|| format!("cannot read the image {}", path.display()))?;
    Ok(if count == 4 && magic == *b"QFI\xfb" { "qcow2" } else { "raw" }.to_owned())
}

/// QEMU removes whatever lies at the path of a socket it makes; another guest's monitor would be gone.
fn check_socket_free(path: &Path) -> Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(meta) = std::fs::symlink_metadata(path) else {
        let parent = path.parent().filter(|parent| parent.is_dir());
        return match parent {
            Some(_) => Ok(()),
            None => bail!(exit_error(
                Code::Usage,
                format!("--monitor {}: its folder does not exist; make it first", path.display())
            )),
        };
    };
    if !meta.file_type().is_socket() {
        bail!(exit_error(
            Code::Usage,
            format!(
                "--monitor {}: a file of that name exists and is no socket; choose another path",
                path.display()
            )
        ));
    }
    if Endpoint::Unix(path.to_owned()).connect(Duration::from_secs(2)).is_ok() {
        bail!(exit_error(
            Code::Usage,
            format!(
                "--monitor {}: another guest listens there; stop it (`cargo xtask boot list` shows this lab's), or \
             choose another path",
                path.display()
            )
        ));
    }
    Ok(())
}

fn check_port_free(port: u16) -> Result<()> {
    match std::net::TcpListener::bind(("127.0.0.1", port)) {
        Ok(_) => Ok(()),
        Err(error) => bail!(exit_error(
            Code::Usage,
            format!(
                "--gdb tcp:{port}: the port cannot be used ({error}); stop what listens there, or choose another"
            )
        )),
    }
}

impl Planned {
    /// Makes the guest's folder with everything in it that QEMU needs.
    fn prepare(mut self, name: Option<&str>) -> Result<(RunDir, MachineSpec, RunRecord, Starting)> {
        let (run, starting) = RunDir::create(&runs_dir()?, name).map_err(run_error)?;
        self.record.name = run.name();
        if self.spec.share.is_none() && !self.no_share {
            let share = run.file("share");
            std::fs::create_dir(&share).with_context(|| format!("cannot create {}", share.display()))?;
            self.spec.share = Some(share.clone());
            self.record.share = Some(share);
        }
        let (base, format, qemu_img) = &self.base;
        process::make_overlay(qemu_img, base, format, &run.file("disk.qcow2"))
            .with_context(|| format!("cannot make the guest's disk on top of {}", base.display()))?;
        let argv = self.spec.argv();
        let program = std::iter::once(self.spec.qemu.as_os_str().to_owned()).chain(argv);
        self.record.command = program.map(|arg| arg.to_string_lossy().into_owned()).collect();
        run.save_spec(&self.spec)?;
        run.save(&self.record)?;
        Ok((run, self.spec, self.record, starting))
    }
}

/// Errors about guests that are asked for and not there get the exit code for that.
pub fn run_error(error: RunError) -> anyhow::Error {
    let code = match error {
        RunError::Unknown { .. } | RunError::None => Code::Missing,
        RunError::Several(_) | RunError::Taken(_) | RunError::BadName(_) | RunError::Held(_) => Code::Usage,
        _ => return error.into(),
    };
    exit_error(code, error.to_string())
}

fn dry_run(args: &GuestArgs, headless: bool) -> Result<()> {
    let console = if headless { Console::Socket } else { Console::Terminal };
    let Planned { mut spec, base: (base, format, qemu_img), no_share, .. } = args.plan(console)?;
    outln!("# in a new folder of the guest's own, .lab/runs/NAME");
    if spec.share.is_none() && !no_share {
        outln!("mkdir share");
        spec.share = Some("share".into());
    }
    outln!(
        "{}",
        proc::shell_line(&process::overlay_command(&qemu_img, &base, &format, Path::new("disk.qcow2")))
    );
    let mut command = Command::new(&spec.qemu);
    command.args(spec.argv());
    outln!("{}", proc::shell_line(&command));
    Ok(())
}

fn interactive(args: &GuestArgs) -> Result<()> {
    let planned = args.plan(Console::Terminal)?;
    let signals = planned.signals.clone();
    let (run, spec, mut record, starting) = planned.prepare(args.name.as_deref())?;
    eprintln!("guest {}: Ctrl-A X ends it, Ctrl-A C switches to QEMU's monitor and back", record.name);
    eprintln!("console log: {}", paths::show(&run.file(CONSOLE_LOG)));
    if args.debug {
        eprintln!(
            "waiting for a debugger: gdb-multiarch -ex 'target remote {}'",
            record.gdb.trim_start_matches("tcp:")
        );
    }
    let _terminal = TerminalGuard(rustix::termios::tcgetattr(std::io::stdin()).ok());
    let mut child = process::spawn(&spec, &run)?;
    record.process = ProcessId::of(child.id());
    run.save(&record)?;
    drop(starting);
    let qmp = process::wait_for_monitor(&mut child, &run)?;
    let (mut leash, mut hand) = std::io::pipe().context("cannot make a pipe")?;
    hand.write_all(&[RELEASE]).context("cannot write to a pipe")?;
    let watched = std::thread::scope(|scope| {
        let share = record.share.clone();
        let (run, process) = (&run, record.process);
        scope.spawn(move || {
            let alive = || process.is_some_and(|p| p.is_alive());
            // For the memory map alone; a person sees for himself how the boot goes.
            let _ = wait_ready(
                run,
                share.as_deref(),
                &signals,
                Duration::from_secs(600),
                alive,
                interrupt::raised,
                |_| {},
                rest,
            );
            while alive() {
                if interrupt::raised()
                    && let Some(process) = process
                {
                    process.signal(rustix::process::Signal::TERM);
                    let _ = process.wait_gone(Duration::from_secs(3));
                    process.signal(rustix::process::Signal::KILL);
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        watch(&mut child, qmp, run, &mut leash)
    });
    watched.context("cannot write the guest's event log")?;
    interrupt::check()?;
    if !child.wait()?.success() {
        bail!("QEMU ended badly; its last words:\n{}", run.qemu_log_tail());
    }
    Ok(())
}

/// Puts the terminal right when it goes. QEMU does so itself, unless it was killed.
struct TerminalGuard(Option<rustix::termios::Termios>);

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        if let Some(terminal) = &self.0 {
            let now = rustix::termios::OptionalActions::Now;
            let _ = rustix::termios::tcsetattr(std::io::stdin(), now, terminal);
        }
    }
}

/// A guest that is ready and still hangs on this command.
pub struct HeadlessGuest {
    /// Its folder.
    pub run: RunDir,
    /// What it is.
    pub record: RunRecord,
    /// How its boot went; `None` for one that waits for a debugger.
    pub ready: Option<Ready>,
    /// Where its exact clock stands; `None` for one that runs.
    pub stands_at: Option<VirtualNs>,
    /// Where its memory map and QEMU's differ.
    pub disagreements: Vec<String>,
    /// What the guest lacks that a lab guest has, and what is done without it.
    lacks: Vec<&'static str>,
    watcher: Child,
    leash: ChildStdin,
}

/// Starts a guest and waits until it is ready. It ends with this process unless it is released.
///
/// With `no_wait` a guest that answers at its monitor counts as started, whatever its console says.
pub fn start_headless(args: &GuestArgs, timeout: Duration, no_wait: bool) -> Result<HeadlessGuest> {
    let planned = args.plan(Console::Socket)?;
    let signals = planned.signals.clone();
    let (run, spec, _, starting) = planned.prepare(args.name.as_deref())?;
    let log = std::fs::File::create(run.file("watch.log")).context("cannot write the watcher's log")?;
    // By this name the very program that runs, even where cargo has put another in its place meanwhile.
    let mut command = Command::new("/proc/self/exe");
    std::os::unix::process::CommandExt::arg0(&mut command, "xtask");
    command.arg("guest-watch").arg(run.path()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
    // A session of its own: neither Ctrl-C nor the end of the terminal is meant for the guest.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut watcher = command.spawn().context("cannot start the guest's watcher")?;
    let leash = watcher.stdin.take().context("the watcher has no standard input")?;
    let mut alive = || watcher.try_wait().is_ok_and(|status| status.is_none());
    if args.debug || no_wait {
        loop {
            interrupt::sleep(Duration::from_millis(20))?;
            if !alive() {
                bail!(watcher_error(&run));
            }
            // Only a monitor that answers shows that QEMU took its arguments and made its sockets.
            if QmpClient::connect(&run.qmp(), Timeouts::default()).is_ok_and(|mut qmp| qmp.status().is_ok()) {
                break;
            }
        }
        let record = run.load()?;
        drop(starting);
        let (ready, stands_at, disagreements, lacks) = (None, None, Vec::new(), Vec::new());
        return Ok(HeadlessGuest { run, record, ready, stands_at, disagreements, lacks, watcher, leash });
    }
    let step = crate::progress::Step::spinner(format!("Booting guest {}", run.name()));
    let mut stepped = match spec.start_stopped {
        true => attach_new(&run, timeout, &mut alive)?,
        false => None,
    };
    let share = spec.share.as_deref();
    let on_line = |line: &str| step.line(line);
    let pause = || stepped.as_mut().map_or_else(rest, |target| step_boot(target));
    let booted = wait_ready(&run, share, &signals, timeout, &mut alive, interrupt::raised, on_line, pause);
    let ready = match booted {
        Ok(ready) => ready,
        Err(BootError::Interrupted) => return Err(Interrupted.into()),
        Err(BootError::Ended { .. }) if run.load()?.process.is_none_or(|p| !p.is_alive()) => {
            bail!(watcher_error(&run));
        }
        Err(error) => return Err(error).exit_with(Code::GuestLost),
    };
    step.done_with(&format!("ready after {}", format_duration(ready.took)));
    let stands_at = match &mut stepped {
        Some(target) => target.virtual_time().exit_with(Code::GuestLost)?,
        None => None,
    };
    drop(stepped);
    let record = run.load()?;
    drop(starting);
    let mut qmp = QmpClient::connect(&run.qmp(), Timeouts::default())?;
    let map = MemoryMap::new(run.iomem().as_deref(), &qmp.hmp("info mtree -f")?)?;
    let disagreements = map.disagreements().to_vec();
    let lacks = lacks(ready.has_iomem, &mut qmp, &record.arch)?;
    Ok(HeadlessGuest { run, record, ready: Some(ready), stands_at, disagreements, lacks, watcher, leash })
}

/// What a guest lacks that a lab guest has, and what is done without it.
pub fn lacks(has_iomem: bool, qmp: &mut QmpClient, arch: &Arch) -> Result<Vec<&'static str>> {
    let no_iomem = (!has_iomem).then_some(
        "the guest gave no /proc/iomem: its regions are QEMU's RAM blocks, and `ram` is all of them",
    );
    let no_pvpanic = (pvpanic::is_driven(qmp, arch)? == Some(false)).then_some(
        "no driver has taken pvpanic so far: a panic is known by the console, or by the reset of `panic=-1`",
    );
    Ok(no_iomem.into_iter().chain(no_pvpanic).collect())
}

/// Takes hold of a guest that has just been started stopped; `None` once it has ended.
fn attach_new(
    run: &RunDir,
    timeout: Duration,
    alive: &mut impl FnMut() -> bool,
) -> Result<Option<LiveTarget>> {
    let end = std::time::Instant::now() + timeout;
    loop {
        let late = std::time::Instant::now() > end;
        let target = run
            .load()
            .and_then(|record| run.gdb(&record))
            .map_err(anyhow::Error::from)
            .and_then(|gdb| Ok(LiveTarget::attach(&gdb, Some(&run.qmp()), Timeouts::default())?));
        match target {
            Ok(mut target) => {
                if target.timing() != Timing::Exact {
                    let text = "this QEMU cannot stop at a virtual time (it lacks the lab's patches); use --clock real, or `cargo xtask setup qemu --reset`";
                    bail!(exit_error(Code::Usage, text));
                }
                target.interrupt_by(interrupt::raised);
                return Ok(Some(target));
            }
            // Its end is told by the one who waits for its console.
            Err(_) if !alive() => return Ok(None),
            Err(error) if late => return Err(error),
            Err(_) => interrupt::sleep(Duration::from_millis(10))?,
        }
    }
}

/// Why a headless guest did not get going, in the words of its watcher, or else of QEMU.
fn watcher_error(run: &RunDir) -> anyhow::Error {
    let words = std::fs::read_to_string(run.file("watch.log")).unwrap_or_default();
    let words = words.trim().trim_start_matches("error: ");
    let words = if words.is_empty() {
        BootError::Ended { qemu: run.qemu_log_tail(), log: run.file(CONSOLE_LOG) }.to_string()
    } else {
        words.to_owned()
    };
    exit_error(Code::GuestLost, words)
}

impl HeadlessGuest {
    /// Says how to reach the guest.
    fn announce(&self, json: bool) -> Result<()> {
        let socket = |name: &str| self.run.file(name);
        let gdb = self.run.gdb(&self.record)?;
        if json {
            let value = serde_json::json!({
                "name": self.record.name,
                "pid": self.record.process.map(|p| p.pid),
                "folder": self.run.path(),
                "qmp": socket(QMP_SOCKET),
                "monitor": socket(HMP_SOCKET),
                "gdb": gdb.to_string(),
                "console": socket(CONSOLE_SOCKET),
                "console_log": socket(CONSOLE_LOG),
                "share": self.record.share,
                "workload": self.record.workload,
                "clock": self.record.clock.name(),
                "stands_at_ns": self.stands_at.map(|time| time.0),
                "boot_seconds": self.ready.as_ref().map(|ready| ready.took.as_secs_f64()),
                "memory_map": self.ready.as_ref().map(|ready| if ready.has_iomem { "iomem" } else { "monitor" }),
                "disagreements": self.disagreements,
                "lacks": self.lacks,
            });
            outln!("{}", serde_json::to_string_pretty(&value)?);
            return Ok(());
        }
        let name = &self.record.name;
        match &self.ready {
            Some(_) => match self.stands_at {
                Some(time) => outln!("guest {name} is ready and stands at {time} of its exact clock"),
                None => outln!("guest {name} is ready"),
            },
            None if self.record.command.iter().any(|arg| arg == "-S") => {
                outln!("guest {name} waits for a debugger")
            }
            None => outln!("guest {name} is running"),
        }
        outln!(
            "  console   socat -,raw,echo=0,escape=0x1d UNIX-CONNECT:{}",
            paths::show(&socket(CONSOLE_SOCKET))
        );
        outln!("  log       tail -f {}", paths::show(&socket(CONSOLE_LOG)));
        outln!("  monitor   socat - UNIX-CONNECT:{}", paths::show(&socket(HMP_SOCKET)));
        let gdb = match &gdb {
            Endpoint::Unix(path) => paths::show(path),
            Endpoint::Tcp(..) => self.record.gdb.trim_start_matches("tcp:").to_owned(),
        };
        outln!("  gdb       gdb-multiarch -ex 'target remote {gdb}'");
        if let Some(share) = &self.record.share {
            outln!("  share     {} (host0 in the guest)", paths::show(share));
        }
        if self.stands_at.is_some() {
            outln!("  inject    cargo xtask inject auto 10 1ms 5ms ram --guest {name}");
            outln!("  let run   cargo xtask inject shell --guest {name}, then `run 100ms`, or `cont`");
        } else {
            outln!("  inject    cargo xtask inject ram --guest {name} --count 10");
        }
        outln!("  stop      cargo xtask boot stop {name}");
        for line in &self.lacks {
            outln!("  note      {line}");
        }
        for line in &self.disagreements {
            outln!("  warning   {line}");
        }
        Ok(())
    }

    /// Hands the guest over: it runs on when this process ends.
    pub fn release(mut self) -> Result<()> {
        self.leash.write_all(&[RELEASE]).context("the guest's watcher has ended")?;
        self.leash.flush().context("the guest's watcher has ended")
    }

    /// Stops the guest.
    pub fn stop(mut self) -> Result<()> {
        stop_run(&self.run, &self.record)?;
        drop(self.leash);
        let _ = self.watcher.wait();
        Ok(())
    }
}

/// `guest-watch`, which only `boot` starts: the parent of a headless QEMU.
pub fn watch_guest(folder: &Path) -> Result<()> {
    let run = RunDir::at(folder);
    let spec = run.load_spec()?;
    let mut child = process::spawn(&spec, &run)?;
    let mut record = run.load()?;
    record.process = ProcessId::of(child.id());
    let watched = run.save(&record).map_err(anyhow::Error::from).and_then(|()| {
        let qmp = process::wait_for_monitor(&mut child, &run)?;
        Ok(watch(&mut child, qmp, &run, &mut std::io::stdin())?)
    });
    if watched.is_err() {
        let _ = child.kill();
        let _ = child.wait();
        run.remove_sockets();
    }
    match watched? {
        WatchEnd::QemuEnded | WatchEnd::Abandoned => Ok(()),
    }
}

fn list(all: bool, json: bool) -> Result<()> {
    let mut rows = Vec::new();
    for (run, record) in RunDir::list(&runs_dir()?)? {
        let running = record.process.is_some_and(|p| p.is_alive());
        if !running && !run.is_in_use() {
            // Whatever was killed could not clean up after itself.
            run.remove_sockets();
        }
        if running || all {
            let state = if running { state_of(&run) } else { "ended" };
            rows.push((run, record, running, state));
        }
    }
    if json {
        let values: Vec<_> = rows
            .iter()
            .map(|(run, record, running, state)| {
                serde_json::json!({ "running": running, "state": state, "folder": run.path(), "guest": record })
            })
            .collect();
        outln!("{}", serde_json::to_string_pretty(&values)?);
        return Ok(());
    }
    if rows.is_empty() {
        outln!("no guest is running; start one with `cargo xtask boot --headless`");
    }
    for (run, record, _, state) in rows {
        outln!(
            "{:10} {state:8} {:8} {:>9}  {:8} since {:.0}  {}",
            record.name,
            record.arch,
            format_size(record.memory),
            record.workload.as_deref().unwrap_or("shell"),
            record.started,
            paths::show(run.path()),
        );
    }
    Ok(())
}

/// How a guest whose QEMU runs fares, in a word.
pub fn state_of(run: &RunDir) -> &'static str {
    // Whoever has hold of it has its monitor, which serves one at a time and would not answer us.
    let patience = Timeouts { connect: Duration::from_millis(500), reply: Duration::from_millis(500) };
    let status = QmpClient::connect(&run.qmp(), patience).and_then(|mut qmp| qmp.status());
    match status.as_ref().map(|status| status.status.as_str()) {
        Ok("running") => "running",
        Ok("guest-panicked") => "panicked",
        Ok("internal-error" | "io-error") => "broken",
        Ok("shutdown") => "off",
        Ok(_) => "stopped",
        // The lock is given back at once.
        Err(_) if run.hold().is_err() => "in use",
        Err(_) => "no answer",
    }
}

fn stop(names: &[String], all: bool) -> Result<()> {
    let runs = runs_dir()?;
    let targets: Vec<(RunDir, RunRecord)> = if all {
        let running = RunDir::list(&runs)?.into_iter();
        running.filter(|(_, record)| record.process.is_some_and(|p| p.is_alive())).collect()
    } else if names.is_empty() {
        vec![RunDir::find_running(&runs, None).map_err(run_error)?]
    } else {
        let find = |name: &String| RunDir::find_running(&runs, Some(name)).map_err(run_error);
        names.iter().map(find).collect::<Result<_>>()?
    };
    for (run, record) in &targets {
        stop_run(run, record)?;
        outln!("stopped guest {}; its logs are in {}", record.name, paths::show(run.path()));
    }
    if targets.is_empty() {
        outln!("no guest is running");
    }
    Ok(())
}

fn stop_run(run: &RunDir, record: &RunRecord) -> Result<()> {
    let Some(process) = record.process else { return Ok(()) };
    if !process::stop(run, process) {
        bail!("guest {} (process {}) does not end; look at it with `ps`", record.name, process.pid);
    }
    run.remove_sockets();
    Ok(())
}

fn prune() -> Result<()> {
    let mut count = 0;
    for (run, record) in RunDir::list(&runs_dir()?)? {
        if record.process.is_some_and(|p| p.is_alive()) || run.is_in_use() {
            continue;
        }
        std::fs::remove_dir_all(run.path())
            .with_context(|| format!("cannot delete {}", run.path().display()))?;
        count += 1;
    }
    outln!("deleted the folders of {count} ended guests");
    Ok(())
}

/// What came of asking a guest at its console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It said something.
    Yes,
    /// It said nothing.
    No,
    /// It could not be asked: a person sits at its console.
    CannotAsk,
}

/// Asks a guest with a shell for a sign of life: a line's end is sent to its console, and anything
/// that comes back within `timeout` is one. The monitor, which serves one client at a time and is the caller's,
/// knows whether somebody else sits at the console.
pub fn console_answers(run: &RunDir, timeout: Duration, qmp: Option<&mut QmpClient>) -> Answer {
    let mut tail = ConsoleTail::from_end(&run.file(CONSOLE_LOG));
    let start = tail.offset();
    let endpoint = Endpoint::Unix(run.file(CONSOLE_SOCKET));
    let Ok(mut stream) = endpoint.connect(Duration::from_secs(1)) else { return Answer::CannotAsk };
    // What the console sends is read, too: QEMU waits for a client that does not.
    let quick = stream.set_read_timeout(Some(Duration::from_millis(20)));
    if quick.is_err() || stream.write_all(b"\n").is_err() {
        return Answer::CannotAsk;
    }
    let mut sink = [0; 4096];
    let mut heard = false;
    let deadline = std::time::Instant::now() + timeout;
    while std::time::Instant::now() < deadline {
        heard |= matches!(std::io::Read::read(&mut stream, &mut sink), Ok(count) if count > 0);
        if tail.poll().is_ok() && tail.offset() > start {
            return Answer::Yes;
        }
    }
    drop(stream);
    std::thread::sleep(Duration::from_millis(100));
    // QEMU serves one client at a time: a second one is connected, and then nothing comes.
    if heard || !qmp.is_some_and(other_client) { Answer::No } else { Answer::CannotAsk }
}

/// Whether somebody else is connected to the guest's console.
fn other_client(qmp: &mut QmpClient) -> bool {
    let Ok(chardevs) = qmp.execute("query-chardev", serde_json::Value::Null) else { return false };
    let console = chardevs.as_array().into_iter().flatten().find(|device| device["label"] == "console0");
    // Our own connection is closed by now; QEMU's text for one without a client says so.
    console
        .and_then(|device| device["filename"].as_str())
        .is_some_and(|text| !text.starts_with("disconnected"))
}
