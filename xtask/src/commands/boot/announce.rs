//! How to reach a headless guest, for people and as JSON.
//!
//! Invariant: **what it prints is all that it takes**: each command can be copied as it is.

use anyhow::Result;
use flipsim::machine::spec::{CONSOLE_LOG, CONSOLE_SOCKET, HMP_SOCKET, QMP_SOCKET};
use flipsim::wire::net::Endpoint;

use crate::guest::headless::HeadlessGuest;
use crate::paths;

impl HeadlessGuest {
    /// Says how to reach the guest.
    pub(super) fn announce(&self, json: bool) -> Result<()> {
        let socket = |name: &str| self.run.file(name);
        let gdb = self.run.gdb(&self.record)?;
        if json {
            let value = serde_json::json!({
                "name": self.record.name,
                "pid": self.record.process.map(|p| p.pid),
                "folder": self.run.path(),
                "qmp": socket(QMP_SOCKET),
                "monitor": socket(HMP_SOCKET),
                "gdb": gdb.to_string(),
                "console": socket(CONSOLE_SOCKET),
                "console_log": socket(CONSOLE_LOG),
                "share": self.record.share,
                "workload": self.record.workload,
                "clock": self.record.clock.name(),
                "stands_at_ns": self.stands_at.map(|time| time.0),
                "boot_seconds": self.ready.as_ref().map(|ready| ready.took.as_secs_f64()),
                "memory_map": self.ready.as_ref().map(|ready| if ready.has_iomem { "iomem" } else { "monitor" }),
                "disagreements": self.disagreements,
                "lacks": self.lacks,
            });
            outln!("{}", serde_json::to_string_pretty(&value)?);
            return Ok(());
        }
        let name = &self.record.name;
        match &self.ready {
            Some(_) => match self.stands_at {
                Some(time) => outln!("guest {name} is ready and stands at {time} of its exact clock"),
                None => outln!("guest {name} is ready"),
            },
            None if self.record.command.iter().any(|arg| arg == "-S") => {
                outln!("guest {name} waits for a debugger")
            }
            None => outln!("guest {name} is running"),
        }
        outln!(
            "  console   socat -,raw,echo=0,escape=0x1d UNIX-CONNECT:{}",
            paths::show(&socket(CONSOLE_SOCKET))
        );
        outln!("  log       tail -f {}", paths::show(&socket(CONSOLE_LOG)));
        outln!("  monitor   socat - UNIX-CONNECT:{}", paths::show(&socket(HMP_SOCKET)));
        let gdb = match &gdb {
            Endpoint::Unix(path) => paths::show(path),
            Endpoint::Tcp(..) => self.record.gdb.trim_start_matches("tcp:").to_owned(),
        };
        outln!("  gdb       gdb-multiarch -ex 'target remote {gdb}'");
        if let Some(share) = &self.record.share {
            outln!("  share     {} (host0 in the guest)", paths::show(share));
        }
        if self.stands_at.is_some() {
            outln!("  inject    cargo xtask inject auto 10 1ms 5ms ram --guest {name}");
            outln!("  let run   cargo xtask inject shell --guest {name}, then `run 100ms`, or `cont`");
        } else {
            outln!("  inject    cargo xtask inject ram --guest {name} --count 10");
        }
        outln!("  stop      cargo xtask boot stop {name}");
        for line in &self.lacks {
            outln!("  note      {line}");
        }
        for line in &self.disagreements {
            outln!("  warning   {line}");
        }
        Ok(())
    }
}
