//! Tests of the wait for a guest to be ready.

use super::*;

fn run(log: &str) -> (tempfile::TempDir, RunDir) {
    let lab = tempfile::tempdir().unwrap();
    let run = RunDir::create(lab.path(), Some("g")).unwrap().0;
    std::fs::write(run.file(CONSOLE_LOG), log).unwrap();
    (lab, run)
}

fn wait(run: &RunDir, share: Option<&std::path::Path>, alive: bool) -> Result<Ready, BootError> {
    let lab = Signals::default();
    wait_ready(run, share, &lab, Patience::of(Duration::from_millis(50)), || alive, || false, |_| {}, rest)
}

#[test]
fn a_guest_is_ready_when_it_says_so() {
    let (lab, run) = run("booting\nFLIPSIM READY workload=sha256\n");
    let share = lab.path().join("share");
    std::fs::create_dir(&share).unwrap();
    std::fs::write(share.join("iomem.txt"), "40000000-47ffffff : System RAM\n").unwrap();
    let ready = wait(&run, Some(&share), true).unwrap();
    assert_eq!((ready.workload.as_str(), ready.has_iomem), ("sha256", true));
    assert_eq!(run.iomem().as_deref(), Some("40000000-47ffffff : System RAM\n"));
}

#[test]
fn a_map_of_an_earlier_guest_or_no_plain_file_is_not_taken() {
    let (lab, run) = run("FLIPSIM READY workload=none\n");
    let share = lab.path().join("share");
    std::fs::create_dir(&share).unwrap();
    let map = share.join("iomem.txt");
    std::fs::write(&map, "40000000-47ffffff : System RAM\n").unwrap();
    let old = SystemTime::now() - Duration::from_secs(3600);
    std::fs::File::options().write(true).open(&map).unwrap().set_modified(old).unwrap();
    assert!(!wait(&run, Some(&share), true).unwrap().has_iomem);
    std::fs::remove_file(&map).unwrap();
    std::os::unix::fs::symlink("/proc/iomem", &map).unwrap();
    assert!(!wait(&run, Some(&share), true).unwrap().has_iomem);
}

#[test]
fn without_a_share_the_map_is_taken_from_the_console() {
    let (_lab, run) = run("FLIPSIM IOMEM BEGIN\n40000000-47ffffff : System RAM\n[ 1.0] noise\n  \
                           40210000-4064ffff : Kernel code\nFLIPSIM IOMEM END\nFLIPSIM READY workload=\n");
    assert!(wait(&run, None, true).unwrap().has_iomem);
    let map = "40000000-47ffffff : System RAM\n  40210000-4064ffff : Kernel code\n";
    assert_eq!(run.iomem().as_deref(), Some(map));
}

#[test]
fn a_panic_on_the_way_ends_the_wait() {
    let (_lab, run) = run("Kernel panic - not syncing: VFS: Unable to mount root fs\n");
    let text = wait(&run, None, true).unwrap_err().to_string();
    assert!(text.starts_with("the guest panicked while it booted: Kernel panic"), "{text}");
}

#[test]
fn the_end_of_qemu_is_reported_with_its_last_words() {
    let (_lab, run) = run("booting\n");
    std::fs::write(run.file("qemu.log"), "qemu: could not load kernel\n").unwrap();
    let text = wait(&run, None, false).unwrap_err().to_string();
    assert!(text.contains("qemu: could not load kernel"), "{text}");
}

#[test]
fn a_silent_guest_is_given_up_in_time() {
    let (_lab, run) = run("");
    let late = wait(&run, None, true).unwrap_err().to_string();
    assert!(late.contains("the lab waited for FLIPSIM READY, and the guest said nothing;"), "{late}");
    let lab = Signals::default();
    let interrupted =
        wait_ready(&run, None, &lab, Patience::of(Duration::from_secs(9)), || true, || true, |_| {}, rest);
    assert!(matches!(interrupted, Err(BootError::Interrupted)));
}

/// On the host's clock: longer than any step takes on a busy host, and soon over.
const LONG: Duration = Duration::from_secs(120);
const SHORT: Duration = Duration::from_millis(300);

/// Waits for a guest that executes so many instructions in each step.
fn stepped(log: &str, signals: &Signals, executed: u64, timeout: Duration) -> Result<Ready, BootError> {
    let (_lab, run) = run(log);
    let patience = Patience::of(timeout);
    let mut clock = VirtualClock { virtual_ns: 0, icount: true, instructions: Some(0), stop_at: None };
    let pause = |length: VirtualNs| {
        clock.virtual_ns += length.0;
        clock.instructions = clock.instructions.map(|before| before + executed);
        Ok(Some(clock))
    };
    wait_ready(&run, None, signals, patience, || true, || false, |_| {}, pause)
}

#[test]
fn a_guest_that_idles_at_a_prompt_is_not_waited_for_until_the_time_out() {
    let signals: Signals = toml::from_str("ready = 'Login: $'").unwrap();
    let log = "Welcome to Buildroot\nbuildroot login: ";
    let error = stepped(log, &signals, 1000, LONG).unwrap_err();
    assert!(matches!(&error, BootError::Idle { after, .. } if after.0 >= SILENCE.0) && error.is_wrong_use());
    let text = error.to_string();
    assert!(text.starts_with("the guest idles, and has said nothing for 30.0"), "{text}");
    assert!(text.contains("waited for `Login: $`, and the guest said last: `buildroot login: `; --ready 'login: $' would fit that line"), "{text}");
}

#[test]
fn a_guest_that_computes_in_silence_is_waited_for_until_the_time_out_with_the_same_words() {
    let signals: Signals = toml::from_str("ready = 'Login: $'").unwrap();
    let error = stepped("buildroot login: ", &signals, BOOT_STEP.0, SHORT).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, BootError::Late { .. }) && error.is_wrong_use(), "{text}");
    assert!(
        text.contains("the guest said last: `buildroot login: `; --ready 'login: $' would fit that line"),
        "{text}"
    );
    // One of the lab's own that says nothing at all is no wrong use.
    let lab = stepped("", &Signals::default(), BOOT_STEP.0, SHORT).unwrap_err();
    assert!(matches!(lab, BootError::Late { .. }) && !lab.is_wrong_use());
}

#[test]
fn a_guest_that_says_that_it_will_be_ready_is_looked_at_closely_from_there_on() {
    let (_lab, run) = run("booting\n");
    let log = run.file("console.log");
    let mut steps: Vec<u64> = Vec::new();
    let pause = |length: VirtualNs| {
        steps.push(length.0);
        let more = match steps.len() {
            2 => "FLIPSIM SOON workload=sha256\n",
            5 => "FLIPSIM READY workload=sha256\n",
            _ => "",
        };
        let mut file = OpenOptions::new().append(true).open(&log)?;
        file.write_all(more.as_bytes())?;
        Ok(None)
    };
    let lab = Signals::default();
    let ready = wait_ready(&run, None, &lab, Patience::of(LONG), || true, || false, |_| {}, pause).unwrap();
    assert_eq!(ready.workload, "sha256");
    assert_eq!(steps, [BOOT_STEP.0, BOOT_STEP.0, FINE_STEP.0, FINE_STEP.0, FINE_STEP.0]);
}

#[test]
fn what_is_left_alone_for_a_time_may_idle() {
    let signals: Signals = toml::from_str("ready-after = 40000000000").unwrap();
    stepped("", &signals, 0, LONG).unwrap();
    let late = stepped("", &signals, 0, Duration::ZERO).unwrap_err().to_string();
    assert!(late.contains("the lab waited for its time, and the guest said nothing;"), "{late}");
}
