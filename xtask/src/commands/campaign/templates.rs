//! `campaign new --templates`: several campaigns of one specification, each with a template and a golden run of its own.
//!
//! Invariant: no campaign is made where the file of one of them exists.

use anyhow::{Context, Result, bail};
use flipsim::campaign::CampaignSpec;
use flipsim::campaign::size::Size;
use flipsim::text::shown;

use crate::exit::{Code, ExitWith, exit_error};
use crate::guest::spec::GuestSpec;
use crate::host::proc::quote;
use crate::lab::campaigns::files::path_of;
use crate::paths;

/// What gives the lab's workloads other data, on the kernel's command line.
const SEED: &str = "flipsim.seed=";

/// What is wanted of several campaigns.
pub struct Wanted<'a> {
    /// The name that gets a number.
    pub name: &'a str,
    /// How many.
    pub count: u32,
    /// Whether they are only shown, and the guest of the first is tried out.
    pub check: bool,
    /// Whether another campaign is to share the trials.
    pub pilot: bool,
}

/// Makes the campaigns of this specification, each as `make` makes one, or shows them.
pub fn run(
    wanted: &Wanted<'_>,
    spec: &CampaignSpec,
    make: &dyn Fn(CampaignSpec) -> Result<()>,
) -> Result<()> {
    let Wanted { name, count, check, pilot } = *wanted;
    if pilot {
        bail!(exit_error(
            Code::Usage,
            "--pilot shares the trials of one golden run; without --templates, or with `trials` of each stratum in the file"
        ));
    }
    let specs = of_templates(spec, count)?;
    let there: Result<Vec<_>> = specs.iter().map(|spec| path_of(&spec.name)).collect();
    if let Some(path) = there?.iter().find(|path| path.exists()).filter(|_| !check) {
        bail!(exit_error(
            Code::Usage,
            format!(
                "{} exists already; no campaign was made; choose another name, or remove it",
                paths::show(path)
            )
        ));
    }
    outln!("{count} campaigns of {}, the trials shared equally:", shown(name, 100));
    for (number, spec) in (1..).zip(&specs) {
        let trials = match spec.size {
            Some(Size::Trials(trials)) => format!("{trials} trials"),
            _ => "trials as its strata say".to_owned(),
        };
        outln!("  {}: {trials}, seed {}, {SEED}{number}", shown(&spec.name, 100), spec.seed);
    }
    let guest: GuestSpec = serde_json::from_value(spec.guest.clone())?;
    if !guest.speaks_as_ours() {
        outln!(
            "note: the lab's workloads take other data by {SEED}K; a guest of your own has to read it in /proc/cmdline, else its \
             golden runs differ in the kernel's command line alone"
        );
    }
    if check {
        let [first, ..] = specs.as_slice() else { return Ok(()) };
        outln!("the first of them:");
        return make(first.clone());
    }
    for (at, spec) in specs.iter().enumerate() {
        make(spec.clone()).with_context(|| match at {
            0 => "no campaign was made".to_owned(),
            1 => format!("{} was made, the others were not; remove it before the same again", specs[0].name),
            _ => format!(
                "{} to {} were made, the others were not; remove them before the same again",
                specs[0].name,
                specs[at - 1].name
            ),
        })?;
    }
    let names: Vec<String> = specs.iter().map(|spec| quote(&spec.name).to_string()).collect();
    outln!("next:");
    for name in &names {
        outln!("  cargo xtask campaign run {name}");
    }
    outln!("then: cargo xtask report runs {}", names.join(" "));
    Ok(())
}

/// The specifications, each with other data of its workload.
fn of_templates(spec: &CampaignSpec, count: u32) -> Result<Vec<CampaignSpec>> {
    let mut specs = spec.templates(count).exit_with(Code::Usage)?;
    let guest: GuestSpec = serde_json::from_value(spec.guest.clone())?;
    if guest.cmdline.is_some() {
        bail!(exit_error(
            Code::Usage,
            format!(
                "templates differ by {SEED}K behind --append, and --cmdline is the kernel's whole command line; make a campaign \
                 for each one, and evaluate them with `report runs`"
            )
        ));
    }
    if guest.append.split_whitespace().any(|word| word.starts_with(SEED)) {
        bail!(exit_error(
            Code::Usage,
            format!("`{}` has a {SEED} already, and each template gets its own; leave it out", guest.append)
        ));
    }
    for (number, spec) in (1..).zip(&mut specs) {
        let append = format!("{} {SEED}{number}", guest.append).trim().to_owned();
        spec.guest = serde_json::to_value(GuestSpec { append, ..guest.clone() })?;
    }
    Ok(specs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flipsim::testing::fake_campaign;

    fn spec(guest: serde_json::Value) -> CampaignSpec {
        CampaignSpec { guest, ..fake_campaign::spec(11, &["range:0x40000000+1M"]) }
    }

    #[test]
    fn each_template_has_other_data_another_seed_and_its_part_of_the_trials() {
        let made =
            of_templates(&spec(serde_json::json!({ "workload": "sha256", "append": "quiet" })), 3).unwrap();
        let appends: Vec<&str> = made.iter().filter_map(|spec| spec.guest["append"].as_str()).collect();
        assert_eq!(appends, ["quiet flipsim.seed=1", "quiet flipsim.seed=2", "quiet flipsim.seed=3"]);
        let sizes: Vec<_> = made.iter().filter_map(|spec| spec.size).collect();
        assert_eq!(sizes, [Size::Trials(4), Size::Trials(4), Size::Trials(3)]);
        assert!(made[0].seed != made[1].seed && made[1].seed != made[2].seed && made[0].seed != made[2].seed);
        assert!(made.iter().all(|spec| spec.guest["workload"] == "sha256"));
        let plain = of_templates(&spec(serde_json::json!({ "workload": "sha256" })), 2).unwrap();
        assert_eq!(plain[1].guest["append"], "flipsim.seed=2");
    }

    #[test]
    fn what_cannot_be_told_apart_is_refused() {
        for guest in [
            serde_json::json!({ "cmdline": "console=ttyS0", "ready": "login" }),
            serde_json::json!({ "workload": "sha256", "append": "flipsim.seed=7" }),
        ] {
            let error = of_templates(&spec(guest), 2).unwrap_err();
            assert_eq!(crate::exit::code_of(&error), 2, "{error}");
        }
    }
}
