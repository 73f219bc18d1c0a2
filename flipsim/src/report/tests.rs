//! The page and the charts as a whole: what is hostile stays text, what is said is there.

use super::charts::{
    Across, Column, Dot, Group, Labels, Line, Pair, Range, Stack, columns, curves, dots, pairs, ranges,
    stacks,
};
use super::compare::{CompareOptions, Comparison, Side, compare};
use super::{sample, *};
use crate::campaign::summary::SummaryOptions;
use crate::campaign::{Store, Summary};
use crate::testing::fake_campaign::{self, create, fill};
use crate::testing::hostile_campaign::{HOSTILE, spec};
use crate::trial::Outcome;
use crate::trial::golden::{Idle, Span};

fn options() -> PageOptions {
    PageOptions {
        campaign: "sample".to_owned(),
        made: "2026-02-03T04:05:06Z".parse().unwrap(),
        public: false,
        mission: None,
    }
}

fn page_of(trials: u64) -> String {
    let sample = sample::campaign(trials);
    page(&sample.store, &sample.summary, &options()).unwrap()
}

#[test]
fn what_is_hostile_stays_text() {
    let page = page_of(2000);
    assert!(page.contains("&lt;script&gt;document.title="), "the sample's titles are shown");
    assert!(page.contains("\\u003cscript>document.title="), "they are in the data");
    // Only our own two elements are scripts: the data and the program.
    let lower = page.to_lowercase();
    assert_eq!(lower.matches("<script").count(), 2);
    assert_eq!(lower.matches("</script").count(), 2);
    assert!(!lower.contains("<img") && !page.contains(HOSTILE) && !lower.contains("<!--"));
    assert!(!page.contains("<b>registers"));
    assert!(
        !page.contains('\u{1b}') && !page.contains('\u{202e}'),
        "control characters are shown as what they are"
    );
}

#[test]
fn the_page_names_nothing_outside_of_itself() {
    let page = page_of(600);
    for outside in ["http:", "https:", "src=", "@import", "<link", "<iframe"] {
        // `src=` is a part of the hostile text, where it is escaped.
        let found = page.matches(outside).count()
            - page.matches("img src=x").count() * usize::from(outside == "src=");
        // The name of SVG's elements in the script is no address that is asked for.
        let ours = usize::from(outside == "http:");
        assert_eq!(found, ours, "{outside}");
    }
    assert!(page.contains("default-src &#39;none&#39;") || page.contains("default-src 'none'"));
}

#[test]
fn a_page_says_how_much_of_the_run_is_idle_and_what_failed_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut golden = fake_campaign::golden();
    let span = Span { from: golden.begin(), length: 40_000_000 };
    golden.idle = Some(Idle::new(golden.begin(), golden.end(), [span]));
    let plan = fake_campaign::spec(300, &["range:0x40000000+1M"]);
    let mut store = fake_campaign::create_of(&folder.path().join("c.sqlite"), &plan, &golden).unwrap();
    fill(&mut store, 300).unwrap();
    let summary = Summary::new(&store, &SummaryOptions::default()).unwrap();
    let page = page(&store, &summary, &options()).unwrap();
    assert!(
        page.contains("In time, the guest idles 10 % of the golden run (40.0 ms of 400.0 ms)"),
        "the share"
    );
    assert!(page.contains("Failures by moment: 1M"), "the figure");
    assert!(page.contains("strike at any time, and at 10 % of it the guest idles"), "the warning");
}

#[test]
fn a_page_says_how_much_was_run_and_where_the_live_bytes_are() {
    let folder = tempfile::tempdir().unwrap();
    let spec = fake_campaign::spec(600, &["range:0x40000000+1M", "class:core"]);
    let mut store = fake_campaign::create_settled(&folder.path().join("c.sqlite"), &spec).unwrap();
    fake_campaign::fill_settled(&mut store, 600).unwrap();
    let found = summary(&store);
    let html = page(&store, &found, &options()).unwrap();
    let known = found.strata[0].known.as_ref().unwrap();
    for part in [
        found.totals.ways.line(found.confidence).unwrap(),
        format!(
            "1M, live: 12.5 % of its faults, exactly (75.0 % never read again, 12.5 % overwritten first); intervals are those of the {} trials there",
            known.live_trials
        ),
        "How much of the trials was run".to_owned(),
        "The strip at the right: how much of the time the bytes are live".to_owned(),
        "Bytes are live for 50.0\u{202f}% of the time at most, from 0x40000000 on.".to_owned(),
        "that of the live rest, times its share".to_owned(),
        "the golden run never reads it again".to_owned(),
    ] {
        assert!(html.contains(&part), "{part}");
    }
    // Two campaigns are compared by their counts, and so is all that stands beside the tests.
    let same = compared(&store, &store);
    let failure = &same.strata[0].rows[0];
    let counted = found.strata[0].counted as f64;
    assert_eq!(failure.rate[0].unwrap().value, failure.count[0] as f64 / counted);
    // Where all trials were run whole, nothing is said.
    let plain = page_of(200);
    for part in ["How much of the trials was run", "without a run", "live"] {
        assert!(!plain.contains(part), "{part}");
    }
}

#[test]
fn every_chart_has_a_text_alternative_and_no_number_is_lost() {
    let page = page_of(2000);
    let charts = page.matches("<svg class=\"chart\"").count();
    assert!(charts > 10, "{charts}");
    assert_eq!(page.matches("role=\"img\" aria-labelledby=").count(), charts);
    let ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let different: std::collections::BTreeSet<&&str> = ids.iter().collect();
    assert_eq!(different.len(), ids.len(), "an id is there twice");
    for part in page.split("aria-labelledby=\"").skip(1) {
        for id in part.split('"').next().unwrap().split(' ') {
            assert!(page.contains(&format!(" id=\"{id}\"")), "{id}");
        }
    }
    assert!(!page.contains("NaN"));
    // The letters of a path are those of its commands; `inf` has others.
    for path in page.split(" d=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(path.chars().all(|c| !c.is_ascii_alphabetic() || "MLHVZmlhvaz".contains(c)), "{path}");
    }
}

#[test]
fn the_page_tells_how_to_repeat_the_campaign_and_each_trial() {
    let page = page_of(600);
    for part in [
        "seed = 42",
        "workload = &quot;sha256&quot;",
        "targets = [&quot;class:core&quot;]",
        "cargo xtask campaign new again --spec campaign.toml",
        "digest-of-a-fake",
        "cargo xtask campaign replay sample --trial ",
    ] {
        assert!(page.contains(part), "{part}");
    }
    // Readers without script have some trials, with their consoles.
    assert!(page.contains("Evidence of trial ") && page.contains("a line before"));
}

#[test]
fn a_campaign_without_a_result_has_a_page_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = create(&folder.path().join("e.sqlite"), &spec(30)).unwrap();
    let summary = Summary::new(&store, &SummaryOptions::default()).unwrap();
    let page = page(&store, &summary, &options()).unwrap();
    assert!(page.contains("No trial has a result yet"));
    assert!(page.contains("How it was done") && !page.contains("<script"));
}

#[test]
fn few_results_make_a_page_as_well() {
    for trials in [1, 2, 5] {
        let folder = tempfile::tempdir().unwrap();
        let mut store = create(&folder.path().join("e.sqlite"), &spec(30)).unwrap();
        fill(&mut store, trials).unwrap();
        let summary = Summary::new(&store, &SummaryOptions::default()).unwrap();
        let page = page(&store, &summary, &options()).unwrap();
        assert!(!page.contains("NaN"), "{trials}");
    }
}

fn summary(store: &Store) -> Summary {
    Summary::new(store, &SummaryOptions::default()).unwrap()
}

fn compared(a: &Store, b: &Store) -> Comparison {
    let (first, second) = (summary(a), summary(b));
    compare(
        &Side { store: a, summary: &first },
        &Side { store: b, summary: &second },
        &CompareOptions::default(),
    )
    .unwrap()
}

#[test]
fn a_mission_is_on_the_page_with_its_sources_and_what_is_hostile_stays_text() {
    let sample = sample::campaign(900);
    // JSON's strings are TOML's.
    let source = serde_json::to_string(&format!("a beam {HOSTILE}")).unwrap();
    let text = format!(
        "title = \"low orbit\"\nyears = 5\n[ram]\nrate = \"2e-7/bit/day\"\nsource = {source}\nfactor = 3\n"
    );
    let mission = crate::campaign::MissionFile::from_toml(&text).unwrap();
    let options = PageOptions { mission: Some(mission), ..options() };
    let page = page(&sample.store, &sample.summary, &options).unwrap();
    let at = |part: &str| page.find(part).unwrap_or_else(|| panic!("{part}"));
    assert!(at("In the field: low orbit") < at("a beam") && at("a beam") < at("upsets a year"));
    assert!(page.contains("failures in 5 years") && page.contains("registers: the mission has no rate"));
    assert!(!page.contains(HOSTILE) && !page.contains("NaN"));
    assert!(!page_of(60).contains("In the field"));
}

#[test]
fn a_campaign_is_the_same_as_itself() {
    let sample = sample::campaign(900);
    let found = compared(&sample.store, &sample.store);
    let trials = found.trials.unwrap();
    assert_eq!((trials.both, trials.different), (sample.summary.totals.done, 0));
    assert_eq!(found.strata.len(), 3);
    for row in found.strata.iter().flat_map(|stratum| &stratum.rows) {
        let paired = row.paired.unwrap();
        assert!(paired.p > 0.999 && row.p.is_none() && row.p_failures.is_none(), "{row:?}");
        assert!(paired.difference.interval.contains(0.0));
    }
}

#[test]
fn what_makes_a_comparison_unfair_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut one = spec(60);
    let mut a = create(&folder.path().join("a.sqlite"), &one).unwrap();
    one.window = crate::trial::golden::Window::Time(crate::units::VirtualNs(5));
    one.pattern = crate::fault::Pattern::Adjacent(2);
    one.guest = serde_json::json!({ "workload": "fs" });
    one.trial.hang_factor = 2.0;
    one.seed = 43;
    one.strata[0].name = "another".to_owned();
    one.strata[1].targets = vec!["range:0x40000000+64M".parse().unwrap()];
    let mut b = create(&folder.path().join("b.sqlite"), &one).unwrap();
    fill(&mut a, 60).unwrap();
    fill(&mut b, 40).unwrap();
    let found = compared(&a, &b);
    let said = found.warnings().join("\n");
    // What spoils the numbers of one is no word on whether they are comparable.
    assert!(found.unfair.iter().all(|why| !why.contains("finished")) && found.doubts.len() == 1);
    for part in [
        "the window of the workload",
        "not comparable: the workload: \"sha256\" in A, \"fs\" in B",
        "the fault model of ram: single in A, adjacent:2",
        "the targets of ram",
        "when a guest counts as hung: 3 times",
        "is not finished: 20 of 60",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert_eq!(found.alone, [vec!["kernel".to_owned()], vec!["another".to_owned()]]);
    assert!(found.differs.iter().any(|what| what.contains("seed")));
    // A fault space of another size is what F is compared for.
    assert!(
        found.differs.iter().any(|what| what.contains("the fault space of ram"))
            && !said.contains("fault space")
    );
    assert!(found.trials.is_none());
    // Nothing is wrong with two of the same sort but the seed.
    let other = crate::campaign::CampaignSpec { seed: 44, ..spec(60) };
    let mut c = create(&folder.path().join("c.sqlite"), &other).unwrap();
    fill(&mut c, 60).unwrap();
    assert_eq!(compared(&a, &c).unfair, Vec::<String>::new());
    // Nor with one that does not say what the default was; but with another architecture there is.
    let [d, e] = ["aarch64", "x86_64"].map(|arch| {
        let mut other = spec(60);
        other.guest["arch"] = arch.into();
        let mut store = create(&folder.path().join(format!("{arch}.sqlite")), &other).unwrap();
        fill(&mut store, 60).unwrap();
        store
    });
    assert_eq!(compared(&a, &d).unfair, Vec::<String>::new());
    assert_eq!(compared(&d, &e).unfair, ["the architecture: aarch64 in A, x86_64 in B"]);
}

/// The page of two campaigns.
fn both(a: &Store, b: &Store) -> String {
    let options = BesideOptions {
        campaigns: ["sample".to_owned(), "'other one'".to_owned()],
        flags: Vec::new(),
        made: options().made,
    };
    beside(&compared(a, b), [&summary(a), &summary(b)], &options)
}

#[test]
fn a_comparison_has_a_page_with_doubts_before_counts_before_rates() {
    let sample = sample::campaign(900);
    let folder = tempfile::tempdir().unwrap();
    let mut other = spec(900);
    other.name = format!("other {HOSTILE}");
    other.strata[0].name = HOSTILE.to_owned();
    let mut store = create(&folder.path().join("b.sqlite"), &other).unwrap();
    fill(&mut store, 890).unwrap();
    let page = both(&sample.store, &store);
    let at = |part: &str| page.find(part).unwrap_or_else(|| panic!("{part}\n{page}"));
    let doubts =
        ["is not finished: 10 of 900", "only sample has kernel", "only other &lt;/script&gt;"].map(at);
    assert!(doubts.iter().all(|doubt| *doubt < at("Extrapolated counts: ram")));
    assert!(at("Extrapolated counts: ram") < at("Rates: ram"));
    assert!(page.contains("cargo xtask report compare sample 'other one'"));
    assert!(page.contains("Bonferroni") && page.contains("B − A") && !page.contains("NaN"));
    // It runs no script at all, and what is hostile stays text.
    let lower = page.to_lowercase();
    assert!(lower.contains("script-src 'none'") || lower.contains("script-src &#39;none&#39;"));
    assert!(!lower.contains("<script") && !lower.contains("<img") && !page.contains(HOSTILE));
    for outside in ["http:", "https:", "@import", "<link", "<iframe"] {
        assert!(!page.contains(outside), "{outside}");
    }
    let charts = page.matches("<svg class=\"chart\"").count();
    // The ratios, and two a stratum.
    assert_eq!((charts, page.matches("role=\"img\" aria-labelledby=").count()), (5, 5));
}

#[test]
fn the_page_of_a_comparison_is_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let made = |file: &str, seed: u64, trials: u64| {
        let mut spec = spec(trials);
        spec.seed = seed;
        spec.strata.truncate(1);
        let mut store = create(&folder.path().join(file), &spec).unwrap();
        fill(&mut store, 100).unwrap();
        store
    };
    let page = both(&made("a.sqlite", 1, 40), &made("b.sqlite", 2, 30));
    // The head is the campaign's page's, but for its title and policy.
    insta::assert_snapshot!("beside", page.split("</style>").nth(1).unwrap().replace("><", ">\n<"));
    let same = made("c.sqlite", 1, 40);
    let one = both(&same, &same);
    assert!(one.contains("40 trials have a result in both, 0 came out differently"));
    assert!(one.contains("are the same."));
}

/// SVG with a line an element, as a snapshot is read.
fn lines(markup: maud::Markup) -> String {
    markup.into_string().replace("><", ">\n<")
}

#[test]
fn charts_are_drawn_as_they_were() {
    let parts = vec![(Outcome::Crash, 2), (Outcome::Sdc, 0), (Outcome::Masked, 6)];
    let bar = Stack { label: "a <stratum>".into(), note: "8 trials".into(), parts: parts.clone() };
    insta::assert_snapshot!("stacks", lines(stacks("s", "title", "words", &[bar])));
    let dot = |value: f64, low: f64, high: f64| Dot {
        label: "crash".into(),
        outcome: Some(Outcome::Crash),
        value,
        interval: (low, high),
        note: "1 %".into(),
    };
    let group = Group { title: "ram".into(), dots: vec![dot(0.01, 0.001, 0.05), dot(0.0, 0.0, 0.03)] };
    insta::assert_snapshot!("dots", lines(dots("d", "title", "words", &[group], Labels::Outcomes)));
    let side = |name: &str, value: f64, interval, note: &str| {
        Some(Dot { label: name.into(), outcome: None, value, interval, note: note.into() })
    };
    let pair = Pair {
        label: "crash".into(),
        sides: [side("A", 4e6, (1e6, 2e7), "4.00e6"), side("B", 0.0, (0.0, 3e5), "0")],
    };
    let tick = |value: f64| format!("{value:e}");
    insta::assert_snapshot!(
        "pairs",
        lines(pairs("p", "title", "words", "counts", &["A".into(), "B".into()], &[pair], &tick))
    );
    let column =
        |bit: u32, interval| Column { label: bit.to_string(), trials: 8, parts: parts.clone(), interval };
    let bits = [column(0, Some((0.1, 0.5))), column(1, None)];
    insta::assert_snapshot!("columns", lines(columns("c", "title", "words", "bit", &bits)));
    let line = Line {
        label: "ram".into(),
        points: vec![(1e6, 0.9, Some((0.8, 0.95))), (3e6, 0.7, None)],
        until: Some(9e6),
    };
    let survival = curves("u", "title", "words", "time", Across::Survival, std::slice::from_ref(&line));
    insta::assert_snapshot!("survival", lines(survival));
    let settled = Line {
        points: vec![(1.0, 0.0, Some((0.0, 0.8))), (100.0, 0.2, Some((0.1, 0.3)))],
        until: None,
        ..line
    };
    insta::assert_snapshot!(
        "settled",
        lines(curves("v", "title", "words", "trials", Across::Trials, &[settled]))
    );
    let spread = Range {
        label: "ram".into(),
        note: "9 of 90".into(),
        ends: (2e3, 5e6),
        quantiles: vec![("50 %".into(), 1e5), ("90 %".into(), 4e6)],
    };
    insta::assert_snapshot!("ranges", lines(ranges("r", "title", "words", "time", &[spread])));
}

#[test]
fn a_page_has_the_words_of_its_author_and_a_public_one_no_paths() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = fake_campaign::spec(40, &["class:core"]);
    spec.words.title = Some("Does <voting> help?".to_owned());
    spec.words.about = Some("First.\n\nSecond.".to_owned());
    spec.words.author = Some("A. Author".to_owned());
    spec.guest = serde_json::json!({ "kernel": "/home/me/secret/Image" });
    let mut store = create(&folder.path().join("c.sqlite"), &spec).unwrap();
    fill(&mut store, 40).unwrap();
    let summary = Summary::new(&store, &SummaryOptions::default()).unwrap();
    let of = |public| {
        let options =
            PageOptions { campaign: "'/home/me/secret/a c.sqlite'".to_owned(), public, ..options() };
        page(&store, &summary, &options).unwrap()
    };
    let (own, public) = (of(false), of(true));
    for page in [&own, &public] {
        assert!(page.contains("<h1>Does &lt;voting&gt; help?</h1>"), "the title");
        assert!(page.contains("<title>Does &lt;voting&gt; help?</title>") && page.contains(", by A. Author"));
        assert!(page.contains("<p>First.</p>") && page.contains("<p>Second.</p>"), "paragraphs");
    }
    assert!(own.contains("/home/me/secret/Image") && own.contains("/home/me/secret/a c.sqlite"));
    assert!(!public.contains("/home/me") && public.contains("Image"), "files by their names");
    assert!(public.contains("cargo xtask report compare 'a c.sqlite' again"));
}

#[test]
fn no_words_single_out_a_row_of_few_trials() {
    // 40 trials of 16 registers of 64 bits: a bit has one or two.
    let folder = tempfile::tempdir().unwrap();
    let mut store =
        create(&folder.path().join("c.sqlite"), &fake_campaign::spec(40, &["class:core"])).unwrap();
    fill(&mut store, 40).unwrap();
    let summary = Summary::new(&store, &SummaryOptions::default()).unwrap();
    let page = page(&store, &summary, &options()).unwrap();
    assert!(page.contains("none has an interval above the rate of all"), "by bit");
    assert!(!page.contains("of 1 (") && !page.contains("1 of 1;"), "no claim of one trial");
}
