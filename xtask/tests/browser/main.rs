//! The report in a real browser. Where there is none, the tests say so and pass.
//!
//! Pictures of what was seen are left in `target/report-pictures/`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod chromium;

use std::path::{Path, PathBuf};
use std::process::Command;

use chromium::Browser;
use flipsim::campaign::CampaignSpec;
use flipsim::testing::fake_campaign::{create, fill};
use flipsim::testing::hostile_campaign::{HOSTILE, sample, spec};
use serde_json::{Value, json};

/// A page of so many made-up trials, in a separate folder.
fn page(trials: u64) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sample.sqlite");
    drop(sample(&file, trials).unwrap());
    let html = folder.path().join("sample.html");
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let output = command.arg("report").arg(&file).arg("--html").arg(&html).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (folder, html)
}

/// The page of two made-up campaigns.
fn comparison() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one.sqlite"), folder.path().join("other.sqlite"));
    drop(sample(&one, 3000).unwrap());
    let mut store =
        create(&other, &CampaignSpec { seed: 43, name: format!("other {HOSTILE}"), ..spec(600) }).unwrap();
    fill(&mut store, 500).unwrap();
    drop(store);
    let html = folder.path().join("both.html");
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let output = command.args(["report", "compare"]).args([&one, &other]).arg("--html").arg(&html).output();
    let output = output.unwrap();
    // The other one is unfinished: its page says so, and the exit code.
    assert_eq!(output.status.code(), Some(11), "{}", String::from_utf8_lossy(&output.stderr));
    (folder, html)
}

fn picture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../report-pictures");
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

/// What overlaps or is cut, in words.
const LAYOUT: &str = r"(() => {
  const found = [], wide = document.documentElement;
  if (wide.scrollWidth > wide.clientWidth) found.push('the page is ' + wide.scrollWidth + ' wide, the window ' + wide.clientWidth);
  const visible = (e) => e.checkVisibility() && e.getBoundingClientRect().width > 1;
  for (const e of document.querySelectorAll('main *')) {
    if (!visible(e) || e.closest('svg') || e.closest('thead')) continue;
    const box = e.getBoundingClientRect();
    if (box.right > wide.clientWidth + 0.5 || box.left < -0.5) found.push('beyond the window: ' + e.tagName + ' ' + e.textContent.slice(0, 60));
    if (e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0 && getComputedStyle(e).display !== 'inline') found.push('runs over: ' + e.tagName + ' ' + e.textContent.slice(0, 60));
  }
  for (const svg of document.querySelectorAll('svg.chart')) {
    if (!visible(svg)) continue;
    const outer = svg.getBoundingClientRect(), texts = [...svg.querySelectorAll('text')];
    const boxes = texts.map((text) => text.getBoundingClientRect());
    texts.forEach((text, i) => {
      const a = boxes[i], name = svg.querySelector('title').textContent + ': ' + text.textContent;
      if (a.left < outer.left - 1 || a.right > outer.right + 1 || a.top < outer.top - 2 || a.bottom > outer.bottom + 2) found.push('cut: ' + name);
      for (let j = i + 1; j < texts.length; j++) {
        const b = boxes[j], over = Math.min(a.right, b.right) - Math.max(a.left, b.left), high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (over > 1 && high > 3.5) found.push('overlap: ' + name + ' and ' + texts[j].textContent);
      }
    });
  }
  return found.slice(0, 40);
})()";

#[test]
#[ignore = "opens a browser; `cargo xtask test` runs it"]
fn it_opens_without_errors_and_asks_for_nothing() {
    let Some(mut browser) = Browser::start() else { return };
    let (_folder, html) = page(3000);
    for scripts in [true, false] {
        browser.scripts(scripts);
        browser.open(&html, 1280, 900);
        assert_eq!(browser.complaints, Vec::<String>::new());
        assert_eq!(browser.requests, [format!("file://{}", html.display())]);
    }
    browser.scripts(true);
    browser.open(&html, 1280, 900);
    assert_eq!(browser.value("document.title"), "Campaign sample", "no text of the guest may run");
    assert_eq!(browser.value("document.scripts.length"), 2);
    assert_eq!(browser.value("document.images.length"), 0);
}

#[test]
#[ignore = "opens a browser; `cargo xtask test` runs it"]
fn nothing_overlaps_or_is_cut() {
    let Some(mut browser) = Browser::start() else { return };
    let (_folder, html) = page(3000);
    for (width, scheme) in [(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")] {
        browser.scheme(scheme);
        browser.open(&html, width, 900);
        // With the first trials and all tables unfolded.
        for what in [
            "[...document.querySelectorAll('#rows button')].slice(0, 3).forEach((b) => b.click())",
            "document.querySelectorAll('main details').forEach((d) => { d.open = true; })",
        ] {
            browser.value(what);
        }
        let found = browser.value(LAYOUT);
        if scheme == "light" {
            browser.value("document.querySelectorAll('main details').forEach((d) => { d.open = false; })");
        }
        browser.picture(&picture(&format!("{width}-{scheme}.png")));
        assert_eq!(found, json!([]), "{width} {scheme}");
    }
    browser.scripts(false);
    browser.scheme("light");
    browser.open(&html, 400, 900);
    browser.picture(&picture("400-without-script.png"));
    assert!(browser.printed() >= 3);
}

#[test]
#[ignore = "opens a browser; `cargo xtask test` runs it"]
fn a_comparison_opens_and_nothing_of_it_overlaps_or_is_cut() {
    let Some(mut browser) = Browser::start() else { return };
    let (_folder, html) = comparison();
    for (width, scheme) in [(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")] {
        browser.scheme(scheme);
        browser.open(&html, width, 900);
        assert_eq!(browser.complaints, Vec::<String>::new());
        assert_eq!(browser.requests, [format!("file://{}", html.display())]);
        let found = browser.value(LAYOUT);
        browser.picture(&picture(&format!("comparison-{width}-{scheme}.png")));
        assert_eq!(found, json!([]), "{width} {scheme}");
    }
    let title = browser.value("document.title");
    assert!(title.as_str().unwrap().starts_with("sample and "), "no text of a campaign may run: {title}");
    assert_eq!(browser.value("document.scripts.length"), 0);
    assert!(browser.printed() >= 2);
}

/// The rows of the table, cell by cell.
fn rows(browser: &mut Browser) -> Vec<Vec<String>> {
    let text = "[...document.querySelectorAll('#rows > tr:not(.more)')].map((tr) => [...tr.cells].map((td) => td.textContent))";
    serde_json::from_value(browser.value(text)).unwrap()
}

fn column(browser: &mut Browser, number: usize) -> Vec<String> {
    rows(browser).into_iter().map(|mut row| row.swap_remove(number)).collect()
}

#[test]
#[ignore = "opens a browser; `cargo xtask test` runs it"]
fn trials_are_sorted_filtered_searched_and_unfolded() {
    let Some(mut browser) = Browser::start() else { return };
    let (_folder, html) = page(3000);
    browser.open(&html, 1280, 900);
    // The worst come first.
    assert_eq!(rows(&mut browser).len(), 50);
    assert!(column(&mut browser, 1).iter().all(|outcome| outcome == "crash"));
    let sort = |browser: &mut Browser, key: &str| {
        browser.value(&format!("document.querySelector('th[data-key={key}] button').click()"));
    };
    sort(&mut browser, "trial");
    let ids = |browser: &mut Browser| -> Vec<u64> {
        column(browser, 0).iter().map(|id| id.parse().unwrap()).collect()
    };
    assert_eq!(ids(&mut browser), (0..50).collect::<Vec<_>>());
    browser.value("document.getElementById('next').click()");
    assert_eq!(ids(&mut browser)[0], 50);
    sort(&mut browser, "trial");
    let down = ids(&mut browser);
    assert_eq!(down[0], 2999);
    assert!(down.is_sorted_by(|a, b| a > b));
    assert_eq!(
        browser.value("document.querySelector('th[aria-sort]').getAttribute('aria-sort')"),
        "descending"
    );
    sort(&mut browser, "at");
    let times = column(&mut browser, 3);
    let number = |text: &String| -> f64 {
        let (number, unit) = text.split_once(' ').unwrap();
        let scale = match unit {
            "ns" => 1.0,
            "µs" => 1e3,
            _ => 1e6,
        };
        number.parse::<f64>().unwrap() * scale
    };
    assert!(times.iter().map(number).collect::<Vec<f64>>().is_sorted(), "{times:?}");

    // Only hangs of the last stratum.
    browser.value("document.querySelectorAll('#outcomes input').forEach((box) => { if (box.value !== 'h' && box.checked) box.click(); })");
    browser.value("(() => { const s = document.getElementById('stratum'); s.value = '2'; s.dispatchEvent(new Event('change')); })()");
    let hangs = rows(&mut browser);
    assert!(!hangs.is_empty() && hangs.len() < 50);
    assert!(hangs.iter().all(|row| row[1] == "hang" && row[2] == "core <b>registers</b>"), "{hangs:?}");

    // Any text is searched for, hostile or not.
    browser.value(
        "document.querySelectorAll('#outcomes input').forEach((box) => { if (!box.checked) box.click(); })",
    );
    browser.value("(() => { const s = document.getElementById('stratum'); s.value = ''; s.dispatchEvent(new Event('change')); })()");
    let search = |browser: &mut Browser, text: &str| {
        let text = json!(text);
        browser.value(&format!("(async () => {{ const s = document.getElementById('search'); s.value = {text}; s.dispatchEvent(new Event('input')); await new Promise((done) => setTimeout(done, 300)); }})()"));
    };
    search(&mut browser, "<img src=x");
    let found = rows(&mut browser);
    assert!(!found.is_empty() && found.iter().all(|row| row.concat().contains("<img src=x")), "{found:?}");
    search(&mut browser, "nothing is called this");
    assert_eq!(browser.value("document.getElementById('count').textContent"), "no trial");
    search(&mut browser, "x3:");
    assert!(rows(&mut browser).iter().all(|row| row[4].starts_with("x3:")));
    search(&mut browser, "");

    // A trial unfolds to its evidence, its console and the command that repeats it.
    sort(&mut browser, "outcome");
    browser.value("document.querySelector('#rows button').click()");
    let more = browser.value("document.querySelector('#rows tr.more').textContent");
    let more = more.as_str().unwrap();
    assert!(
        more.contains("--trial ") && more.contains("a line before") && more.contains("\\x1b[31m"),
        "{more}"
    );
    browser.value("document.querySelector('#rows button').click()");
    assert_eq!(browser.value("document.querySelectorAll('#rows tr.more').length"), 0);
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
#[ignore = "opens a browser; measures, and asserts no speed"]
fn opening_times_are_measured() {
    let Some(mut browser) = Browser::start() else { return };
    eprintln!(
        "| trials | page | parsed | loaded | first picture | a filter and a sort | made in |\n|---:|---:|---:|---:|---:|---:|---:|"
    );
    for trials in [3000, 100_000] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sample.sqlite");
        drop(sample(&file, trials).unwrap());
        let html = folder.path().join("sample.html");
        let began = std::time::Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let output = command.arg("report").arg(&file).arg("--html").arg(&html).output().unwrap();
        assert!(output.status.success());
        let made = began.elapsed().as_secs_f64();
        let mut runs: Vec<[f64; 4]> = Vec::new();
        for _ in 0..5 {
            browser.open(&html, 1280, 900);
            let times = browser.value(
                "(async () => { let p; \
                 for (let i = 0; i < 200 && !p; i++) { await new Promise((done) => setTimeout(done, 10)); p = performance.getEntriesByName('first-contentful-paint')[0]; } \
                 const n = performance.getEntriesByType('navigation')[0]; \
                 const t = performance.now(); document.querySelector('#outcomes input').click(); document.querySelector('th[data-key=place] button').click(); \
                 return [n.domInteractive, n.loadEventStart, p.startTime, performance.now() - t]; })()",
            );
            let times: Vec<f64> = times.as_array().unwrap().iter().filter_map(Value::as_f64).collect();
            runs.push(times.try_into().unwrap());
        }
        let median = |at: usize| {
            let mut values: Vec<f64> = runs.iter().map(|run| run[at]).collect();
            values.sort_by(f64::total_cmp);
            values[2]
        };
        let size = std::fs::metadata(&html).unwrap().len();
        eprintln!(
            "| {trials} | {:.2} MB | {:.0} ms | {:.0} ms | {:.0} ms | {:.0} ms | {made:.1} s |",
            size as f64 / 1e6,
            median(0),
            median(1),
            median(2),
            median(3),
        );
        assert_eq!(browser.complaints, Vec::<String>::new());
        assert_eq!(browser.value(LAYOUT), json!([]), "{trials}");
        browser.picture(&picture(&format!("{trials}.png")));
    }
}
