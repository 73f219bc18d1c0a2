//! A program of the user's as a workload: added, run, hit, taken out again.

use std::io::BufRead;

use super::*;

/// A service of a few million instructions, whose result depends on each; with a word it does what a service must not.
const SERVICE: &str = r#"
#include <stdint.h>
#include <stdio.h>
#include <time.h>
static uint64_t table[1 << 14];
int main(int count, char **words)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < 1 << 20; i++)
        table[i % (1 << 14)] += i * i + (table[(i * 7) % (1 << 14)] >> 3);
    for (int i = 0; i < 1 << 14; i++)
        sum = sum * 31 + table[i];
    printf("sum %016llx\n", (unsigned long long)sum);
    fprintf(stderr, "corrected 0\n");
    if (count > 1 && *words[1] == 't') {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        printf("took %ld ns\n", now.tv_sec * 1000000000L + now.tv_nsec);
    }
    if (count > 1 && *words[1] == 's')
        *(volatile int *)0 = 1;
    return 0;
}
"#;

/// A source tree of links, with the service compiled for the lab's guests in it.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Scratch {
        let scratch = Scratch(tree_of_links());
        std::fs::write(scratch.at("service.c"), SERVICE).expect("a file can be written");
        let arch = flipsim::arch::Arch::default();
        let native = arch.name == std::env::consts::ARCH;
        let compiler = if native { "gcc".to_owned() } else { format!("{}-gcc", arch.cross_triple) };
        for (name, options) in [("service", &["-static"][..]), ("dynamic", &[])] {
            let mut command = Command::new(&compiler);
            command.args(["-O2", "-o", name, "service.c"]).args(options).current_dir(scratch.0.path());
            assert!(command.status().expect("the compiler that made the lab is there").success());
        }
        scratch
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.env("CARGO_MANIFEST_DIR", self.at("xtask")).current_dir(self.0.path());
        command.args(line.split(' ')).stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> (Option<i32>, String) {
        let output = self.command(line).output().expect("the program was built for this test");
        (output.status.code(), text(&output))
    }

    fn ok(&self, line: &str) -> String {
        let (code, said) = self.run(line);
        assert_eq!(code, Some(0), "{line}:\n{said}");
        said
    }

    fn refused(&self, line: &str) -> String {
        let (code, said) = self.run(line);
        assert_eq!(code, Some(2), "{line}:\n{said}");
        said
    }

    /// Those of these tests; the lab's user may have others.
    fn services(&self) -> Vec<Value> {
        let all: Vec<Value> = serde_json::from_str(&self.ok("image list --json")).expect("JSON");
        let is_ours = |row: &Value| row["own"] == true && (row["name"] == "mine" || row["name"] == "linked");
        all.into_iter().filter(is_ours).collect()
    }
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_program_of_the_user_s_is_a_workload_until_it_is_removed() {
    let scratch = Scratch::new();
    let said = scratch.ok("image add mine --binary service");
    assert!(said.contains("the same output in three boots") && said.contains("  | sum "), "{said}");
    let first = scratch.services();
    // The libraries of a dynamically linked one are found, and it says the same.
    scratch.ok("image add linked --binary dynamic");
    // The same files are the same image.
    scratch.ok("image add mine --binary service --replace");
    let both = scratch.services();
    assert_eq!(both.len(), 2);
    assert_eq!(both[0]["digest"], both[1]["digest"]);
    let again = both.iter().find(|row| row["name"] == "mine").expect("it is there");
    assert_eq!((&again["image"], &again["digest"]), (&first[0]["image"], &first[0]["digest"]));

    std::fs::write(scratch.at("spec.toml"), "trials = 20\n[guest]\nworkload = \"mine\"\ncount = 'corrected (\\d+)'\n[[stratum]]\nname = \"core\"\ntargets = [\"class:core\"]\n")
        .expect("a file can be written");
    scratch.ok("campaign new one --seed 3 --spec spec.toml");
    scratch.ok("campaign run one --quiet");
    let said = scratch.ok("campaign status one");
    assert!(said.contains("20"), "{said}");
    let lines = scratch.ok("campaign export one");
    let outcomes: Vec<Value> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(outcomes.len(), 20, "{lines}");
    assert!(outcomes.iter().all(|row| row["record"]["outcome"].is_string()), "{lines}");
    // A fresh guest runs it as well, in rounds, each compared with the first; the flip comes when all are over.
    let rounds = "--append flipsim.repeat=3 --fresh --workload mine --seed 7";
    let said = scratch.ok(&format!("inject auto 1 500ms 501ms ram {rounds}"));
    assert!(said.contains("workload mine ended with status ok"), "{said}");

    let said = scratch.ok("image remove mine");
    assert!(said.contains("one: can be read and reported"), "{said}");
    scratch.ok("report one");
    assert!(
        scratch.refused("campaign replay one --trial 1").contains("--workload mine: the lab's image has")
    );
    // Added again it is the same guest.
    scratch.ok("image add mine --binary service");
    scratch.ok("campaign replay one --trial 1");
    scratch.ok("image add mine --again");
}

#[test]
#[ignore = "boots a guest; `cargo xtask test` runs it"]
fn a_service_that_is_no_workload_is_refused_and_a_kill_leaves_nothing() {
    let scratch = Scratch::new();
    std::fs::write(scratch.at("time"), "#!/bin/sh\n./service t\n").expect("a file can be written");
    std::fs::write(scratch.at("dies"), "#!/bin/sh\n./service s\n").expect("a file can be written");
    std::fs::create_dir(scratch.at("files")).expect("a folder can be made");
    std::fs::copy(scratch.at("service"), scratch.at("files/service")).expect("a file can be copied");
    let arch = flipsim::arch::Arch::default();
    let add = |script: &str| format!("image add mine --arch {arch} --binary {script} --files files");
    let said = scratch.refused(&add("time"));
    assert!(said.contains("prints something else each time: line 3 is `took"), "{said}");
    let said = scratch.refused(&add("dies"));
    assert!(said.contains("mine died of signal 11 without any fault") && said.contains("  | "), "{said}");
    assert!(scratch.services().is_empty());

    let mut child = Running::start(scratch.command("image add mine --binary service").stderr(Stdio::piped()));
    let mut lines = std::io::BufReader::new(child.0.stderr.take().expect("it is piped")).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line.contains("boot 1 of 3"))), "it booted");
    child.kill();
    wait_until("the guest ends with the command", || !qemu_with(&scratch.0.path().display().to_string()));
    assert!(scratch.services().is_empty());
    scratch.ok("image add mine --binary service");
}
