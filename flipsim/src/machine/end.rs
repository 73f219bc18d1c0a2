//! How a guest ended, from what QEMU reports of it: its run state, its events, and the reason of a shutdown.
//!
//! Invariant: **this is the one table of QEMU's words for an end**; who ended a guest, it or the host, is answered the
//! same for all callers.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::target::{EXCEPTION_STORM, WALL_TIME};

/// Why a guest stopped before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It reported to QEMU that it panicked.
    Panic,
    /// It reset itself.
    Reset,
    /// It switched itself off.
    PowerOff,
    /// It takes one exception after the other, and does nothing else any more.
    ExceptionStorm,
    /// It took more of the host's time than a trial may.
    WallTime,
    /// The host ended or stopped it, or QEMU did for a reason that is not the guest's.
    Other,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// The event for the end of QEMU itself, which its watcher writes down.
pub const EXIT: &str = "EXIT";

/// QEMU's reasons in the events `SHUTDOWN` and `RESET` that are the guest's (`qapi/run-state.json`,
/// `ShutdownCause`). All others (`none`, `host-error`, `host-qmp-quit`, `host-qmp-system-reset`, `host-signal`,
/// `host-ui`, `snapshot-load`) are the host's, though QEMU's `shutdown_caused_by_guest()`, a comparison of numbers,
/// counts the last one, too.
const GUESTS: [(&str, End); 4] = [
    ("guest-shutdown", End::PowerOff),
    ("guest-reset", End::Reset),
    ("guest-panic", End::Panic),
    // A reset of a part of the machine, as kexec and kdump do on s390x.
    ("subsystem-reset", End::Reset),
];

impl End {
    /// How a guest ended, or `None` for one that has not.
    ///
    /// `status` is QEMU's run state (`query-status`), or [`WALL_TIME`] for a guest that ran out of the host's time;
    /// `None` where it was not asked. `events` are the names of its events, and `reason` the one that the last SHUTDOWN
    /// or RESET of them gives.
    #[must_use]
    pub fn of(status: Option<&str>, reason: Option<&str>, events: &[&str]) -> Option<End> {
        let has = |name: &str| events.contains(&name);
        let guests = |reason: &str| GUESTS.iter().find(|(word, _)| *word == reason).map(|(_, end)| *end);
        match (status, reason) {
            // It still ran, and was stopped by us.
            (Some(WALL_TIME), _) => Some(End::WallTime),
            // pvpanic (`qemu_system_guest_panicked()`): what follows a panic is part of it.
            (Some("guest-panicked"), _) => Some(End::Panic),
            _ if has("GUEST_PANICKED") => Some(End::Panic),
            (_, Some(reason)) if guests(reason).is_some() => guests(reason),
            // The lab's own event; QEMU's run state is `internal-error` then.
            _ if has(EXCEPTION_STORM) => Some(End::ExceptionStorm),
            // A shutdown whose reason is known and is not the guest's.
            (_, Some(_)) => Some(End::Other),
            (Some("internal-error" | "io-error"), _) => Some(End::Other),
            _ if has(EXIT) => Some(End::Other),
            // Off, and the event is gone: QEMU without a user's hand on it is switched off by its guest.
            (Some("shutdown"), _) => Some(End::PowerOff),
            // `running`, `paused`, `inmigrate`, `postmigrate`, `save-vm` and the like.
            _ => None,
        }
    }

    /// The same from events with their details.
    pub fn from_events<'a>(
        status: Option<&str>,
        events: impl Iterator<Item = (&'a str, &'a Value)> + Clone,
    ) -> Option<End> {
        let names: Vec<&str> = events.clone().map(|(name, _)| name).collect();
        End::of(status, reason(events), &names)
    }

    /// What it was, in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            End::Panic => "the guest reported to QEMU that it panicked",
            End::Reset => "the guest reset itself",
            End::PowerOff => "the guest switched itself off",
            End::ExceptionStorm => {
                "an exception storm: it takes one exception after the other and does nothing else"
            }
            End::WallTime => "the guest did not get on for a long time on the host's clock",
            End::Other => "QEMU stopped the guest for a reason that is not the guest's",
        }
    }
}

/// The reason that counts: of the last `SHUTDOWN`, or of a `RESET` by the guest where there was none. A reset by the
/// host ends nothing.
pub fn reason<'a>(events: impl Iterator<Item = (&'a str, &'a Value)>) -> Option<&'a str> {
    let (mut shutdown, mut reset) = (None, None);
    for (name, data) in events {
        let reason = data.get("reason").and_then(Value::as_str);
        match name {
            "SHUTDOWN" => shutdown = Some(reason.unwrap_or("unknown")),
            "RESET" => {
                reset = reason.filter(|reason| GUESTS.iter().any(|(word, _)| word == reason)).or(reset)
            }
            _ => {}
        }
    }
    shutdown.or(reset)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Run state, the reason of a `SHUTDOWN`, other events, and the end.
    type Row = (Option<&'static str>, Option<&'static str>, &'static [&'static str], Option<End>);

    const TABLE: &[Row] = &[
        (Some("running"), None, &[], None),
        (Some("paused"), None, &["STOP"], None),
        (Some("postmigrate"), None, &[], None),
        (None, None, &[], None),
        // The guest's.
        (Some("shutdown"), Some("guest-shutdown"), &[], Some(End::PowerOff)),
        (Some("shutdown"), Some("guest-reset"), &[], Some(End::Reset)),
        (Some("shutdown"), Some("subsystem-reset"), &[], Some(End::Reset)),
        (Some("shutdown"), Some("guest-panic"), &[], Some(End::Panic)),
        (Some("guest-panicked"), None, &["GUEST_PANICKED"], Some(End::Panic)),
        (None, None, &["GUEST_PANICKED"], Some(End::Panic)),
        (Some("shutdown"), Some("guest-reset"), &["GUEST_PANICKED"], Some(End::Panic)),
        (Some("internal-error"), None, &[EXCEPTION_STORM], Some(End::ExceptionStorm)),
        (None, Some("guest-reset"), &[EXIT], Some(End::Reset)),
        // Nothing says who did it.
        (Some("shutdown"), None, &[], Some(End::PowerOff)),
        // The host's.
        (Some("shutdown"), Some("none"), &[], Some(End::Other)),
        (Some("shutdown"), Some("host-error"), &[], Some(End::Other)),
        (Some("shutdown"), Some("host-qmp-quit"), &[], Some(End::Other)),
        (Some("shutdown"), Some("host-qmp-system-reset"), &[], Some(End::Other)),
        (Some("shutdown"), Some("host-signal"), &[EXIT], Some(End::Other)),
        (None, Some("host-ui"), &[], Some(End::Other)),
        (Some("shutdown"), Some("snapshot-load"), &[], Some(End::Other)),
        (Some("internal-error"), None, &[], Some(End::Other)),
        (Some("io-error"), None, &[], Some(End::Other)),
        (None, None, &[EXIT], Some(End::Other)),
        (Some(WALL_TIME), None, &[], Some(End::WallTime)),
    ];

    #[test]
    fn who_ended_a_guest_and_how_follows_from_qemus_words() {
        for (status, reason, others, end) in TABLE {
            let shutdown = reason.map(|reason| ("SHUTDOWN", json!({ "reason": reason })));
            let others = others.iter().map(|name| (*name, json!({})));
            let events: Vec<(&str, Value)> = others.chain(shutdown).collect();
            let found = End::from_events(*status, events.iter().map(|(name, data)| (*name, data)));
            assert_eq!(found, *end, "{status:?}, {reason:?}, {events:?}");
        }
    }

    #[test]
    fn a_reset_ends_a_guest_when_it_is_the_guests_own() {
        let end = |reason: &str| {
            let data = json!({ "guest": true, "reason": reason });
            End::from_events(Some("running"), [("RESET", &data)].into_iter())
        };
        assert_eq!(end("guest-reset"), Some(End::Reset));
        assert_eq!(end("subsystem-reset"), Some(End::Reset));
        assert_eq!(end("host-qmp-system-reset"), None);
        // Right before a snapshot is loaded the lab has the machine reset.
        let (own, by_us) =
            (json!({ "reason": "guest-shutdown" }), json!({ "reason": "host-qmp-system-reset" }));
        let events = [("SHUTDOWN", &own), ("RESET", &by_us)];
        assert_eq!(End::from_events(None, events.into_iter()), Some(End::PowerOff));
    }

    #[test]
    fn the_words_in_records_stay() {
        let all = [End::Panic, End::Reset, End::PowerOff, End::ExceptionStorm, End::WallTime, End::Other];
        let words = all.map(|end| end.to_string());
        assert_eq!(words, ["panic", "reset", "power-off", "exception-storm", "wall-time", "other"]);
        assert_eq!(serde_json::to_value(End::PowerOff).unwrap(), "power-off");
    }
}
