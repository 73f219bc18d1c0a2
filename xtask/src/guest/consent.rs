//! Whether a guest that a file describes may be run here: a file of somebody else's decides what QEMU does.
//!
//! Invariant: **nothing of a file that was not made here runs before its user has said yes**, and arguments for QEMU
//! that are more than harmless take a word of their own. What is asked about is known by a digest of all that decides
//! what is executed.

use anyhow::{Context, Result};
use flipsim::campaign::Store;
use flipsim::machine::arguments;
use flipsim::report::look::visible;
use serde_json::{Value, json};

use super::golden::TrialGuest;
use super::plan::GuestArgs;
use super::spec::GuestSpec;
use crate::exit::{Code, ExitWith, exit_error};
use crate::host::ask::{ask, is_yes};
use crate::host::proc::quote;
use crate::lab::digest;
use crate::lab::trusted::Trusted;

/// What the user says beforehand.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct Trust {
    /// Run the guest of a file that was not made here, without being asked
    #[arg(long)]
    pub trust: bool,
    /// The same where its arguments for QEMU may reach files, programs or the network of this host
    #[arg(long)]
    pub trust_qemu_args: bool,
}

/// A guest that a file describes.
pub struct FromFile<'a> {
    /// The file, as the user names it.
    name: &'a str,
    guest: &'a GuestSpec,
    digest: String,
    /// How the user looks at it without running anything, as a clause.
    look: String,
}

fn key(kind: &str, what: Value) -> String {
    digest::of_bytes(json!([kind, what]).to_string().as_bytes())
}

/// All of a campaign that decides what is executed.
fn campaign_key(store: &Store) -> String {
    let (spec, manifest) = (store.spec(), store.manifest());
    let what = json!({
        "guest": spec.guest, "window": spec.window, "spacing": spec.trial.spacing, "template": manifest.template,
        "golden": manifest.golden, "inputs": manifest.inputs, "plan": store.plan_digest(),
    });
    key("campaign", what)
}

fn trial_key(guest: &TrialGuest, template: &str) -> String {
    key("trial", json!({ "guest": guest, "template": template }))
}

/// Notes that a campaign was made here.
pub fn made_here(store: &Store) {
    note(&campaign_key(store));
}

/// Notes that the guest of a trial was run here.
pub fn trial_made_here(guest: &TrialGuest, template: &str) {
    note(&trial_key(guest, template));
}

/// What was made is there, and without the note it is only asked about.
fn note(digest: &str) {
    if let Err(error) = Trusted::of_the_lab().and_then(|trusted| trusted.note(digest)) {
        eprintln!("note: {error:#}; you will be asked before it is run");
    }
}

/// Asks whether a campaign may be run, unless it was made here.
pub fn of_campaign(store: &Store, guest: &TrialGuest, trust: Trust) -> Result<()> {
    let name = store.path().display().to_string();
    let look = format!("`cargo xtask campaign stats {}` shows it and runs nothing", quote(&name));
    FromFile { name: &name, guest: &guest.spec, digest: campaign_key(store), look }.require(trust)
}

/// Asks whether the guest of a trial in a file may be run, unless that was made here.
pub fn of_trial(name: &str, guest: &TrialGuest, template: &str, trust: Trust) -> Result<()> {
    let look = "its key `guest` says what it is".to_owned();
    FromFile { name, guest: &guest.spec, digest: trial_key(guest, template), look }.require(trust)
}

/// Asks whether a campaign's specification may be used. It is its user's own text, and so only asked about where its
/// arguments for QEMU are more than harmless. `flags` win over what it says.
pub fn of_spec_file(name: &str, file: &GuestSpec, flags: &GuestSpec, trust: Trust) -> Result<()> {
    let arguments = if flags.qemu_arg.is_empty() { file.qemu_arg.clone() } else { Vec::new() };
    let machine = if flags.machine.is_none() { file.machine.clone() } else { None };
    if arguments::not_harmless(&arguments, machine.as_deref()).is_empty() {
        return Ok(());
    }
    let guest = file.overlaid(flags)?;
    let digest = key("spec", json!({ "qemu-args": arguments, "machine": machine }));
    FromFile { name, guest: &guest, digest, look: "its table [guest] has them".to_owned() }.require(trust)
}

impl FromFile<'_> {
    fn require(&self, trust: Trust) -> Result<()> {
        let trusted = Trusted::of_the_lab()?;
        if trusted.has(&self.digest) {
            return Ok(());
        }
        // What would be refused in any case is no question.
        arguments::check(&self.guest.qemu_arg).exit_with(Code::Usage)?;
        self.guest.machine.as_deref().map_or(Ok(()), arguments::check_machine).exit_with(Code::Usage)?;
        let more = arguments::not_harmless(&self.guest.qemu_arg, self.guest.machine.as_deref());
        let name = shown(self.name);
        if !more.is_empty() && !trust.trust_qemu_args {
            let why = format!(
                "{name} was not made here, and its arguments for QEMU may reach files, programs or the network of this \
                 host: {}",
                more.join(", ")
            );
            let agreed =
                self.ask(&why, "Type `arguments` to run it with them, anything else to leave it:")?;
            if agreed.as_deref() != Some("arguments") {
                let remedy =
                    "--trust-qemu-args lets them through, if you know what they do (--trust alone does not)";
                return Err(self.refused(agreed.as_deref(), format!("{why}; {}; {remedy}", self.look)));
            }
        } else if !trust.trust && !trust.trust_qemu_args {
            let why = format!("{name} was not made here, and says what QEMU runs on this host");
            let agreed = self.ask(&why, "Run it? [y/N]")?;
            if !is_yes(agreed.as_deref()) {
                let line = self.command_line().unwrap_or_else(|error| format!("nothing so far ({error:#})"));
                let text = format!("{why}; {}; --trust runs this:\n  {line}", self.look);
                return Err(self.refused(agreed.as_deref(), text));
            }
        } else if let Ok(line) = self.command_line() {
            eprintln!("note: {name} was not made here; as you said, this is run: {line}");
        }
        trusted.note(&self.digest)
    }

    /// What was not agreed to; with the remedy where there was no terminal to ask on.
    fn refused(&self, answer: Option<&str>, remedy: String) -> anyhow::Error {
        let text = match answer {
            Some(_) => format!("{} is not run, as you said", shown(self.name)),
            None => remedy,
        };
        exit_error(Code::Usage, text)
    }

    /// Shows what would be run, and asks.
    fn ask(&self, why: &str, question: &str) -> Result<Option<String>> {
        let line = match self.command_line() {
            Ok(line) => line,
            // Without a lab nothing can be run, and the guest's own words are all there is.
            Err(error) => format!("nothing so far ({error:#})"),
        };
        ask(&format!("{why}.\nThis would be run:\n  {line}\n{question}"))
    }

    /// QEMU's whole command line, fit to be printed.
    fn command_line(&self) -> Result<String> {
        let args = GuestArgs { spec: self.guest.clone().with_defaults()?, ..GuestArgs::default() };
        let plan = args.template_plan().context("the guest cannot be planned")?;
        let spec = plan.boot_spec();
        let words = std::iter::once(spec.qemu.as_os_str().to_owned()).chain(spec.argv());
        Ok(shown(&words.map(quote).collect::<Vec<_>>().join(" ")))
    }
}

/// A text in one line that does nothing to a terminal.
fn shown(text: &str) -> String {
    visible(text).replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(arguments: &[&str]) -> GuestSpec {
        GuestSpec {
            qemu_arg: arguments.iter().map(|&word| word.to_owned()).collect(),
            ..GuestSpec::default()
        }
    }

    fn code(result: &Result<()>) -> u8 {
        crate::exit::code_of(result.as_ref().unwrap_err())
    }

    // Tests have no terminal, and these digests were never agreed to.
    #[test]
    fn a_file_with_more_than_harmless_arguments_takes_a_word_of_its_own() {
        let file = guest(&["-device", "loader,file=/etc/shadow"]);
        let trust = Trust { trust: true, trust_qemu_args: false };
        let refused = of_spec_file("their.toml", &file, &GuestSpec::default(), trust);
        let said = refused.as_ref().unwrap_err().to_string();
        assert!(said.contains("their.toml") && said.contains("-device loader,file=/etc/shadow"), "{said}");
        assert!(said.contains("--trust-qemu-args"), "{said}");
        assert_eq!(code(&refused), 2);
        // One's own flags take their place.
        of_spec_file("x", &file, &guest(&["-no-acpi"]), Trust::default()).unwrap();
        of_spec_file("x", &guest(&["-device", "virtio-rng-pci"]), &GuestSpec::default(), Trust::default())
            .unwrap();
    }

    #[test]
    fn what_the_lab_relies_on_is_refused_whatever_is_trusted() {
        let trust = Trust { trust: true, trust_qemu_args: true };
        let file = guest(&["-incoming", "exec:id"]);
        let refused = of_spec_file("their.toml", &file, &GuestSpec::default(), trust);
        assert!(refused.as_ref().unwrap_err().to_string().contains("-incoming"));
        assert_eq!(code(&refused), 2);
    }

    #[test]
    fn names_and_command_lines_are_one_line_without_escapes() {
        assert_eq!(shown("a\u{1b}[2J\nRun it? [y/N] y"), "a\\x1b[2J\\nRun it? [y/N] y");
    }
}
