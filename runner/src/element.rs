//! Which element of a job this process is: what each batch system says of it in the environment.
//!
//! Invariant: an element that is begun again has the same name, whatever machine it is on.

use std::collections::BTreeMap;

use flipsim::pack::ALONE;

/// A batch system: how it is recognised, and what it calls things.
struct System {
    name: &'static str,
    /// The number of the job.
    job: &'static str,
    /// The number of the element; without it, or with one that is no number, this is not such a job.
    id: &'static str,
    /// The first and the last number, and the step between two; nothing where it does not say.
    first: &'static str,
    last: &'static str,
    step: &'static str,
}

const fn row(name: &'static str, job: &'static str, id: &'static str, range: [&'static str; 3]) -> System {
    System { name, job, id, first: range[0], last: range[1], step: range[2] }
}

/// The first that fits counts: what runs within an element of another stands before it.
///
/// Sources: `sbatch(1)` and `srun(1)`, "OUTPUT ENVIRONMENT VARIABLES"; `qsub(1)` of SGE, `-t`; LSF, "Environment variables
/// reference"; PBS Professional's user guide, "Job arrays"; `parallel(1)`, PARALLEL_SEQ; HyperQueue, "Task arrays".
const SYSTEMS: [System; 8] = [
    row("parallel", "PARALLEL_PID", "PARALLEL_SEQ", ["", "", ""]),
    row("hq", "HQ_JOB_ID", "HQ_TASK_ID", ["", "", ""]),
    row(
        "slurm",
        "SLURM_ARRAY_JOB_ID",
        "SLURM_ARRAY_TASK_ID",
        ["SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX", "SLURM_ARRAY_TASK_STEP"],
    ),
    row("slurm", "SLURM_JOB_ID", "SLURM_PROCID", ["", "", ""]),
    row("sge", "JOB_ID", "SGE_TASK_ID", ["SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE"]),
    row("lsf", "LSB_JOBID", "LSB_JOBINDEX", ["", "LSB_JOBINDEX_END", "LSB_JOBINDEX_STEP"]),
    row("pbs", "PBS_JOBID", "PBS_ARRAY_INDEX", ["", "", ""]),
    // Made from the file that the variable names.
    row("condor", "ClusterId", "ProcId", ["", "TotalSubmitProcs", ""]),
];

/// The file in which HTCondor describes a job.
const CONDOR: &str = "_CONDOR_JOB_AD";

/// An element of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Its name, as in `slurm 1234_5`; `alone` outside of every batch system.
    pub name: String,
    /// Its number, from 0.
    pub index: u64,
    /// How many there are; nothing where that is not said.
    pub count: Option<u64>,
}

impl Element {
    /// By this process's environment.
    pub fn here() -> Element {
        let mut variables: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let description = variables.get(CONDOR).and_then(|path| std::fs::read_to_string(path).ok());
        for line in description.unwrap_or_default().lines() {
            if let Some((name, value)) = line.split_once(" = ") {
                variables.entry(name.to_owned()).or_insert_with(|| value.trim_matches('"').to_owned());
            }
        }
        Element::of(&variables)
    }

    fn of(variables: &BTreeMap<String, String>) -> Element {
        let number = |name: &str| variables.get(name)?.parse::<u64>().ok();
        for System { name, job, id, first, last, step } in &SYSTEMS {
            let (Some(own), Some(job)) = (number(id), variables.get(*job)) else { continue };
            // LSF says 0 of a job that is no array.
            if *name == "lsf" && own == 0 {
                continue;
            }
            let step = number(step).filter(|step| *step > 0).unwrap_or(1);
            // HTCondor says how many there are, from 0.
            let (from, to) = match (number(first), number(last)) {
                (first, Some(count)) if *name == "condor" => (first.unwrap_or(0), count.checked_sub(1)),
                (first, last) if *name == "lsf" => (first.unwrap_or(1), last),
                (Some(first), last) => (first, last),
                (None, last) => (u64::from(matches!(*name, "parallel")), last),
            };
            let index = own.saturating_sub(from) / step;
            let count = to.filter(|to| *to >= from).map(|to| (to - from) / step + 1);
            return Element { name: format!("{name} {job}_{own}"), index, count };
        }
        Element { name: ALONE.to_owned(), index: 0, count: None }
    }

    /// The slice of so many that it begins with, so that elements begin apart.
    pub fn first_of(&self, slices: u64) -> u64 {
        let all = self.count.unwrap_or(slices).max(1);
        let first = u128::from(self.index % all) * u128::from(slices) / u128::from(all);
        u64::try_from(first).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> (String, u64, Option<u64>) {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let Element { name, index, count } = Element::of(&variables.collect());
        (name, index, count)
    }

    #[test]
    fn each_batch_system_is_read_as_it_writes() {
        assert_eq!(of(&[]), ("alone".into(), 0, None));
        let slurm = [
            ("SLURM_JOB_ID", "93"),
            ("SLURM_PROCID", "0"),
            ("SLURM_ARRAY_JOB_ID", "90"),
            ("SLURM_ARRAY_TASK_ID", "5"),
            ("SLURM_ARRAY_TASK_MIN", "1"),
            ("SLURM_ARRAY_TASK_MAX", "9"),
            ("SLURM_ARRAY_TASK_STEP", "2"),
        ];
        assert_eq!(of(&slurm), ("slurm 90_5".into(), 2, Some(5)));
        assert_eq!(of(&slurm[..2]), ("slurm 93_0".into(), 0, None));
        let sge = [
            ("JOB_ID", "8"),
            ("SGE_TASK_ID", "3"),
            ("SGE_TASK_FIRST", "1"),
            ("SGE_TASK_LAST", "4"),
            ("SGE_TASK_STEPSIZE", "1"),
        ];
        assert_eq!(of(&sge), ("sge 8_3".into(), 2, Some(4)));
        assert_eq!(of(&[("JOB_ID", "8"), ("SGE_TASK_ID", "undefined")]).0, "alone");
        let lsf = [
            ("LSB_JOBID", "5"),
            ("LSB_JOBINDEX", "2"),
            ("LSB_JOBINDEX_END", "6"),
            ("LSB_JOBINDEX_STEP", "1"),
        ];
        assert_eq!(of(&lsf), ("lsf 5_2".into(), 1, Some(6)));
        assert_eq!(of(&[("LSB_JOBID", "5"), ("LSB_JOBINDEX", "0")]).0, "alone");
        let condor = [("ClusterId", "77"), ("ProcId", "3"), ("TotalSubmitProcs", "10")];
        assert_eq!(of(&condor), ("condor 77_3".into(), 3, Some(10)));
        assert_eq!(of(&[("HQ_JOB_ID", "4"), ("HQ_TASK_ID", "7")]), ("hq 4_7".into(), 7, None));
        assert_eq!(of(&[("PARALLEL_PID", "4"), ("PARALLEL_SEQ", "1")]), ("parallel 4_1".into(), 0, None));
        assert_eq!(of(&[("PBS_JOBID", "4[].srv"), ("PBS_ARRAY_INDEX", "2")]).0, "pbs 4[].srv_2");
        // What runs within an element of another goes by its own number.
        let within = [slurm.as_slice(), &[("PARALLEL_PID", "4"), ("PARALLEL_SEQ", "6")]].concat();
        assert_eq!(of(&within), ("parallel 4_6".into(), 5, None));
    }

    #[test]
    fn elements_begin_apart() {
        let first = |index, count| Element { name: String::new(), index, count }.first_of(64);
        assert_eq!((first(0, Some(8)), first(1, Some(8)), first(7, Some(8))), (0, 8, 56));
        assert_eq!((first(5, None), first(70, None)), (5, 6));
        // An array with a gap has numbers beyond its count.
        assert_eq!(first(9, Some(8)), 8);
    }
}
