//! Signals: dialogues, READY, DONE and output, from lines of text.

use super::*;

fn signals(text: &str) -> Signals {
    toml::from_str(text).unwrap()
}

#[test]
fn a_login_is_answered_prompt_by_prompt_and_each_prompt_once() {
    let signals = signals(
        "dialogue = [{ wait = 'login: $', send = 'root' }, { wait = 'Password: $', send = 'x' }, \
         { wait = '# $', send = 'work' }]",
    );
    let mut approach = Approach::new(&signals);
    assert_eq!(approach.line("Debian GNU/Linux 12 debian ttyS0"), Next::Wait);
    assert_eq!(approach.awaits(), Some(Awaited::Prompt(0)));
    assert_eq!(approach.partial("debian login: "), Next::Type("root".into()));
    assert_eq!(approach.settle(), Next::Wait);
    // The echo ends the line of the prompt; what was answered is not answered again.
    assert_eq!(approach.partial("debian login: root"), Next::Wait);
    assert_eq!(approach.line("debian login: root"), Next::Wait);
    assert_eq!(approach.partial("Password: "), Next::Type("x".into()));
    assert_eq!(approach.line("Password: "), Next::Wait);
    assert_eq!(approach.partial("root@debian:~# "), Next::Type("work".into()));
    assert_eq!(approach.settle(), Next::Ready);
}

#[test]
fn the_same_prompt_twice_is_answered_twice() {
    let signals = signals("dialogue = [{ wait = '# $', send = 'a' }, { wait = '# $', send = 'b' }]");
    let mut approach = Approach::new(&signals);
    assert_eq!(approach.partial("/ # "), Next::Type("a".into()));
    assert_eq!(approach.partial("/ # "), Next::Wait);
    assert_eq!(approach.line("/ # a"), Next::Wait);
    assert_eq!(approach.partial("/ # "), Next::Type("b".into()));
}

#[test]
fn what_was_said_before_the_dialogue_is_over_is_no_ready() {
    let signals = signals("ready = '^UP$'\ndialogue = [{ wait = '# $', send = 'go' }]");
    let mut approach = Approach::new(&signals);
    assert_eq!(approach.line("UP"), Next::Wait);
    assert_eq!(approach.partial("# "), Next::Type("go".into()));
    assert_eq!(approach.line("# go"), Next::Wait);
    assert_eq!(approach.settle(), Next::Wait);
    assert_eq!(approach.line("UP"), Next::Wait);
    assert_eq!(approach.settle(), Next::Ready);
}

#[test]
fn a_rest_comes_last_and_once() {
    let signals = signals("ready = 'UP'\nready-after = 5000");
    let mut approach = Approach::new(&signals);
    assert_eq!(approach.settle(), Next::Wait);
    approach.line("UP");
    assert_eq!(approach.settle(), Next::Rest(VirtualNs(5000)));
    assert_eq!(approach.settle(), Next::Ready);
    assert_eq!(approach.awaits(), None, "only time has to pass");
    let alone = Signals { ready_after: Some(VirtualNs(7)), ..Signals::default() };
    assert_eq!(Approach::new(&alone).settle(), Next::Rest(VirtualNs(7)));
}

#[test]
fn without_signals_the_labs_own_marker_counts() {
    let signals = Signals::default();
    let mut approach = Approach::new(&signals);
    assert_eq!((approach.settle(), approach.awaits()), (Next::Wait, Some(Awaited::Ready)));
    approach.marked();
    assert_eq!((approach.settle(), approach.awaits()), (Next::Ready, None));
    assert!(signals.is_done_in(b"FLIPSIM DONE workload=fs digest=ab status=ok\n"));
}

#[test]
fn the_output_is_what_the_pattern_takes_of_a_line() {
    let console = b"[ 1.0] noise\nsum: 12ab (in 3 s)\nALL DONE\n";
    let signals = signals("done = '^ALL DONE$'\noutput = '^sum: ([0-9a-f]+)'");
    assert_eq!(&*signals.output_of(console), b"12ab\n");
    assert!(signals.is_done_in(console) && !signals.is_done_in(b"ALL DONE or not\n"));
    let lines = Signals { output: Some("^sum:".parse().unwrap()), ..Signals::default() };
    assert_eq!(&*lines.output_of(console), b"sum: 12ab (in 3 s)\n");
    assert_eq!(&*Signals::default().output_of(console), console);
}

#[test]
fn lines_that_count_are_no_output_unless_a_pattern_says_so() {
    let console = b"a\ncorrected 2\nb\ntail";
    let mut signals = signals("count = 'corrected ([0-9]+)'");
    assert_eq!(&*signals.output_of(console), b"a\nb\ntail");
    assert_eq!(&*signals.output_of(b"a\ncorrected 2"), b"a\n");
    assert_eq!(signals.line_of_output(console, 2), Some(3));
    assert!(!signals.are_the_labs() && signals.waits_for_marker());
    signals.output = Some("^corrected|^b".parse().unwrap());
    assert_eq!(&*signals.output_of(console), b"corrected 2\nb\n");
}

#[test]
fn at_power_on_nothing_is_waited_for_and_output_begins_in_userspace() {
    let on = signals("ready = 'power-on'");
    let mut approach = Approach::new(&on);
    assert_eq!((approach.settle(), approach.awaits()), (Next::Ready, None));
    assert!(on.are_in_the_labs_words() && !on.waits_for_marker() && !on.all_is_output());
    let console = b"[ 0.1] noise\n[ 0.2] Run /sbin/init as init process\nFLIPSIM READY workload=fs\nsum 12";
    assert_eq!(on.reached(console), Some(Reached::Userspace));
    assert_eq!(on.reached(&console[..20]), Some(Reached::BeforeUserspace));
    assert_eq!(Signals::default().reached(console), None);
    assert_eq!(&*on.output_of(console), b"FLIPSIM READY workload=fs\nsum 12");
    assert_eq!((&*on.output_of(&console[..20]), on.line_of_output(console, 1)), (&b""[..], Some(3)));
    let own = signals("ready = 'power-on'\nuserspace = '^up'\noutput = 'noise|sum (.*)'");
    assert_eq!(own.reached(console), Some(Reached::BeforeUserspace));
    assert_eq!(&*own.output_of(b"noise\nup\nsum 12\n"), b"noise\n12\n");
    assert!(!signals("ready = 'power-on'\ndone = 'BYE'").are_in_the_labs_words());
    // A line with these words is found by another pattern.
    assert!(signals("ready = 'power[-]on'").ready_line().is_some());
    assert_eq!(serde_json::from_str::<Signals>(&serde_json::to_string(&own).unwrap()).unwrap(), own);
    own.check().unwrap();
    assert_eq!(signals("ready = 'x'\nuserspace = 'y'").check(), Err(SignalError::Userspace));
    let types = signals("ready = 'power-on'\ndialogue = [{ wait = 'x', send = 'y' }]");
    assert_eq!(types.check(), Err(SignalError::BeforePowerOn));
    assert_eq!(signals("ready = 'power-on'\nready-after = 5").check(), Err(SignalError::BeforePowerOn));
}

#[test]
fn bad_patterns_and_exchanges_are_reported() {
    let bad = |text: &str| text.parse::<Exchange>().unwrap_err().to_string();
    assert_eq!(bad("login:"), "`login:` is no exchange; write PATTERN => TEXT, as in 'login: => root'");
    let text = bad("log(in => root");
    assert!(text.starts_with("`log(in` is no regular expression: unclosed group; put"), "{text}");
    assert_eq!(bad(" => root"), SignalError::Empty.to_string());
    assert!(bad("login: => ro\u{3}ot").contains("cannot be typed"));
    let good: Exchange = "a => b:  => echo hi ".parse().unwrap();
    assert_eq!((good.wait.to_string().as_str(), good.send.as_str()), ("a => b:", "echo hi"));
    assert!(toml::from_str::<Signals>("dialogue = [{ wait = 'x', send = 'y', then = 'z' }]").is_err());
    let json = serde_json::to_string(&good).unwrap();
    assert_eq!(serde_json::from_str::<Exchange>(&json).unwrap(), good);
}
