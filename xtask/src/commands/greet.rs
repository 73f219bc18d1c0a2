//! `cargo xtask` alone: where the lab stands, and the next step.
//!
//! Invariant: it changes nothing, and what cannot be read is said, not fatal: a newcomer's first line.

use anyhow::Result;
use flipsim::arch::Arch;
use flipsim::campaign::Store;
use flipsim::machine::folder::RunDir;
use flipsim::text::visible;

use crate::guest::{headless, plan};
use crate::lab::campaigns::files;
use crate::lab::config;
use crate::lab::in_use::{Lab, Origin};
use crate::paths;

/// Where the lab stands.
struct Standing {
    arch: Arch,
    /// What it is made of, or what is missing.
    lab: Result<String, String>,
    /// The other architectures that the lab is set up for.
    others: Vec<Arch>,
    /// The guests whose QEMU runs, each with its state.
    guests: Vec<String>,
    /// How many campaigns there are, and the last of them.
    campaigns: (usize, Option<Campaign>),
}

/// A campaign, in short.
struct Campaign {
    name: String,
    done: u64,
    trials: u64,
    /// The process that works on it.
    running: Option<u32>,
    /// Whether it cannot be read.
    damaged: bool,
}

/// Prints it.
pub fn run() -> Result<()> {
    let arch = config::Config::load()?.guest.arch;
    // A folder that cannot be read has nothing in it for us.
    let guests = guests().unwrap_or_default();
    let campaigns = campaigns().unwrap_or_default();
    let others = Arch::all().filter(|other| *other != arch && lab(*other).is_ok()).collect();
    let standing = Standing { arch, lab: lab(arch), others, guests, campaigns };
    outln!("{}", visible(&text(&standing)));
    Ok(())
}

fn lab(arch: Arch) -> Result<String, String> {
    let ready = Lab::load().and_then(|lab| lab.ready(arch)).map_err(|error| format!("{error:#}"))?;
    let version = |origin: &Origin| origin.version.lines().next().unwrap_or_default().to_owned();
    let kernel = version(&ready.kernel.origin);
    Ok(format!("{}, kernel {kernel}, and an image", version(&ready.qemu.origin)))
}

fn guests() -> Result<Vec<String>> {
    let all = RunDir::list(&plan::runs_dir()?)?;
    let running = all.into_iter().filter(|(_, record)| record.process.is_some_and(|it| it.is_alive()));
    Ok(running.map(|(run, record)| format!("{} ({})", record.name, headless::state_of(&run))).collect())
}

fn campaigns() -> Result<(usize, Option<Campaign>)> {
    let files = files::files_in(&paths::lab_dir()?.join("campaigns"));
    let last = files.last().and_then(|path| {
        let name = path.file_stem()?.to_str()?.to_owned();
        let Ok(status) = Store::open_readonly(path).and_then(|store| store.status()) else {
            return Some(Campaign { name, done: 0, trials: 0, running: None, damaged: true });
        };
        let (done, trials, running) = (status.done, status.trials, status.running);
        Some(Campaign { name, done, trials, running, damaged: false })
    });
    Ok((files.len(), last))
}

fn text(standing: &Standing) -> String {
    let Standing { arch, lab, others, guests, campaigns: (count, last) } = standing;
    let mut lab_line = match lab {
        Ok(parts) => format!("{parts}, for {arch}"),
        Err(why) => why.clone(),
    };
    for other in others {
        lab_line += &format!("; set up for {other} (--arch {other})");
    }
    let guests = match guests.as_slice() {
        [] => "none runs".to_owned(),
        names => names.join(", "),
    };
    let campaigns = match last {
        None if *count == 0 => "none yet".to_owned(),
        None => format!("{count}"),
        Some(Campaign { name, damaged: true, .. }) => {
            format!("{count}, the last one is `{name}`, which cannot be read")
        }
        Some(Campaign { name, done, trials, .. }) => {
            format!("{count}, the last one is `{name}`: {done} of {trials} trials")
        }
    };
    let next = match (lab, last) {
        (Err(_), _) => {
            "cargo xtask inject, which builds what is missing, flips the first bits, and ends with a report"
                .to_owned()
        }
        (Ok(_), None) => "cargo xtask inject, for the first flips and a first report".to_owned(),
        (Ok(_), Some(last)) if last.damaged => format!("cargo xtask campaign check {}", last.name),
        (Ok(_), Some(last)) if last.running.is_some() => format!("cargo xtask campaign status {}", last.name),
        (Ok(_), Some(last)) if last.done < last.trials => {
            format!("cargo xtask campaign run {}", last.name)
        }
        (Ok(_), Some(last)) => format!("cargo xtask report {}", last.name),
    };
    format!(
        "The lab        {lab_line}\nGuests         {guests}\nCampaigns      {campaigns}\nNext           {next}\n\
         All commands   cargo xtask --help; README.md is the tour"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(lab: Result<&str, &str>, last: Option<(u64, u64)>) -> Standing {
        let last = last.map(|(done, trials)| Campaign {
            name: "first".to_owned(),
            done,
            trials,
            running: None,
            damaged: trials == 0,
        });
        Standing {
            arch: Arch::default(),
            lab: lab.map(str::to_owned).map_err(str::to_owned),
            others: Vec::new(),
            guests: vec!["g1 (running)".to_owned(), "g2 (panicked)".to_owned()],
            campaigns: (usize::from(last.is_some()), last),
        }
    }

    #[test]
    fn the_next_step_is_the_one_that_is_next() {
        let missing = "not set up for aarch64 yet: QEMU; run `cargo xtask setup`";
        let parts = "QEMU emulator version 7.1.0, kernel 6.1, and an image";
        insta::assert_snapshot!(text(&standing(Err(missing), None)), @r"
        The lab        not set up for aarch64 yet: QEMU; run `cargo xtask setup`
        Guests         g1 (running), g2 (panicked)
        Campaigns      none yet
        Next           cargo xtask inject, which builds what is missing, flips the first bits, and ends with a report
        All commands   cargo xtask --help; README.md is the tour
        ");
        insta::assert_snapshot!(text(&standing(Ok(parts), Some((200, 200)))), @r"
        The lab        QEMU emulator version 7.1.0, kernel 6.1, and an image, for aarch64
        Guests         g1 (running), g2 (panicked)
        Campaigns      1, the last one is `first`: 200 of 200 trials
        Next           cargo xtask report first
        All commands   cargo xtask --help; README.md is the tour
        ");
        assert!(text(&standing(Ok(parts), None)).contains("Next           cargo xtask inject,"));
        let broken = text(&standing(Ok(parts), Some((0, 0))));
        assert!(
            broken
                .contains("`first`, which cannot be read\nNext           cargo xtask campaign check first\n"),
            "{broken}"
        );
        let two = Standing { others: vec!["x86_64".parse().unwrap()], ..standing(Ok(parts), None) };
        assert!(text(&two).contains("for aarch64; set up for x86_64 (--arch x86_64)\n"), "{}", text(&two));
        let half = text(&standing(Ok(parts), Some((7, 200))));
        assert!(half.contains("`first`: 7 of 200 trials") && half.contains("campaign run first"), "{half}");
    }
}
