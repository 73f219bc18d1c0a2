//! A client for QEMU's machine protocol, QMP.
//!
//! Source: QEMU's `docs/interop/qmp-spec.txt`.
//!
//! Invariant: a result belongs to the command that was executed, by its `id`; events that come in
//! between are kept in their order, up to a bound, and what the bound dropped is counted.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::wire::net::{Endpoint, NetError, Stream, Timeouts};

/// Events kept until they are taken; a guest that resets without end must not fill the memory.
const MAX_EVENTS: usize = 4096;

/// The longest line that is taken, in bytes. The longest that QEMU sends is its schema, some 250 KiB.
const MAX_LINE: usize = 16 << 20;

/// A version of QEMU, from the greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QemuVersion {
    /// As the 7 of 7.2.19.
    pub major: u32,
    /// As the 2 of 7.2.19.
    pub minor: u32,
    /// As the 19 of 7.2.19.
    pub micro: u32,
}

impl fmt::Display for QemuVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// Something that happened in QEMU.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its name, as in `STOP` or `GUEST_PANICKED`.
    pub name: String,
    /// What it carries; `Null` when it carries nothing.
    pub data: Value,
    /// When, on the host's clock, in whole seconds since 1970; -1 when QEMU does not know.
    pub seconds: i64,
    /// The microseconds beside the seconds.
    pub microseconds: i64,
}

/// Whether the guest runs, and QEMU's name for its state (`query-status`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct QemuStatus {
    /// Whether the vCPUs run.
    pub running: bool,
    /// QEMU's run state, as in `running`, `paused`, `guest-panicked`, `postmigrate`.
    pub status: String,
}

/// What went wrong between this client and QEMU.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// No connection.
    #[error("no connection to the QMP monitor: {0}")]
    Connect(#[from] NetError),
    /// Connected, and no greeting.
    #[error(
        "no greeting from {endpoint}: another client holds this monitor, which serves one at a time; \
         close that one, or start the guest with a second -qmp socket"
    )]
    Busy {
        /// Where the monitor is.
        endpoint: Endpoint,
    },
    /// Something greeted that is no QMP monitor.
    #[error(
        "{endpoint} is no QMP monitor, it said `{line}`; is this the socket of -monitor or of the console?"
    )]
    NotQmp {
        /// Where it is.
        endpoint: Endpoint,
        /// The beginning of what it said.
        line: String,
    },
    /// QEMU refused the command.
    #[error("QEMU refused `{command}`: {desc} ({class})")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's class of the error, as in `GenericError` or `CommandNotFound`.
        class: String,
        /// QEMU's words.
        desc: String,
    },
    /// No result in time. A late result is discarded.
    #[error("no result of `{command}` within {after:?}; QEMU is stuck or the host overloaded")]
    TimedOut {
        /// The command.
        command: String,
        /// How long the wait was.
        after: Duration,
    },
    /// The end of the stream.
    #[error("{endpoint} was closed; QEMU has ended or crashed, see its log")]
    Closed {
        /// Where the monitor was.
        endpoint: Endpoint,
    },
    /// A line that is no JSON object of this protocol.
    #[error("{endpoint} sent `{line}`, which is not QMP; is something else writing to this socket?")]
    Garbage {
        /// Where the monitor is.
        endpoint: Endpoint,
        /// The beginning of the line.
        line: String,
    },
    /// A line without an end.
    #[error("{endpoint} sent a line of more than {limit} bytes; is this a QMP monitor?")]
    TooLong {
        /// Where the monitor is.
        endpoint: Endpoint,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A result of another shape than expected from this version of QEMU.
    #[error("the result of `{command}` has another shape than expected: {reason}")]
    Shape {
        /// The command.
        command: String,
        /// What is wrong.
        reason: String,
    },
    /// What the system said.
    #[error("{endpoint}: {source}; connect again")]
    Io {
        /// Where the monitor is.
        endpoint: Endpoint,
        /// The cause.
        source: io::Error,
    },
}

/// A connection to one QMP monitor, in command mode. Dropping it closes it; the guest is not touched.
pub struct QmpClient {
    stream: Stream,
    endpoint: Endpoint,
    timeouts: Timeouts,
    version: QemuVersion,
    next_id: u64,
    /// What has arrived and is not yet a whole line.
    buffer: Vec<u8>,
    /// How much of the buffer has no end of line in it.
    searched: usize,
    events: VecDeque<Event>,
    dropped_events: u64,
    commands: Option<Vec<String>>,
}

/// A line of the protocol, taken apart.
enum Message {
    Event(Event),
    Result { id: Option<u64>, outcome: Result<Value, (String, String)> },
    Greeting(QemuVersion),
}

impl QmpClient {
    /// Connects, reads the greeting, and leaves capability negotiation mode.
    ///
    /// # Errors
    /// [`QmpError::Connect`]; [`QmpError::Busy`] when no greeting comes; [`QmpError::NotQmp`].
    pub fn connect(endpoint: &Endpoint, timeouts: Timeouts) -> Result<Self, QmpError> {
        let stream = endpoint.connect(timeouts.connect)?;
        let mut client = QmpClient {
            stream,
            endpoint: endpoint.clone(),
            timeouts,
            version: QemuVersion { major: 0, minor: 0, micro: 0 },
            next_id: 1,
            buffer: Vec::new(),
            searched: 0,
            events: VecDeque::new(),
            dropped_events: 0,
            commands: None,
        };
        let set = client.stream.set_write_timeout(Some(timeouts.reply));
        set.map_err(|source| QmpError::Io { endpoint: endpoint.clone(), source })?;
        let deadline = Instant::now() + timeouts.reply;
        client.version = loop {
            match client.read_message(deadline) {
                Ok(Some(Message::Greeting(version))) => break version,
                // QEMU sends events only after the negotiation, but they would do no harm.
                Ok(Some(Message::Event(_))) => {}
                Ok(Some(Message::Result { .. })) => {
                    return Err(QmpError::NotQmp {
                        endpoint: endpoint.clone(),
                        line: "a result without a command".to_owned(),
                    });
                }
                Ok(None) if client.buffer.is_empty() => {
                    return Err(QmpError::Busy { endpoint: endpoint.clone() });
                }
                // A prompt has no end of line.
                Ok(None) => {
                    return Err(QmpError::NotQmp { endpoint: endpoint.clone(), line: shown(&client.buffer) });
                }
                Err(QmpError::Garbage { endpoint, line }) => return Err(QmpError::NotQmp { endpoint, line }),
                Err(error) => return Err(error),
            }
        };
        client.execute("qmp_capabilities", Value::Null)?;
        Ok(client)
    }

    /// Where the monitor is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// QEMU's version, from the greeting.
    #[must_use]
    pub fn version(&self) -> QemuVersion {
        self.version
    }

    /// Runs a command with the usual time-out. `arguments` is an object, or `Null` for none.
    ///
    /// # Errors
    /// [`QmpError::Refused`] with QEMU's own words, [`QmpError::TimedOut`], [`QmpError::Closed`].
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        self.execute_within(command, arguments, self.timeouts.reply)
    }

    /// As [`execute`](Self::execute), with a separate time-out for commands that take long.
    ///
    /// # Errors
    /// Those of [`execute`](Self::execute).
    pub fn execute_within(
        &mut self,
        command: &str,
        arguments: Value,
        timeout: Duration,
    ) -> Result<Value, QmpError> {
        let deadline = Instant::now() + timeout;
        let id = self.next_id;
        self.next_id += 1;
        let request = match arguments {
            Value::Null => json!({ "execute": command, "id": id }),
            arguments => json!({ "execute": command, "arguments": arguments, "id": id }),
        };
        let mut line = request.to_string().into_bytes();
        line.push(b'\n');
        let timed_out = || QmpError::TimedOut { command: command.to_owned(), after: timeout };
        if let Err(source) = self.stream.write_all(&line) {
            return Err(match source.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => timed_out(),
                _ => self.io(source),
            });
        }
        loop {
            match self.read_message(deadline)?.ok_or_else(timed_out)? {
                Message::Event(event) => self.keep(event),
                // Without an id QEMU answers what it could not even parse: that was ours.
                Message::Result { id: answered, outcome } if answered.is_none_or(|it| it == id) => {
                    return outcome.map_err(|(class, desc)| QmpError::Refused {
                        command: command.to_owned(),
                        class,
                        desc,
                    });
                }
                // The late result of a command that was given up.
                Message::Result { .. } | Message::Greeting(_) => {}
            }
        }
    }

    /// Runs a command line of the human monitor, and returns what it printed.
    ///
    /// # Errors
    /// Those of [`execute`](Self::execute). The human monitor's own errors are only text in what it printed.
    pub fn hmp(&mut self, command_line: &str) -> Result<String, QmpError> {
        let command = "human-monitor-command";
        match self.execute(command, json!({ "command-line": command_line }))? {
            Value::String(text) => Ok(text),
            other => Err(shape(command, format!("`{}` is no text", shown(other.to_string().as_bytes())))),
        }
    }

    /// The commands that this QEMU has, in its order. Asked once, then remembered.
    ///
    /// # Errors
    /// Those of [`execute`](Self::execute).
    pub fn query_commands(&mut self) -> Result<&[String], QmpError> {
        #[derive(Deserialize)]
        struct Name {
            name: String,
        }
        let commands = match self.commands.take() {
            Some(commands) => commands,
            None => {
                let names: Vec<Name> = self.query("query-commands")?;
                names.into_iter().map(|entry| entry.name).collect()
            }
        };
        Ok(self.commands.insert(commands))
    }

    /// Whether the guest runs.
    ///
    /// # Errors
    /// Those of [`execute`](Self::execute).
    pub fn status(&mut self) -> Result<QemuStatus, QmpError> {
        self.query("query-status")
    }

    fn query<T: serde::de::DeserializeOwned>(&mut self, command: &str) -> Result<T, QmpError> {
        let value = self.execute(command, Value::Null)?;
        serde_json::from_value(value).map_err(|error| shape(command, error.to_string()))
    }

    /// Takes every event that has come, oldest first, without waiting.
    ///
    /// # Errors
    /// [`QmpError::Closed`] when QEMU is gone and no event is left to take; so an event that came
    /// before the end is never lost to it.
    pub fn take_events(&mut self) -> Result<Vec<Event>, QmpError> {
        let result = self.drain();
        if self.events.is_empty() {
            result?;
        }
        Ok(self.events.drain(..).collect())
    }

    /// Waits for an event of one of these names, of any when there are none, and takes it; others stay,
    /// in their order. `None`: none came within `timeout`.
    ///
    /// # Errors
    /// [`QmpError::Closed`] when QEMU is gone and no such event had come.
    pub fn wait_event(&mut self, names: &[&str], timeout: Duration) -> Result<Option<Event>, QmpError> {
        let deadline = Instant::now() + timeout;
        let mut searched = 0;
        loop {
            let wanted = |event: &Event| names.is_empty() || names.contains(&event.name.as_str());
            let found = self.events.range(searched..).position(wanted);
            if let Some(at) = found {
                return Ok(self.events.remove(searched + at));
            }
            searched = self.events.len();
            match self.read_message(deadline)? {
                None => return Ok(None),
                Some(Message::Event(event)) => {
                    self.keep(event);
                    // A full queue has lost its oldest, and the new one is its last.
                    searched = searched.min(self.events.len() - 1);
                }
                Some(Message::Result { .. } | Message::Greeting(_)) => {}
            }
        }
    }

    /// How many events were dropped, oldest first, because they were not taken in time.
    #[must_use]
    pub fn dropped_events(&self) -> u64 {
        self.dropped_events
    }

    fn drain(&mut self) -> Result<(), QmpError> {
        let now = Instant::now();
        while let Some(message) = self.read_message(now)? {
            if let Message::Event(event) = message {
                self.keep(event);
            }
        }
        Ok(())
    }

    fn keep(&mut self, event: Event) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
            self.dropped_events += 1;
        }
        self.events.push_back(event);
    }

    /// The next message until the deadline; what has arrived already counts even after it.
    fn read_message(&mut self, deadline: Instant) -> Result<Option<Message>, QmpError> {
        loop {
            let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                if !self.fill(deadline)? {
                    return Ok(None);
                }
                continue;
            };
            let end = self.searched + end;
            let line = self.buffer[..end].trim_ascii();
            let message = (!line.is_empty()).then(|| parse(line).ok_or_else(|| shown(line)));
            self.buffer.drain(..=end);
            self.searched = 0;
            match message {
                None => {}
                Some(Ok(message)) => return Ok(Some(message)),
                Some(Err(line)) => return Err(QmpError::Garbage { endpoint: self.endpoint.clone(), line }),
            }
        }
    }

    fn fill(&mut self, deadline: Instant) -> Result<bool, QmpError> {
        if self.buffer.len() > MAX_LINE {
            return Err(QmpError::TooLong { endpoint: self.endpoint.clone(), limit: MAX_LINE });
        }
        let mut piece = [0; 0x4000];
        match self.stream.read_until(&mut piece, deadline) {
            Ok(None) => Ok(false),
            Ok(Some(0)) => Err(QmpError::Closed { endpoint: self.endpoint.clone() }),
            Ok(Some(count)) => {
                self.buffer.extend_from_slice(&piece[..count]);
                Ok(true)
            }
            Err(source) => Err(self.io(source)),
        }
    }

    fn io(&self, source: io::Error) -> QmpError {
        let endpoint = self.endpoint.clone();
        match source.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => QmpError::Closed { endpoint },
            _ => QmpError::Io { endpoint, source },
        }
    }
}

impl fmt::Debug for QmpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QmpClient")
            .field("endpoint", &self.endpoint)
            .field("version", &self.version)
            .field("events", &self.events.len())
            .finish_non_exhaustive()
    }
}

fn shape(command: &str, reason: String) -> QmpError {
    QmpError::Shape { command: command.to_owned(), reason }
}

/// The result of a command that was executed by other means, from the line that QEMU answered.
///
/// # Errors
/// [`QmpError::Refused`]; [`QmpError::Shape`] where the line is no result.
pub fn result_of(command: &str, line: &str) -> Result<Value, QmpError> {
    match parse(line.trim().as_bytes()) {
        Some(Message::Result { outcome, .. }) => {
            outcome.map_err(|(class, desc)| QmpError::Refused { command: command.to_owned(), class, desc })
        }
        _ => Err(shape(command, format!("`{}` is no result", shown(line.as_bytes())))),
    }
}

/// One line. `None`: it is no message of this protocol.
fn parse(line: &[u8]) -> Option<Message> {
    let Value::Object(mut object) = serde_json::from_slice(line).ok()? else { return None };
    let id = object.get("id").and_then(Value::as_u64);
    if let Some(value) = object.remove("return") {
        return Some(Message::Result { id, outcome: Ok(value) });
    }
    let text = |value: &Value, key: &str| Some(value.get(key)?.as_str()?.to_owned());
    if let Some(error) = object.get("error") {
        let outcome = Err((text(error, "class")?, text(error, "desc")?));
        return Some(Message::Result { id, outcome });
    }
    if let Some(Value::String(name)) = object.remove("event") {
        let time = |key| object.get("timestamp").and_then(|it| it.get(key)?.as_i64()).unwrap_or(-1);
        let (seconds, microseconds) = (time("seconds"), time("microseconds"));
        let data = object.remove("data").unwrap_or_default();
        return Some(Message::Event(Event { name, data, seconds, microseconds }));
    }
    let version = object.get("QMP")?.get("version")?.get("qemu")?;
    let part = |key| u32::try_from(version.get(key)?.as_u64()?).ok();
    Some(Message::Greeting(QemuVersion {
        major: part("major")?,
        minor: part("minor")?,
        micro: part("micro")?,
    }))
}

/// The beginning of a line, readable.
fn shown(line: &[u8]) -> String {
    const MOST: usize = 80;
    let mut text = line[..line.len().min(MOST)].escape_ascii().to_string();
    if line.len() > MOST {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests;
