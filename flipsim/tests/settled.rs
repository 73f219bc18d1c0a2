//! Trials that are settled, begun late or ended early, beside the same trials run whole; and what the audit finds where
//! an access was not recorded.
//!
//! Invariant: no test leaves a process behind.

#![expect(clippy::unwrap_used, reason = "this file is a test as a whole, and a test fails by a panic")]

use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use flipsim::campaign::run::CampaignError;
use flipsim::campaign::size::Size;
use flipsim::campaign::spec::StratumSpec;
use flipsim::campaign::{CampaignSpec, Store};
use flipsim::fault::{Align, FaultSpace, FaultTarget, FlippableRegister, Pattern, RamSpace, RegSpace};
use flipsim::memory::{PhysRange, RangeSet};
use flipsim::testing::guest_campaign::Guest;
use flipsim::trial::accesses::{Accesses, Next, Recorder};
use flipsim::trial::golden::{Golden, GoldenOptions, Window};
use flipsim::trial::template::Template;
use flipsim::trial::{FirstUse, Outcome, Settled, TrialOptions, TrialRecord, Used};
use flipsim::units::VirtualNs;

struct Setting {
    template: Template,
    golden: Golden,
    accesses: Accesses,
    folder: tempfile::TempDir,
}

impl Setting {
    fn new() -> Setting {
        let folder = tempfile::tempdir().unwrap();
        let template =
            std::env::var_os("FLIPSIM_TEMPLATE_SHA256").expect("run these tests with `cargo xtask test`");
        let template = Template::open(&PathBuf::from(template)).unwrap();
        let clones = folder.path().join("clones");
        let options =
            GoldenOptions { window: Window::Time(VirtualNs(60_000_000)), ..GoldenOptions::default() };
        let golden = Golden::measure(&template, &clones, &options).unwrap();
        assert_eq!(golden.difference, None);
        // That it is the golden run, to the last bit, is asked for in there.
        let accesses = Accesses::record(&template, &golden, &clones, &options, &mut |_| {}).unwrap();
        Setting { template, golden, accesses, folder }
    }

    /// The whole RAM.
    fn ram(&self) -> Vec<PhysRange> {
        self.template.info().ram.ranges().to_vec()
    }

    /// Pages in which more than every third byte is live on average.
    fn live_pages(&self) -> Vec<PhysRange> {
        let length = u128::from(self.golden.end().0 - self.golden.begin().0);
        let whole = (self.golden.begin(), self.golden.end());
        let pages = self.accesses.live_by_page(&self.ram(), &[whole]);
        let live = pages.into_iter().filter(|(_, live)| 3 * *live > 4096 * length);
        let pages: Vec<PhysRange> = live
            .map(|(page, _)| PhysRange { first: page, last: flipsim::units::GuestPhys(page.0 + 4095) })
            .collect();
        assert!(pages.len() > 10, "{}", pages.len());
        pages
    }

    fn store(&self, name: &str, trials: u64, space: FaultSpace) -> Store {
        let spec = CampaignSpec {
            seed: 3,
            size: Some(Size::Trials(trials)),
            strata: vec![StratumSpec::new("ram", vec![FaultTarget::Ram])],
            ..CampaignSpec::default()
        };
        self.guest(|guest| guest.campaign(&self.folder.path().join(name), &spec, vec![space]))
    }

    fn run(&self, store: &mut Store, accesses: Option<&Accesses>) -> Result<Vec<TrialRecord>, CampaignError> {
        // So that the audit compares first uses that are known with measured ones.
        let trial = TrialOptions { first_use: true, ..TrialOptions::default() };
        self.guest(|guest| guest.records(store, accesses, &trial))
    }

    fn guest<T>(&self, with: impl FnOnce(Guest<'_>) -> T) -> T {
        let clones = self.folder.path().join("clones");
        with(Guest { template: &self.template, golden: &self.golden, clones: &clones })
    }
}

/// All bits of these bytes.
fn bytes(ranges: &[PhysRange]) -> FaultSpace {
    let bytes: RangeSet = ranges.iter().copied().collect();
    FaultSpace::Ram(RamSpace::new(&bytes, Pattern::SINGLE).unwrap())
}

/// All runs of so many bits of the general and vector registers of an AArch64 guest.
fn registers(bits: u32) -> FaultSpace {
    let register = |name: String, bytes: usize| FlippableRegister {
        name,
        bits: 8 * bytes as u32,
        class: String::new(),
        writable: vec![0xff; bytes],
    };
    let general = (0..31).map(|n| register(format!("x{n}"), 8));
    let all: Vec<_> = general.chain((0..32).map(|n| register(format!("v{n}"), 16))).collect();
    FaultSpace::Reg(RegSpace::new(&all, Pattern::Adjacent(bits)).unwrap())
}

#[test]
#[ignore = "boots the real guest"]
fn a_shortened_trial_has_the_record_of_the_whole_run() {
    let setting = Setting::new();
    let mut all = Vec::new();
    let under = |space: FaultSpace, operation: &str| space.under(operation.parse().unwrap()).unwrap();
    let words = |bits| {
        let bytes: RangeSet = setting.live_pages().into_iter().collect();
        FaultSpace::Ram(
            RamSpace::aligned(&bytes, Pattern::Adjacent(bits), Align::try_from(4).unwrap()).unwrap(),
        )
    };
    let spaces = [
        ("ram", 300, bytes(&setting.ram())),
        ("live", 150, bytes(&setting.live_pages())),
        ("reg", 200, registers(1)),
        ("set1", 100, under(bytes(&setting.ram()), "set1")),
        ("live-set0", 100, under(bytes(&setting.live_pages()), "set0")),
        ("words", 100, under(words(16), "overwrite:random")),
        // Most of their bytes are 0 already, and are written and read apart from the others.
        ("words-set0", 150, under(words(32), "set0")),
        ("reg-set1", 100, under(registers(1), "set1")),
        // Begun or ended early, they must be taken back whatever the register holds by then.
        ("reg-words", 150, under(registers(64), "overwrite:random")),
        ("nothing", 40, under(bytes(&setting.live_pages()), "nothing")),
    ];
    for (name, trials, space) in spaces {
        let mut short = setting.store(&format!("{name}-short.sqlite"), trials, space.clone());
        let mut whole = setting.store(&format!("{name}-whole.sqlite"), trials, space);
        let short = setting.run(&mut short, Some(&setting.accesses)).unwrap();
        let whole = setting.run(&mut whole, None).unwrap();
        assert_eq!((short.len() as u64, whole.len() as u64), (trials, trials));
        for (short, whole) in short.iter().zip(&whole) {
            assert!(short.is_same(whole), "{:?}\n{short:?}\n{whole:?}", short.differing_keys(whole));
            assert!(whole.settled.is_none() && whole.begun_ns.is_none() && whole.cut_ns.is_none());
            // Of a fault that changes nothing there is none.
            let used = short.first_use.is_some();
            assert!(used || !["ram", "live"].contains(&name), "{short:?}");
            assert!(!used || (short.old != short.new && !name.starts_with("reg")), "{short:?}");
            assert_eq!(whole.first_use, None);
            // What changes nothing is over at the first look, which may be the end.
            let (equal, masked) = (short.old == short.new, short.outcome == Some(Outcome::Masked));
            let over = short.is_converged() || short.end_ns == setting.golden.end().0;
            assert!(!equal || (masked && over && name != "words"), "{short:?}");
            assert!(equal || name != "nothing", "{short:?}");

            // What is not read changes nothing.
            let used = short.first_use.map(|first| first.used);
            let idle = matches!(used, Some(Used::Never | Used::Overwritten));
            assert!(!idle || matches!(short.outcome, Some(Outcome::Masked | Outcome::Latent)), "{short:?}");
        }
        // Only of what a page-table walk reads it may stay open, which is not known at any time.
        for record in short.iter().filter(|record| record.first_use == Some(FirstUse::UNKNOWN)) {
            let byte = record.plan.fault.address().unwrap();
            assert_eq!(setting.accesses.next(byte, setting.golden.begin()), Next::Unknown, "{record:?}");
        }
        all.extend(short);
    }
    let unused = |record: &&TrialRecord| record.settled.is_some() && record.plan.fault.register().is_some();
    assert!(all.iter().filter(unused).count() > 20);
    let count = |is: &dyn Fn(&TrialRecord) -> bool| all.iter().filter(|record| is(record)).count();
    assert!(count(&|record| record.settled == Some(Settled::NeverRead)) > 200);
    assert!(count(&|record| record.settled == Some(Settled::Unchanged)) > 50);
    // Bits that are set to what they are are found in registers, too.
    assert!(
        count(&|record| record.settled == Some(Settled::Unchanged) && record.plan.fault.register().is_some())
            > 5
    );
    assert!(count(&|record| record.audited) >= 20);
    assert!(count(&|record| record.control) >= 20);
    // In pages in constant use what comes next is often not certain.
    assert!(count(&|record| record.settled.is_none()) > 20);
}

#[test]
#[ignore = "boots the real guest"]
fn an_access_that_was_not_recorded_is_found_by_the_audit() {
    let setting = Setting::new();
    // Of a run in which nothing is read or written, as far as is recorded.
    let blocks = setting.accesses.blocks().clone();
    let base = std::fs::File::open(setting.template.ram_file()).unwrap();
    let mut recorder = Recorder::new(setting.golden.begin(), blocks, |_, offset, page: &mut [u8]| {
        base.read_exact_at(page, offset)
    });
    recorder.interval(setting.golden.end(), &[], &mut |_, _, _| Ok(())).unwrap();
    let none = recorder.finish().with_vcpu(setting.accesses.vcpu().clone());
    for (name, space) in [("ram", bytes(&setting.live_pages())), ("reg", registers(1))] {
        let mut store = setting.store(&format!("blind-{name}.sqlite"), 200, space);
        let error = setting.run(&mut store, Some(&none)).unwrap_err();
        let CampaignError::Audit { taken_back, .. } = &error else { panic!("{error}") };
        assert!(*taken_back >= 180, "{error}");
        assert!(error.to_string().contains("--settle off"), "{error}");
        // What is left was run whole; the rest is pending again.
        let rows = store.results().map(|row| row.unwrap().trial.id).collect::<Vec<_>>();
        for id in rows {
            let record = store.record_of(id).unwrap().unwrap();
            assert!(record.begun_ns.is_none() && (record.settled.is_none() || record.audited), "{record:?}");
        }
    }
}
