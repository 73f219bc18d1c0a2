//! `campaign slurm`: the scripts that run a packed campaign on a cluster.
//!
//! Invariant: **what is written is a plain batch script**, to be read and changed; nothing is submitted unasked.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flipsim::campaign::Store;
use flipsim::files;
use flipsim::pack::Pack;

use super::pack::{self, name_of};
use crate::exit::{Code, ExitWith, exit_error};
use crate::guest::consent::Trust;
use crate::host::proc::{self, quote};
use crate::lab::campaigns::files::{path_of, store_error};
use crate::paths;

/// So many slices are cut for each element, so that those that are done first have something to take.
const SLICES: u64 = 8;

/// So many seconds before the time is over the element is asked to bring its results home.
const WARNING: u32 = 90;

/// How long `sbatch` may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Write the batch scripts that run a campaign on a Slurm cluster, and its pack.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cargo xtask campaign slurm first --nodes 8 --time 4:00:00 --dry-run
  cargo xtask campaign slurm first --nodes 8 --time 4:00:00 --partition batch
  cargo xtask campaign slurm first --nodes 200 --cpus 4 --submit

It writes first.pack, first.sbatch and first-merge.sbatch into the current folder; the cluster needs nothing else. Each
element of the array takes one slice of the campaign after the other and brings its results home to parts/. One that is
preempted, requeued or lost is gone on with where it was, on whatever node; the second job joins the parts and makes the
page. docs/cluster.md has the whole way.")]
pub struct Args {
    /// The campaign's name, or its file
    name: String,
    /// How many elements the array has: as many nodes can work at a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    nodes: u64,
    /// How many cores each element has [default: a whole node]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    cpus: Option<u32>,
    /// How long an element may take, as Slurm writes it; one that is not done is requeued [default: the partition's]
    #[arg(long, value_name = "TIME", value_parser = word)]
    time: Option<String>,
    /// The partition
    #[arg(long, value_name = "NAME", value_parser = word)]
    partition: Option<String>,
    /// The account that is charged
    #[arg(long, value_name = "NAME", value_parser = word)]
    account: Option<String>,
    /// The folder where results come together, as seen from the cluster
    #[arg(long, value_name = "DIR", default_value = "parts", value_parser = word)]
    out: String,
    /// Only show the scripts
    #[arg(long)]
    dry_run: bool,
    /// Submit both jobs with `sbatch`
    #[arg(long, conflicts_with = "dry_run")]
    submit: bool,
    #[command(flatten)]
    trust: Trust,
}

/// A word that stands in a script as it is.
fn word(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/,@+".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) && !text.starts_with('-') {
        true => Ok(text.to_owned()),
        false => Err("letters, digits and -_.:/,@+ only; change the script for anything else".to_owned()),
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let store = Store::open_readonly(&path_of(&args.name)?).map_err(store_error)?;
    let name = name_of(&store);
    let word_of_name = word(&name).map_err(|why| exit_error(Code::Usage, format!("{name}: {why}")))?;
    let slices = (args.nodes * SLICES).min(store.len());
    let place = |ending: &str| PathBuf::from(format!("{word_of_name}{ending}"));
    let packed = place(".pack");
    let digest = if args.dry_run {
        "DIGEST".to_owned()
    } else {
        match kept(&packed, &store, slices) {
            Some(digest) => digest,
            None => pack::make(&store, &packed, Some(slices), args.trust)?.digest,
        }
    };
    let files =
        [(place(".sbatch"), array(args, &name, &digest)), (place("-merge.sbatch"), merge(args, &name))];
    if args.dry_run {
        for (path, text) in &files {
            outln!("# {}\n{text}", path.display());
        }
        return Ok(());
    }
    for (path, text) in &files {
        files::write_readable(path, text.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        outln!("script: {}", paths::show(path));
    }
    outln!("pack: {}, digest {digest}, {slices} slices", paths::show(&packed));
    let [array, merge] = files.map(|(path, _)| path);
    if args.submit {
        return submit(&array, &merge, &args.out);
    }
    outln!("on the cluster, in a folder with these three files that all nodes see:");
    outln!("  mkdir -p {}/logs && job=$(sbatch --parsable {})", quote(&args.out), quote(&array));
    outln!("  sbatch --dependency=afterany:$job {}", quote(&merge));
    Ok(())
}

/// The digest of a pack that is there already, if it is this campaign's in as many slices.
fn kept(path: &Path, store: &Store, slices: u64) -> Option<String> {
    let pack = Pack::open(path).ok()?;
    let fits = pack.info().seal == store.seal() && pack.info().slices == slices;
    fits.then(|| pack.digest().get(..16).unwrap_or_default().to_owned())
}

/// Lines that both scripts begin with.
fn head(args: &Args, name: &str) -> String {
    let mut text = format!("#!/bin/bash\n#SBATCH --job-name={name}\n#SBATCH --ntasks=1\n");
    for (option, value) in [("partition", &args.partition), ("account", &args.account)] {
        if let Some(value) = value {
            _ = writeln!(text, "#SBATCH --{option}={value}");
        }
    }
    text
}

/// Takes the runner out of the pack, to a folder that is removed at the end; one that a killed job left, the next removes, as
/// a runner that has begun does not need its file.
const UNPACK: &str = "\
scratch=${SLURM_TMPDIR:-${TMPDIR:-/tmp}}
find \"$scratch\" -maxdepth 1 -name 'flipsim-run.??????' -user \"$(id -u)\" -mmin +60 -exec rm -rf {} + 2>/dev/null
own=$(mktemp -d \"$scratch/flipsim-run.XXXXXX\") || end 75
trap 'rm -rf \"$own\"' EXIT
tar -xf \"$pack\" -C \"$own\" flipsim-run || end 75
";

/// The script of the array.
fn array(args: &Args, name: &str, digest: &str) -> String {
    let mut text = head(args, name);
    let cores = args.cpus.map_or("exclusive".to_owned(), |cpus| format!("cpus-per-task={cpus}"));
    _ = writeln!(text, "#SBATCH --array=1-{}\n#SBATCH --{cores}", args.nodes);
    if let Some(time) = &args.time {
        _ = writeln!(text, "#SBATCH --time={time}");
    }
    let out = &args.out;
    text += &format!(
        "#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output={out}/logs/%A_%a.log
# {WARNING} s before the time is over: bring the results home, and be queued again.
#SBATCH --signal=B:USR1@{WARNING}

# 75: it may work elsewhere or later; 137: it was killed, as where memory ran out. Nothing that is wrong with the campaign
# ends so.
end() {{
    if {{ [ $1 -eq 75 ] || [ $1 -eq 137 ]; }} && [ \"${{SLURM_RESTART_COUNT:-0}}\" -lt 20 ]; then
        scontrol requeue \"$SLURM_JOB_ID\"
    fi
    exit $1
}}

pack={name}.pack
{UNPACK}
\"$own/flipsim-run\" \"$pack\" --out {out} --trust {digest} &
run=$!
# This shell gets the signals; the runner is to have them.
trap 'kill -USR1 $run' USR1
trap 'kill -TERM $run' TERM
while
    wait $run
    code=$?
    kill -0 $run 2>/dev/null
do :; done
end $code
"
    );
    text
}

/// The script of the job that joins the parts.
fn merge(args: &Args, name: &str) -> String {
    let out = &args.out;
    head(args, &format!("{name}-merge"))
        + &format!(
            "#SBATCH --open-mode=append
#SBATCH --output={out}/logs/merge.log

end() {{ exit $1; }}

pack={name}.pack
{UNPACK}
\"$own/flipsim-run\" \"$pack\" --out {out} --merge
"
        )
}

/// Submits both jobs.
fn submit(array: &Path, merge: &Path, out: &str) -> Result<()> {
    let logs = Path::new(out).join("logs");
    std::fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
    let sbatch = |arguments: &[&str], script: &Path| -> Result<String> {
        let mut command = Command::new("sbatch");
        command.arg("--parsable").args(arguments).arg(script);
        let said = proc::output_of("sbatch", command, LIMIT).exit_with(Code::Missing)?;
        // With a cluster's name behind it, where there are several.
        let job = said.trim().split(';').next().unwrap_or_default().to_owned();
        if job.is_empty() || !job.chars().all(|digit| digit.is_ascii_digit()) {
            bail!("sbatch said `{}`, which is no number of a job", said.trim());
        }
        Ok(job)
    };
    let job = sbatch(&[], array)?;
    let after = format!("--dependency=afterany:{job}");
    let second = sbatch(&[&after], merge)?;
    outln!("submitted: job {job}, and {second}, which joins the parts");
    outln!("  cargo xtask campaign status {}", quote(out));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_more_than_a_word_in_a_script_is_refused() {
        for text in ["4:00:00", "batch", "a/b-c.d", "1-12:00"] {
            word(text).unwrap();
        }
        for text in ["", "a b", "$(x)", "a\nb", "`x`", "-x", "a;b", "#SBATCH"] {
            assert!(word(text).is_err(), "{text}");
        }
    }
}
