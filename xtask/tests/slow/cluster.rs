//! A campaign that travels: packed, run by a real Slurm of two nodes and by the runner alone, through what clusters do to
//! jobs, and home again: equal trial by trial.
//!
//! Slurm and GNU parallel are used where they are installed and this is root; what cannot be done here is said on standard
//! error.

#![expect(clippy::unwrap_used, reason = "what a test stands on may fail as the test itself")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use super::campaigns::{Campaign, results};
use super::kills::{Disk, Disks, disks, say, send};
use super::*;

const TRIALS: usize = 160;

/// A campaign, its pack, and what it is when one machine runs it in peace.
struct Packed {
    campaign: Campaign,
    folder: tempfile::TempDir,
    digest: String,
    calm: Vec<Value>,
}

impl Packed {
    fn new(name: &str) -> Packed {
        let trials = TRIALS.to_string();
        let strata = ["--stratum", "ram=ram", "--stratum", "core=class:core", "--sharing", "equal"];
        let campaign = Campaign::new(name, &[&strata[..], &["--trials", &trials, "--seed", "18"]].concat());
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        // Another user is to get at it.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let copy = folder.path().join("calm.sqlite");
        fs::copy(campaign.file(), &copy).unwrap();
        ok(&["campaign", "run", copy.to_str().unwrap()]);
        let calm = results(copy.to_str().unwrap());
        assert_eq!(calm.len(), TRIALS);
        Packed { campaign, folder, digest: String::new(), calm }
    }

    fn pack(mut self) -> Packed {
        let pack = self.path("c.pack");
        let said = ok(&["campaign", "pack", &self.campaign.0, "-o", pack.to_str().unwrap(), "--slices", "6"]);
        let said = text(&said);
        let digest = said.split("digest ").nth(1).unwrap().split_whitespace().next().unwrap();
        self.digest = digest.to_owned();
        let tar = Command::new("tar")
            .arg("-xf")
            .arg(&pack)
            .arg("flipsim-run")
            .current_dir(self.folder.path())
            .status();
        assert!(tar.unwrap().success());
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The runner, on this pack, with results that come together there.
    fn runner(&self, out: &str) -> Command {
        let mut command = Command::new(self.path("flipsim-run"));
        command.arg(self.path("c.pack")).arg("--out").arg(self.path(out)).args(["--trust", &self.digest]);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// Joins what is in a folder, and compares it with the campaign of one machine.
    fn compare(&self, out: &str) {
        let joined = self.runner(out).arg("--merge").output().unwrap();
        assert!(joined.status.success(), "{}", text(&joined));
        let whole = self.path(out).join(format!("{}.sqlite", self.campaign.0));
        assert!(results(whole.to_str().unwrap()) == self.calm, "the results are others than on one machine");
        // The lab's own command takes the same folder, and finds all of it there.
        let copy = self.path("merged.sqlite");
        let _ = fs::remove_file(&copy);
        fs::copy(self.campaign.file(), &copy).unwrap();
        let said =
            text(&ok(&["campaign", "merge", copy.to_str().unwrap(), self.path(out).to_str().unwrap()]));
        assert!(said.contains(&format!("{TRIALS} results were added, 0 were there")), "{said}");
        assert!(said.contains(&format!("all {TRIALS} trials have a result")), "{said}");
        assert!(results(copy.to_str().unwrap()) == self.calm);
    }
}

/// The slices in a folder, as `campaign status` has them.
fn slices(out: &Path) -> Vec<Value> {
    if !out.join("slices").is_dir() {
        return Vec::new();
    }
    let output = ok(&["campaign", "status", out.to_str().unwrap(), "--json"]);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn home(out: &Path) -> u64 {
    slices(out).iter().map(|slice| slice["done"].as_u64().unwrap()).sum()
}

/// Processes with this in their environment.
fn with_variable(variable: &str) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|line| line == variable.as_bytes())
    };
    numbers.filter(has).collect()
}

/// A Slurm of two nodes on this machine, with keys, sockets and ports of its own.
struct Slurm {
    folder: tempfile::TempDir,
}

impl Slurm {
    fn start() -> Option<Slurm> {
        let programs = ["munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue"];
        let is_there = |name: &&str| {
            Command::new("sh")
                .args(["-c", &format!("command -v {name}")])
                .output()
                .is_ok_and(|found| found.status.success())
        };
        if !programs.iter().all(is_there) || !rustix::process::geteuid().is_root() {
            say(
                "SKIPPED, a campaign on a cluster: it takes Slurm (slurmctld, slurmd, slurm-client, munge), and root",
            );
            return None;
        }
        let slurm = Slurm { folder: tempfile::tempdir().unwrap() };
        let at = |name: &str| slurm.path(name).display().to_string();
        fs::write(slurm.path("key"), [7; 1024]).unwrap();
        fs::set_permissions(slurm.path("key"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::create_dir(slurm.path("state")).unwrap();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut text = format!(
            "ClusterName=lab\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={}\nSlurmUser=root\nAuthType=auth/munge\n\
             CredType=cred/munge\nAuthInfo=socket={},cred_expire=5\nStateSaveLocation={}\nSlurmctldPidFile={}\n\
             SlurmctldLogFile={}\nSlurmdSpoolDir={}/%n\nSlurmdPidFile={}/%n.pid\nSlurmdLogFile={}/%n.log\n\
             ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nSwitchType=switch/none\nMpiDefault=none\n\
             SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\nJobRequeue=1\nKillWait=10\nSlurmdTimeout=10\n\
             ReturnToService=2\nJobCompType=jobcomp/none\nJobAcctGatherType=jobacct_gather/none\n\
             SchedulerParameters=bf_interval=1,batch_sched_delay=0\n",
            port(),
            at("munge.sock"),
            at("state"),
            at("ctld.pid"),
            at("ctld.log"),
            at(""),
            at(""),
            at("")
        );
        for node in ["n1", "n2"] {
            fs::create_dir(slurm.path(node)).unwrap();
            text +=
                &format!("NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={} CPUs=1\n", port());
        }
        text += "PartitionName=batch Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP\n";
        fs::write(slurm.path("slurm.conf"), text).unwrap();
        let munged = [
            ("key-file", "key"),
            ("socket", "munge.sock"),
            ("pid-file", "munge.pid"),
            ("log-file", "munge.log"),
            ("seed-file", "seed"),
        ];
        let munged = munged.map(|(option, name)| format!("--{option}={}", at(name)));
        slurm.run(Command::new("munged").arg("--force").args(munged));
        slurm.run(Command::new("slurmctld").arg("-c"));
        slurm.node("n1");
        slurm.node("n2");
        Some(slurm)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, command: &mut Command) -> String {
        let output = command
            .env("SLURM_CONF", self.path("slurm.conf"))
            .env("XTASK", env!("CARGO_BIN_EXE_xtask"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{command:?}:\n{}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn node(&self, node: &str) {
        self.run(Command::new("slurmd").args(["-N", node]));
    }

    /// As if a node lost its power.
    fn kill_node(&self, node: &str) {
        let pid: u32 = fs::read_to_string(self.path(&format!("{node}.pid"))).unwrap().trim().parse().unwrap();
        let of_jobs = with_variable(&format!("SLURMD_NODENAME={node}"));
        // What started them would say that they had ended; a node without power says nothing.
        let parents = of_jobs.iter().filter_map(|pid| stat_of(u64::from(*pid))).map(|stat| stat.parent);
        let above: Vec<u32> = parents.filter(|parent| *parent > 1 && !of_jobs.contains(parent)).collect();
        for pid in [pid].into_iter().chain(above).chain(of_jobs) {
            send(pid, Signal::KILL);
        }
    }

    fn jobs(&self) -> String {
        self.run(Command::new("squeue").args(["--noheader", "--format=%i %T %N %r"]))
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        let _ =
            Command::new("scancel").arg("--user=root").env("SLURM_CONF", self.path("slurm.conf")).output();
        for name in ["n1.pid", "n2.pid", "ctld.pid", "munge.pid"] {
            let pid = fs::read_to_string(self.path(name)).ok().and_then(|text| text.trim().parse().ok());
            if let Some(pid) = pid {
                send(pid, Signal::TERM);
            }
        }
    }
}

/// Waits for what takes its time on a cluster.
fn wait_long(what: &str, said: &dyn Fn() -> String, check: &mut dyn FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(300);
    while !check() {
        assert!(Instant::now() < end, "waited in vain: {what}\n{}", said());
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_campaign_on_two_nodes_goes_through_what_clusters_do_and_is_that_of_one_machine() {
    let Some(slurm) = Slurm::start() else { return };
    let packed = Packed::new("cluster");
    let name = &packed.campaign.0;
    // The five commands of the docs, on a laptop that is the cluster as well.
    let lines = in_the_docs(name);
    let type_in = |typed: &[String]| {
        slurm.run(
            Command::new("bash")
                .args(["-euc", &format!("{HERE}{}", typed.join("\n"))])
                .current_dir(packed.folder.path()),
        )
    };
    let array_of = |said: &str| {
        let job = said.lines().find_map(|line| line.strip_prefix("Submitted batch job ")).unwrap();
        job.parse::<u32>().unwrap() - 1
    };
    let cancelled = array_of(&type_in(&lines[..4]));
    let out = packed.path("work/parts");
    let logs = || {
        let files = fs::read_dir(out.join("logs")).into_iter().flatten().flatten();
        files.map(|file| fs::read_to_string(file.path()).unwrap_or_default()).collect::<String>()
            + &slurm.jobs()
    };
    // It is cancelled, and submitted again by the same command.
    wait_long("a slice to come home", &logs, &mut || home(&out) > 0);
    slurm.run(Command::new("scancel").args([cancelled, cancelled + 1].map(|job| job.to_string())));
    wait_long("the cancelled jobs to end", &logs, &mut || slurm.jobs().is_empty());
    let finished: Vec<Value> = slices(&out).into_iter().filter(|slice| slice["state"] == "done").collect();
    let job = array_of(&type_in(&lines[3..4]));
    let both = |slices: Vec<Value>| {
        ["1", "2"]
            .iter()
            .all(|number| slices.iter().any(|slice| slice["element"] == format!("slurm {job}_{number}")))
    };
    wait_long("both elements run", &logs, &mut || both(slices(&out)));
    // One is put into the queue again: it ends in order, and goes on with its own.
    slurm.run(Command::new("scontrol").args(["requeue", &format!("{job}_1")]));
    wait_long("the first to bring its results home", &logs, &mut || {
        logs().contains("ended by SIGTERM; what was finished is home")
    });
    // The other's node loses its power, and comes up again.
    slurm.kill_node("n2");
    wait_long("the guests of a node to end with it", &logs, &mut || {
        with_variable("SLURMD_NODENAME=n2").is_empty()
    });
    slurm.node("n2");
    wait_long("all jobs to end", &logs, &mut || slurm.jobs().is_empty());
    let logs = logs();
    assert!(logs.contains(&format!("all {TRIALS} trials have a result")), "{logs}");
    assert!(out.join(format!("{name}.html")).is_file());
    let all = slices(&out);
    assert_eq!(all.len(), 16);
    assert!(all.iter().all(|slice| slice["state"] == "done"), "{all:?}");
    // What the cancelled job had finished was not run again.
    let who = |slice: &Value| (slice["shard"].clone(), slice["token"].clone());
    assert!(
        !finished.is_empty() && finished.iter().all(|slice| all.iter().any(|one| who(one) == who(slice)))
    );
    let said = type_in(&lines[4..]);
    assert!(said.contains(&format!("all {TRIALS} trials have a result")), "{said}");
    assert!(
        results(packed.campaign.file().to_str().unwrap()) == packed.calm,
        "the results are others than on one machine"
    );
}

/// What stands for the other machine, and for cargo.
const HERE: &str =
    "scp() { if [ \"$1\" = -r ]; then cp -r work/parts .; else mkdir work; cp \"${@:1:$#-1}\" work; fi; }
ssh() { bash -euc \"$2\"; }
cargo() { shift; \"$XTASK\" \"$@\"; }
";

/// The commands in docs/cluster.md, on this campaign, which is drawn already, and for two nodes with a core each.
fn in_the_docs(name: &str) -> Vec<String> {
    let docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cluster.md")).unwrap();
    let block = docs.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let mut lines: Vec<String> = block.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 5, "{block}");
    assert!(lines[0].starts_with("cargo xtask campaign new big --trials "));
    lines[0] = format!("cargo xtask campaign status {name}");
    assert!(lines[4].contains("after scp -r cluster:work/parts ."));
    lines[4] = format!("scp -r cluster:work/parts .\n{}", lines[4]);
    lines.iter().map(|line| line.replace("big", name).replace("--nodes 8", "--nodes 2 --cpus 1")).collect()
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_pack_is_run_by_anyone_anywhere_and_what_is_finished_is_home() {
    // All of it where small disks can be mounted, if there is such a place.
    let disks = disks("cluster::a_pack_is_run_by_anyone_anywhere_and_what_is_finished_is_home");
    if disks == Disks::Passed {
        return;
    }
    let packed = Packed::new("pack").pack();
    // The same campaign, the same pack.
    let again = packed.path("again.pack");
    ok(&["campaign", "pack", &packed.campaign.0, "-o", again.to_str().unwrap(), "--slices", "6"]);
    assert!(fs::read(&again).unwrap() == fs::read(packed.path("c.pack")).unwrap());
    unasked_or_damaged_nothing_runs(&packed, &again);
    // What all machines see is seldom a file system of this one.
    let here = disks == Disks::Here;
    let shared = here.then(|| Disk::mount_by_fuse(&packed.path("behind"), &packed.path("hurried"))).flatten();
    signals_and_kills(&packed);
    drop(shared);
    by_another_user_without_the_lab(&packed);
    in_parallel(&packed);
    if here {
        with_a_full_disk(&packed);
    }
}

fn unasked_or_damaged_nothing_runs(packed: &Packed, other: &Path) {
    let refused = |command: &mut Command| {
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        text(&output)
    };
    let mut unasked = Command::new(packed.path("flipsim-run"));
    let said = refused(unasked.arg(packed.path("c.pack")).env("HOME", packed.folder.path()));
    assert!(said.contains("--trust") && said.contains(&packed.digest), "{said}");
    let mut bytes = fs::read(other).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(other, &bytes).unwrap();
    let mut damaged = Command::new(packed.path("flipsim-run"));
    let said = refused(damaged.arg(other).args(["--check", "--trust", &packed.digest]));
    assert!(said.contains("is damaged") && said.contains("another digest"), "{said}");
    bytes.truncate(middle);
    fs::write(other, &bytes).unwrap();
    let said = refused(Command::new(packed.path("flipsim-run")).arg(other).args([
        "--check",
        "--trust",
        &packed.digest,
    ]));
    assert!(said.contains("is damaged"), "{said}");
    let said = refused(Command::new(packed.path("flipsim-run")).arg(packed.path("flipsim-run")));
    assert!(said.contains("is no pack"), "{said}");
    assert!(!packed.path("parts").exists());
}

fn signals_and_kills(packed: &Packed) {
    let out = packed.path("hurried");
    let start = |variables: &[(&str, &str)]| {
        let mut command = packed.runner("hurried");
        command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::start(&mut command)
    };
    // Time is short: what is finished is home, and it is to be run again.
    let run =
        start(&[("FLIPSIM_FILE_SYSTEM", "NFS"), ("SLURM_ARRAY_JOB_ID", "5"), ("SLURM_ARRAY_TASK_ID", "1")]);
    wait_until("a slice", || home(&out) > 0);
    let before = Instant::now();
    send(run.0.id(), Signal::USR1);
    let output = run.output();
    assert_eq!(output.status.code(), Some(75), "{}", text(&output));
    assert!(before.elapsed() < Duration::from_secs(30));
    let ended = home(&out);
    // Killed: the same element goes on with what it had.
    let mut run = start(&[("SLURM_ARRAY_JOB_ID", "5"), ("SLURM_ARRAY_TASK_ID", "1")]);
    wait_until("more", || home(&out) > ended);
    let pid = run.0.id();
    run.kill();
    wait_until("its guests to end", || !qemu_with(&format!("pack-{pid}-")));
    let output = start(&[("SLURM_ARRAY_JOB_ID", "5"), ("SLURM_ARRAY_TASK_ID", "1")]).output();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("all is done"), "{}", text(&output));
    packed.compare("hurried");
}

/// By a user who has nothing, in a root folder that holds the pack alone.
fn by_another_user_without_the_lab(packed: &Packed) {
    if !rustix::process::geteuid().is_root() {
        return say("SKIPPED, a pack run by another user in another root: it takes root");
    }
    let root = packed.path("root");
    for folder in ["proc", "dev", "tmp", "home"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for folder in ["tmp", "home"] {
        fs::set_permissions(root.join(folder), fs::Permissions::from_mode(0o1777)).unwrap();
    }
    fs::write(root.join("dev/null"), "").unwrap();
    for name in ["flipsim-run", "c.pack"] {
        fs::copy(packed.path(name), root.join(name)).unwrap();
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let script = format!(
        "mount --bind /dev/null dev/null && mount -t proc proc proc && exec chroot --userspec=65534:65534 . \
         /flipsim-run /c.pack --out /home/parts --shard 2/6 --trust {}",
        packed.digest
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "-p", "-f", "--kill-child", "sh", "-c", &script]).current_dir(&root).env_clear();
    let output = command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let seen = slices(&root.join("home/parts"));
    assert_eq!((seen.len(), &seen[0]["state"]), (1, &Value::from("done")));
    assert!(fs::read_dir(root.join("tmp")).unwrap().next().is_none(), "it leaves nothing");
}

/// The line in docs/cluster.md.
fn in_parallel(packed: &Packed) {
    if !Command::new("parallel").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return say("SKIPPED, a pack run by GNU parallel: it is not installed");
    }
    let line = format!(
        "seq 2 | parallel './flipsim-run c.pack --out many --workers 1 --trust {} # {{}}'",
        packed.digest
    );
    let output = Command::new("bash").args(["-c", &line]).current_dir(packed.folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let elements: std::collections::BTreeSet<String> =
        slices(&packed.path("many")).iter().map(|slice| slice["element"].to_string()).collect();
    assert_eq!(elements.len(), 2, "{elements:?}");
    packed.compare("many");
}

fn with_a_full_disk(packed: &Packed) {
    let disk = Disk::mount(&packed.path("disk"), "size=64m");
    let output = packed.runner("full").arg("--scratch").arg(packed.path("disk")).output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{}", text(&output));
    assert!(text(&output).contains("are needed; make room"), "{}", text(&output));
    disk.remount("size=1g");
    // It fills while a slice is run: what was finished is home all the same.
    let mut command = packed.runner("full");
    command.arg("--scratch").arg(packed.path("disk")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = Running::start(&mut command);
    wait_until("a slice", || home(&packed.path("full")) > 0);
    disk.fill(0);
    let output = run.output();
    assert_eq!(output.status.code(), Some(75), "{}", text(&output));
    disk.free();
    let output = packed.runner("full").arg("--scratch").arg(packed.path("disk")).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    packed.compare("full");
}
