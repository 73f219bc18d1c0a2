//! Tests of `plan`.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::campaign::moments::Moments;
use crate::campaign::spec::{Draw, StratumSpec, Times};
use crate::campaign::when::When;
use crate::fault::{Count, FaultTarget, FlippableRegister, Pattern, RamSpace, RegSpace};
use crate::memory::{PhysRange, RangeSet};
use crate::stats::{Confidence, Share};
use crate::trial::golden::{Idle, Span};
use crate::units::VirtualNs;

const LENGTH: VirtualNs = VirtualNs(300_000_000);

fn ram(range: &str) -> FaultSpace {
    let bytes: RangeSet = range.parse::<PhysRange>().into_iter().collect();
    FaultSpace::Ram(RamSpace::new(&bytes, Pattern::SINGLE).unwrap())
}

fn registers(count: u8) -> FaultSpace {
    let registers: Vec<FlippableRegister> = (0..count)
        .map(|number| FlippableRegister {
            name: format!("x{number}"),
            bits: 8,
            class: "core".into(),
            writable: vec![0xff],
        })
        .collect();
    FaultSpace::Reg(RegSpace::new(&registers, Pattern::SINGLE).unwrap())
}

/// A specification with so many strata.
fn spec(size: Option<Size>, strata: usize) -> CampaignSpec {
    let strata = (0..strata).map(|number| StratumSpec::new(&format!("s{number}"), vec![FaultTarget::Ram]));
    CampaignSpec { seed: 1, size, strata: strata.collect(), ..CampaignSpec::default() }
}

fn trials(trials: u64) -> Option<Size> {
    Some(Size::Trials(trials))
}

fn at(trial: &PlannedTrial) -> (u64, u32, u64) {
    let fault = &trial.plan.fault;
    let address = fault.address().expect("a fault in RAM");
    (address.0, fault.single_bit().unwrap().0, trial.plan.after.0)
}

/// Pearson's statistic of counts that should be equal.
fn chi_square(counts: &[u64]) -> f64 {
    let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    counts.iter().map(|count| (*count as f64 - expected).powi(2) / expected).sum()
}

/// What the statistic stays below with probability 0.999 (Wilson and Hilferty's approximation).
fn limit(cells: usize) -> f64 {
    let freedom = cells as f64 - 1.0;
    let part = 2.0 / (9.0 * freedom);
    freedom * (1.0 - part + 3.0902 * part.sqrt()).powi(3)
}

fn assert_uniform(what: &str, counts: &[u64]) {
    let chi = chi_square(counts);
    assert!(chi < limit(counts.len()), "{what}: chi-square {chi} of {} cells: {counts:?}", counts.len());
}

#[test]
fn the_limit_of_the_statistic_is_that_of_the_tables() {
    assert!((limit(24) - 49.73).abs() < 0.2 && (limit(101) - 149.45).abs() < 0.2);
}

#[test]
fn addresses_bits_and_times_are_drawn_uniformly_and_independently() {
    let mut plan_spec = spec(trials(100_000), 1);
    for (seed, range) in [(1, "0x40000000+128M"), (2, "0x80000000+3000"), (3, "0x1000+40")] {
        plan_spec.seed = seed;
        let plan = Plan::new(&plan_spec, LENGTH, vec![ram(range)]).unwrap();
        let range: PhysRange = range.parse().unwrap();
        let (mut addresses, mut bits, mut times, mut both) =
            (vec![0u64; 40], vec![0u64; 8], vec![0u64; 100], vec![0u64; 80]);
        for trial in plan.iter() {
            let (address, bit, time) = at(&trial);
            assert!(range.first.0 <= address && address <= range.last.0 && time < LENGTH.0);
            let cell = |value: u64, of: u64, cells: u64| {
                usize::try_from(u128::from(value) * u128::from(cells) / u128::from(of)).unwrap()
            };
            let address = address - range.first.0;
            addresses[cell(address, range.len(), 40)] += 1;
            bits[bit as usize] += 1;
            times[cell(time, LENGTH.0, 100)] += 1;
            both[cell(address, range.len(), 10) * 8 + cell(time, LENGTH.0, 8)] += 1;
        }
        assert_uniform("addresses", &addresses);
        assert_uniform("bits", &bits);
        assert_uniform("times", &times);
        assert_uniform("addresses and times", &both);
    }
}

#[test]
fn no_trial_is_drawn_twice_and_a_small_space_is_drawn_out() {
    let fixed = Times::At(vec![VirtualNs(5), VirtualNs(900), VirtualNs(70)]);
    let plan_spec = CampaignSpec { times: fixed, ..spec(trials(16 * 8 * 3), 1) };
    let plan = Plan::new(&plan_spec, LENGTH, vec![ram("0x100+16")]).unwrap();
    let drawn: HashSet<_> = plan.iter().map(|trial| at(&trial)).collect();
    assert_eq!(drawn.len(), 16 * 8 * 3);
    let times: HashSet<u64> = drawn.iter().map(|(_, _, time)| *time).collect();
    assert_eq!(times, [5, 900, 70].into());
    // One more is too many.
    let too_many = CampaignSpec { size: trials(16 * 8 * 3 + 1), ..plan_spec };
    let error = Plan::new(&too_many, LENGTH, vec![ram("0x100+16")]).unwrap_err();
    assert!(matches!(error, PlanError::TooMany { population: 384, .. }), "{error}");
}

#[test]
fn every_fault_of_a_small_space_is_drawn_as_often_as_the_others() {
    // 24 faults at one time, 6 of which are drawn, over 4,000 seeds.
    let mut counts = [0u64; 24];
    let mut pairs = [0u64; 24];
    for seed in 0..4000 {
        let plan_spec = CampaignSpec { seed, times: Times::At(vec![VirtualNs(0)]), ..spec(trials(6), 1) };
        let plan = Plan::new(&plan_spec, LENGTH, vec![ram("0+3")]).unwrap();
        let drawn: Vec<usize> = plan
            .iter()
            .map(|trial| at(&trial))
            .map(|(address, bit, _)| usize::try_from(address).unwrap() * 8 + bit as usize)
            .collect();
        drawn.iter().for_each(|fault| counts[*fault] += 1);
        // How far the second is from the first: never 0, else all the same.
        pairs[(drawn[1] + 24 - drawn[0]) % 24] += 1;
    }
    assert_uniform("faults", &counts);
    assert_eq!(pairs[0], 0);
    assert_uniform("distances", &pairs[1..]);
}

#[test]
fn the_same_seed_gives_the_same_plan_and_another_one_another() {
    let plan = |seed| {
        let plan_spec = CampaignSpec { seed, ..spec(trials(6), 2) };
        Plan::new(&plan_spec, LENGTH, vec![ram("0x40000000+128M"), ram("0x48000000+64M")]).unwrap()
    };
    assert_eq!(plan(42).digest(), plan(42).digest());
    assert_ne!(plan(42).digest(), plan(43).digest());
    // Known answers: a seed in a paper must mean the same with a later version of this program.
    let lines: String = plan(42).iter().map(|trial| trial.line()).collect();
    insta::assert_snapshot!(lines, @r"
        0 0 294626050 ram 0x478bbd9a 0x40
        1 0 32932687 ram 0x44dd7267 0x10
        2 1 97249638 ram 0x4aa58be5 0x02
        3 1 257509421 ram 0x4b8f46d6 0x10
        4 0 36652126 ram 0x439d2927 0x20
        5 0 163347464 ram 0x41d108e1 0x20
        ");
    insta::assert_snapshot!(plan(42).digest(), @"4fdd4e474379e37ed475b459275e7fdf208413941a2dfc1006fba530e1ab7a7f");
}

#[test]
fn a_trial_does_not_depend_on_the_others() {
    let plan_spec = spec(trials(500), 2);
    let spaces = || vec![ram("0x40000000+1M"), ram("0x50000000+2M")];
    let plan = Plan::new(&plan_spec, LENGTH, spaces()).unwrap();
    let all: Vec<PlannedTrial> = plan.iter().collect();
    assert_eq!(all.len() as u64, plan.len());
    let other = Plan::new(&plan_spec, LENGTH, spaces()).unwrap();
    for trial in all.iter().rev() {
        assert_eq!(other.nth(trial.id).as_ref(), Some(trial));
    }
    assert_eq!(plan.nth(TrialId(500)), None);
}

#[test]
fn any_part_of_a_plan_mixes_the_strata_as_the_whole_does() {
    let plan = Plan::new(&spec(trials(9000), 2), LENGTH, vec![ram("0+1M"), ram("0x200000+2M")]).unwrap();
    let stratum: Vec<u32> = plan.iter().map(|trial| trial.stratum).collect();
    let count = |ids: &mut dyn Iterator<Item = usize>| ids.filter(|id| stratum[*id] == 0).count();
    assert_eq!(count(&mut (0..9000)), 3000);
    // 500 of 1,500 are expected; five standard deviations are 84.
    for found in [count(&mut (0..1500)), count(&mut (7500..9000)), count(&mut (0..9000).step_by(6))] {
        assert!(found.abs_diff(500) < 84, "{found}");
    }
}

#[test]
fn trials_are_shared_by_size_equally_or_as_the_strata_say() {
    let shared = |plan_spec: &CampaignSpec| -> Result<Vec<u64>, String> {
        let spaces = vec![ram("0+1M"), ram("0x200000+3M"), registers(4)];
        let plan = Plan::new(plan_spec, LENGTH, spaces).map_err(|error| error.to_string())?;
        Ok(plan.strata().iter().map(|stratum| stratum.trials).collect())
    };
    let mut own = spec(trials(1000), 3);
    assert!(shared(&own).unwrap_err().starts_with("stratum `s2` would get no trial: its share of 1000"));
    own.strata[2].trials = Some(100);
    assert_eq!(shared(&own).unwrap(), [225, 675, 100]);
    own.strata[0].share = Some(Share::HALF);
    assert_eq!(shared(&own).unwrap(), [500, 400, 100]);
    own.strata[1].trials = Some(500);
    assert!(shared(&own).unwrap_err().starts_with("the strata take 1100 trials by themselves, and"));
    own.strata[1].trials = Some(300);
    assert!(shared(&own).unwrap_err().contains("no stratum takes the rest"));
    let equal = CampaignSpec { sharing: Sharing::Equal, ..spec(trials(1000), 3) };
    assert_eq!(shared(&equal).unwrap(), [334, 333, 333]);
    let margin = Size::Margin { margin: Share::new(0.01).unwrap(), confidence: Confidence::P95 };
    let equal = CampaignSpec { size: Some(margin), ..equal };
    assert_eq!(shared(&equal).unwrap(), [9604, 9604, 9604]);
    let mut whole = spec(Some(margin), 3);
    whole.strata[2].trials = Some(4);
    assert_eq!(shared(&whole).unwrap(), [2400, 7200, 4]);
    let mut alone = spec(None, 3);
    alone.strata.iter_mut().zip(1..).for_each(|(stratum, trials)| stratum.trials = Some(trials));
    assert_eq!(shared(&alone).unwrap(), [1, 2, 3]);
}

#[test]
fn registers_and_ram_can_be_strata_of_one_plan() {
    let mut plan_spec = spec(trials(100), 2);
    plan_spec.sharing = Sharing::Equal;
    let plan = Plan::new(&plan_spec, LENGTH, vec![registers(4), ram("0+16")]).unwrap();
    let mut kinds: BTreeMap<(u32, bool), u64> = BTreeMap::new();
    for trial in plan.iter() {
        let is_register = trial.plan.fault.register().is_some();
        *kinds.entry((trial.stratum, is_register)).or_default() += 1;
    }
    assert_eq!(kinds, [((0, true), 50), ((1, false), 50)].into());
}

#[test]
fn strata_that_share_a_fault_are_known() {
    let overlaps = |spaces: Vec<FaultSpace>| {
        Plan::new(&spec(trials(90), spaces.len()), LENGTH, spaces).unwrap().overlaps()
    };
    assert_eq!(overlaps(vec![ram("0+16"), ram("16+16"), registers(4)]), []);
    assert_eq!(overlaps(vec![ram("0+17"), ram("16+16"), ram("0+32")]), [(0, 1), (0, 2), (1, 2)]);
    assert_eq!(overlaps(vec![registers(2), ram("0+16"), registers(3)]), [(0, 2)]);
}

#[test]
fn times_stay_within_the_golden_run() {
    let new = |times| Plan::new(&CampaignSpec { times, ..spec(trials(50), 1) }, LENGTH, vec![ram("0+64")]);
    let within = |from, to: Option<u64>| new(Times::Within { from: VirtualNs(from), to: to.map(VirtualNs) });
    let plan = within(10, Some(12)).unwrap();
    let times: HashSet<u64> = plan.iter().map(|trial| at(&trial).2).collect();
    assert_eq!(times, [10, 11].into());
    assert!(within(LENGTH.0 - 1, None).is_ok());
    assert!(matches!(
        within(LENGTH.0, None),
        Err(PlanError::Moments { cause: MomentsError::NoTime { .. }, .. })
    ));
    assert!(matches!(
        within(0, Some(LENGTH.0 + 1)),
        Err(PlanError::Moments { cause: MomentsError::Late { .. }, .. })
    ));
    assert!(matches!(
        new(Times::At(vec![LENGTH])),
        Err(PlanError::Moments { cause: MomentsError::Late { .. }, .. })
    ));
    assert!(matches!(
        Plan::new(&spec(trials(50), 2), LENGTH, vec![ram("0+64")]),
        Err(PlanError::Spaces { strata: 2, spaces: 1 })
    ));
}

/// A run of [`LENGTH`] that idles for the first 18 ms, and for 1 µs of each of the milliseconds behind.
fn idling() -> Run {
    let span = |from, length| Span { from: VirtualNs(from), length };
    let short = (20..300).map(|ms| span(ms * 1_000_000 + 500_000, 1000));
    let spans = short.chain([span(0, 18_000_000)]);
    Run { idle: Some(Idle::new(VirtualNs(0), LENGTH, spans)), ..LENGTH.into() }
}

#[test]
fn moments_of_a_kind_are_drawn_uniformly_and_none_of_another() {
    let run = idling();
    let idle = run.idle.clone().unwrap();
    for (seed, when) in [(1, When::Idle), (2, When::Busy), (3, When::Instructions), (4, When::Time)] {
        let plan_spec = CampaignSpec { seed, when: when.clone(), ..spec(trials(100_000), 1) };
        let plan = Plan::new(&plan_spec, run.clone(), vec![ram("0x40000000+128M")]).unwrap();
        // By the rank among the moments of the kind, which are all equally likely.
        let moments = Moments::new(&plan_spec.times, &when, &run).unwrap();
        let of_kind: u64 = if when.is_time() { LENGTH.0 } else { plan.strata()[0].times };
        assert_eq!(moments.len(), of_kind);
        let (mut cells, mut idles) = (vec![0u64; 100], 0);
        for trial in plan.iter() {
            let after = trial.plan.after;
            let is_idle = idle.is_idle(after);
            idles += u64::from(is_idle);
            let rank = match when {
                When::Time => after.0,
                When::Idle => idle.within(VirtualNs(0), after).idle_ns(),
                _ => after.0 - idle.within(VirtualNs(0), after).idle_ns(),
            };
            assert_eq!(moments.nth(rank), Some(after));
            cells[usize::try_from(u128::from(rank) * 100 / u128::from(of_kind)).unwrap()] += 1;
        }
        assert_uniform(when.name(), &cells);
        match when {
            When::Idle => assert_eq!(idles, 100_000),
            // 18.28 of 300 ms: 6,093 are expected, with a standard deviation of 76.
            When::Time => assert!(idles.abs_diff(6093) < 300, "{idles}"),
            _ => assert_eq!(idles, 0),
        }
    }
}

#[test]
fn fractions_are_the_same_in_a_longer_run_and_each_moment_as_likely_as_the_others() {
    let plan_spec = CampaignSpec { draw: Draw::Fractions, ..spec(trials(100_000), 1) };
    let plan = |length| Plan::new(&plan_spec, VirtualNs(length), vec![ram("0x40000000+128M")]).unwrap();
    let (short, long) = (plan(LENGTH.0), plan(LENGTH.0 * 26 / 10));
    // What it is counted in is the run's own length all the same.
    assert_eq!((short.strata()[0].times, long.strata()[0].times), (300_000_000, 780_000_000));
    let mut cells = vec![0u64; 100];
    for (one, other) in short.iter().zip(long.iter()) {
        assert_eq!(one.plan.fault, other.plan.fault);
        let apart = (one.plan.after.0 * 26 / 10).abs_diff(other.plan.after.0);
        assert!(apart <= 3, "{one:?} {other:?}");
        cells[usize::try_from(one.plan.after.0 / 3_000_000).unwrap()] += 1;
    }
    assert_uniform("fractions", &cells);
    // Of the moments of a kind as well.
    let busy = CampaignSpec { when: When::Busy, ..plan_spec.clone() };
    let (run, space) = (idling(), || vec![ram("0+1M")]);
    let idle = run.idle.clone().unwrap();
    assert!(Plan::new(&busy, run, space()).unwrap().iter().all(|trial| !idle.is_idle(trial.plan.after)));
    // One that grows goes on, and one of moments is another plan.
    let added = plan(LENGTH.0).added_for(100_007).unwrap();
    let grown = plan(LENGTH.0).grown(&added).unwrap();
    assert!(grown.iter().take(100_000).eq(short.iter()) && grown.len() == 100_007);
    let moments = CampaignSpec { draw: Draw::Moments, ..plan_spec };
    let moments = Plan::new(&moments, LENGTH, vec![ram("0x40000000+128M")]).unwrap();
    assert_ne!(moments.digest(), short.digest());
}

#[test]
fn of_a_small_space_few_fractions_are_drawn() {
    // 16 bytes at 1,000,000 moments.
    let of = |count: u64| {
        let plan_spec = CampaignSpec { draw: Draw::Fractions, ..spec(trials(count), 1) };
        Plan::new(&plan_spec, VirtualNs(1_000_000), vec![ram("0+16")])
    };
    assert_eq!(of(128_000).unwrap().len(), 128_000);
    let error = of(128_001).unwrap_err().to_string();
    assert!(error.contains("at most 128000; ask for fewer, or leave that out"), "{error}");
    assert!(matches!(of(128_000).unwrap().grown(&[1]), Err(PlanError::TooDense { .. })));
    // A run of an hour, and RAM of 64 GiB.
    let long = CampaignSpec { draw: Draw::Fractions, ..spec(trials(10), 1) };
    assert!(Plan::new(&long, VirtualNs(3_600_000_000_000), vec![ram("0+64G")]).is_ok());
    let listed = CampaignSpec { times: Times::At(vec![VirtualNs(5)]), ..long };
    let error = Plan::new(&listed, LENGTH, vec![ram("0+16")]).unwrap_err().to_string();
    assert!(error.contains("`at` lists the times"), "{error}");
}

#[test]
fn each_moment_of_a_kind_comes_once_when_a_space_is_drawn_out() {
    let span = |from, length| Span { from: VirtualNs(from), length };
    let idle = Idle::new(VirtualNs(0), LENGTH, [span(3, 2), span(9, 40)]);
    let run = Run { idle: Some(idle), ..LENGTH.into() };
    let times = Times::Within { from: VirtualNs(2), to: Some(VirtualNs(12)) };
    for (when, expected) in [(When::Idle, vec![3, 4, 9, 10, 11]), (When::Busy, vec![2, 5, 6, 7, 8])] {
        let plan_spec = CampaignSpec { when, times: times.clone(), ..spec(trials(16 * 8 * 5), 1) };
        let plan = Plan::new(&plan_spec, run.clone(), vec![ram("0x100+16")]).unwrap();
        let drawn: HashSet<_> = plan.iter().map(|trial| at(&trial)).collect();
        assert_eq!(drawn.len(), 16 * 8 * 5);
        let times: std::collections::BTreeSet<u64> = drawn.iter().map(|(_, _, time)| *time).collect();
        assert_eq!(times.into_iter().collect::<Vec<_>>(), expected);
        let too_many = CampaignSpec { size: trials(16 * 8 * 5 + 1), ..plan_spec };
        let error = Plan::new(&too_many, run.clone(), vec![ram("0x100+16")]).unwrap_err();
        assert!(matches!(error, PlanError::TooMany { population: 640, .. }), "{error}");
    }
}

#[test]
fn busy_and_idle_are_strata_of_time_with_their_weights() {
    let mut plan_spec = spec(trials(10_000), 3);
    let whens = [When::Busy, When::Idle, When::Time];
    plan_spec.strata.iter_mut().zip(whens).for_each(|(stratum, when)| stratum.when = Some(when));
    let spaces = || vec![ram("0+1M"), ram("0+1M"), ram("0x200000+1M")];
    let plan = Plan::new(&plan_spec, idling(), spaces()).unwrap();
    assert_eq!(plan.overlaps(), []);
    let times: Vec<u64> = plan.strata().iter().map(|stratum| stratum.times).collect();
    assert_eq!(times, [300_000_000 - 18_280_000, 18_280_000, 300_000_000]);
    // In proportion to faults times moments.
    let shared: Vec<u64> = plan.strata().iter().map(|stratum| stratum.trials).collect();
    assert_eq!(shared, [4695, 305, 5000]);
    plan_spec.strata[0].when = Some(When::Time);
    assert_eq!(Plan::new(&plan_spec, idling(), spaces()).unwrap().overlaps(), [(0, 1)]);
    // What a plan over all times draws does not depend on what is known of idle times.
    let all = spec(trials(50), 1);
    let digest = |run: Run| Plan::new(&all, run, vec![ram("0+1M")]).unwrap().digest();
    assert_eq!(digest(idling()), digest(LENGTH.into()));
    let error = Plan::new(&plan_spec, LENGTH, spaces()).unwrap_err().to_string();
    assert!(
        error.starts_with("stratum `s1`: `when = \"idle\"` asks when the guest idles, and its"),
        "{error}"
    );
}

#[test]
fn a_space_of_many_years_and_gigabytes_costs_nothing() {
    let year = VirtualNs(31_536_000_000_000_000);
    let plan = Plan::new(&spec(trials(1000), 1), year, vec![ram("0+256G")]).unwrap();
    let drawn: HashSet<_> = plan.iter().map(|trial| at(&trial)).collect();
    assert_eq!(drawn.len(), 1000);
    assert!(drawn.iter().any(|(_, _, time)| *time > year.0 / 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_permutation_hits_every_number_once(seed: u64, number in 0u64..9, len in 1u128..700) {
        let permutation = Permutation::new(seed, number, len).unwrap();
        let mut seen = HashSet::new();
        for index in 0..len {
            let value = permutation.nth(index);
            prop_assert!(value < len && seen.insert(value));
        }
    }

    #[test]
    fn a_large_permutation_stays_within_and_differs(seed: u64, len in 1u128 << 64..1 << 120, index: u64) {
        let permutation = Permutation::new(seed, 1, len).unwrap();
        let (one, two) = (permutation.nth(index.into()), permutation.nth(u128::from(index) + 1));
        prop_assert!(one < len && two < len && one != two);
    }

    #[test]
    fn shares_add_up_and_are_within_one_of_their_part(
        total in 0u64..1 << 40,
        weights in prop::collection::vec(1u128..1 << 100, 1..6),
    ) {
        let parts = shares(total, &weights);
        prop_assert_eq!(parts.iter().sum::<u64>(), total);
        let sum = weights.iter().sum::<u128>() as f64;
        for (part, weight) in parts.iter().zip(&weights) {
            let exact = total as f64 * (*weight as f64 / sum);
            prop_assert!((*part as f64 - exact).abs() < 1.01, "{} {}", part, exact);
        }
    }
}

/// Both spaces of these are small, so that a second draw of a pair would be met.
fn small(total: u64) -> Plan {
    let times = Times::At((0..5).map(VirtualNs).collect());
    let plan_spec = CampaignSpec { times, sharing: Sharing::Equal, ..spec(trials(total), 2) };
    Plan::new(&plan_spec, LENGTH, vec![ram("0x100+16"), ram("0x900+8")]).unwrap()
}

#[test]
fn a_plan_that_grows_keeps_its_trials_and_draws_no_pair_twice() {
    let before: Vec<PlannedTrial> = small(100).iter().collect();
    let grown = small(100).grown(&[60, 20]).unwrap().grown(&[0, 100]).unwrap().grown(&[530, 150]).unwrap();
    let all: Vec<PlannedTrial> = grown.iter().collect();
    assert_eq!(all[..100], before);
    assert_eq!((all.len(), grown.len()), (960, 960));
    assert!(all.iter().zip(0..).all(|(trial, id)| trial.id == TrialId(id)));
    // Drawn out: each pair of both spaces, once.
    for (stratum, pairs) in [(0, 16 * 8 * 5), (1, 8 * 8 * 5)] {
        let of = |trials: &[PlannedTrial]| -> HashSet<_> {
            trials.iter().filter(|trial| trial.stratum == stratum).map(at).collect()
        };
        assert_eq!(of(&all).len(), pairs, "{stratum}");
    }
    // Each stage has what it was to have, and not one stratum after the other.
    let stages: Vec<&[u64]> = grown.stages().collect();
    assert_eq!(stages, [&[50, 50][..], &[60, 20], &[0, 100], &[530, 150]]);
    let of_second = |trials: &[PlannedTrial]| trials.iter().filter(|trial| trial.stratum == 1).count();
    assert_eq!((of_second(&all[100..180]), of_second(&all[180..280])), (20, 100));
    assert!((2..18).contains(&of_second(&all[100..140])));
    // The places of a stage are not those of another one.
    let permuted = |from: usize| all[from..from + 80].iter().map(|trial| trial.stratum).collect::<Vec<_>>();
    assert_ne!(permuted(0), permuted(100));
}

#[test]
fn steps_of_growth_are_in_the_digest_and_a_plan_that_never_grew_has_the_one_it_had() {
    let twice = small(100).grown(&[10, 10]).unwrap().grown(&[10, 10]).unwrap();
    let once = small(100).grown(&[20, 20]).unwrap();
    assert_eq!(twice.digest(), small(100).grown(&[10, 10]).unwrap().grown(&[10, 10]).unwrap().digest());
    let digests: HashSet<String> =
        [twice.digest(), once.digest(), small(100).digest(), small(140).digest()].into();
    assert_eq!(digests.len(), 4);
}

#[test]
fn what_is_added_is_shared_as_what_is_there() {
    let plan_spec = CampaignSpec { sharing: Sharing::Proportional, ..spec(trials(300), 2) };
    let spaces = || vec![ram("0x40000000+128M"), ram("0x48000000+64M")];
    let plan = Plan::new(&plan_spec, LENGTH, spaces()).unwrap();
    assert_eq!(plan.added_for(600).unwrap(), [200, 100]);
    assert_eq!(plan.added_for(301).unwrap().iter().sum::<u64>(), 1);
    for total in [0, 299, 300] {
        let error = plan.added_for(total).unwrap_err();
        assert!(matches!(error, PlanError::NotMore { has: 300 }), "{error}");
    }
    assert!(matches!(plan.grown(&[0, 0]), Err(PlanError::NotMore { .. })));
    // 16 · 8 · 5 and 8 · 8 · 5 pairs are all that there is.
    let error = small(100).grown(&[0, 271]).unwrap_err();
    assert!(matches!(error, PlanError::TooMany { trials: 321, population: 320, .. }), "{error}");
    assert!(matches!(small(10).grown(&[1]), Err(PlanError::Spaces { .. })));
}

#[test]
fn shares_by_a_pilot_are_numbers_that_stand_with_the_strata() {
    let mut plan_spec = CampaignSpec { sharing: Sharing::Pilot, ..spec(trials(300), 2) };
    let spaces = || vec![ram("0x40000000+128M"), ram("0x48000000+64M")];
    let error = Plan::new(&plan_spec, LENGTH, spaces()).unwrap_err().to_string();
    assert!(error.contains("--pilot"), "{error}");
    (plan_spec.strata[0].trials, plan_spec.strata[1].trials) = (Some(20), Some(280));
    let plan = Plan::new(&plan_spec, LENGTH, spaces()).unwrap();
    assert_eq!(plan.strata().iter().map(|stratum| stratum.trials).collect::<Vec<_>>(), [20, 280]);
}

#[test]
fn several_faults_of_a_trial_are_drawn_independently_and_stand_in_the_order_of_time() {
    let of = |faults: &str, trials: u64| {
        let spec = CampaignSpec { faults: faults.parse().unwrap(), ..spec(Some(Size::Trials(trials)), 1) };
        Plan::new(&spec, LENGTH, vec![ram("0x40000000+128M")]).unwrap()
    };
    let one: Vec<PlannedTrial> = of("1", 200).iter().collect();
    let three: Vec<PlannedTrial> = of("3", 200).iter().collect();
    let all = |trial: &PlannedTrial| -> Vec<(VirtualNs, Fault)> {
        let first = (trial.plan.after, trial.plan.fault.clone());
        std::iter::once(first)
            .chain(trial.plan.more.iter().map(|more| (more.after, more.fault.clone())))
            .collect()
    };
    for (one, three) in one.iter().zip(&three) {
        let faults = all(three);
        assert_eq!((faults.len(), one.plan.more.len()), (3, 0));
        assert!(faults.is_sorted_by_key(|(after, _)| *after));
        // The one that is drawn without replacement is among them.
        assert!(faults.contains(&(one.plan.after, one.plan.fault.clone())));
        assert!((0..3).all(|at| !faults[..at].contains(&faults[at])));
    }
    // Each third of the run has a third of all, within 5 standard deviations.
    let times: Vec<u64> = three.iter().flat_map(all).map(|(after, _)| after.0).collect();
    let early = times.iter().filter(|after| **after < LENGTH.0 / 3).count();
    assert!((142..=258).contains(&early), "{early}");
    assert_eq!(of("3", 200).digest(), of("3", 200).digest());
    assert_ne!(of("3", 200).digest(), of("1", 200).digest());
    let counts: Vec<usize> = of("poisson:2", 200).iter().map(|trial| all(&trial).len()).collect();
    assert!(counts.contains(&1) && counts.contains(&3) && counts.iter().all(|count| *count > 0));
    // Where a pair of fault and moment could come often, intervals would be wrong.
    let few = CampaignSpec { faults: Count::Fixed(2), ..spec(Some(Size::Trials(301)), 1) };
    let short = VirtualNs(300_000 / 8);
    assert!(matches!(Plan::new(&few, short, vec![ram("0+1")]), Err(PlanError::TooDense { .. })));
    assert!(Plan::new(&CampaignSpec { faults: Count::ONE, ..few }, short, vec![ram("0+1")]).is_ok());
}

/// A code over words lets nothing of two bits of one through, corrects a bit in each of two, and adds its own to three.
#[test]
fn what_error_correcting_memory_lets_through_is_what_is_planned() {
    let bytes: RangeSet = "0x1000+4K".parse::<PhysRange>().into_iter().collect();
    let planned = |pattern: Pattern| {
        let mut spec = spec(Some(Size::Trials(20)), 1);
        (spec.pattern, spec.ecc) = (pattern, crate::fault::Ecc::Secded);
        let space = FaultSpace::Ram(RamSpace::new(&bytes, pattern).unwrap());
        let plan = Plan::new(&spec, LENGTH, vec![space]).unwrap();
        plan.iter().map(|trial| trial.plan).collect::<Vec<_>>()
    };
    let bits = |plan: &TrialPlan| -> u32 {
        let masks = std::iter::once(&plan.fault).chain(plan.more.iter().map(|more| &more.fault));
        masks.flat_map(Fault::mask).map(|byte| byte.count_ones()).sum()
    };
    for plan in planned(Pattern::SINGLE) {
        assert_eq!((plan.ecc, plan.is_decided(), bits(&plan)), (Some(Verdict::Corrected), true, 1));
    }
    for plan in planned(Pattern::Adjacent(2)) {
        let last = plan.fault.address().unwrap().0 % 8 == 7 && plan.fault.mask().len() == 2;
        let expected = if last { Verdict::Corrected } else { Verdict::Detected };
        assert_eq!((plan.ecc, bits(&plan)), (Some(expected), 2), "{plan:?}");
    }
    let three = planned(Pattern::Adjacent(3));
    let of = |verdict| three.iter().filter(move |plan| plan.ecc == Some(verdict));
    assert!(of(Verdict::Detected).count() > 0 && of(Verdict::Miscorrected).count() > 0);
    assert!(of(Verdict::Miscorrected).all(|plan| !plan.is_decided() && (3..=4).contains(&bits(plan))));
}
