//! A QMP monitor that answers from a script.
//!
//! Invariant: like QEMU's it serves one client at a time, takes no command before
//! `qmp_capabilities`, and echoes every `id`.

use std::collections::HashMap;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::fake_stub::StubHandle;
use super::server::{AfterClient, Server, lock};
use crate::wire::net::Endpoint;

/// How a monitor answers a command wrongly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misbehaviour {
    /// Closes the connection and listens no more.
    Die,
    /// Does so in the middle of the answer.
    DieMidLine,
    /// Says nothing.
    Silence,
    /// Sends these bytes, as they are, in place of the answer.
    Garbage(Vec<u8>),
    /// Sends the result of an earlier command before the right one.
    StaleResult,
    /// Sends the answer byte by byte.
    SplitEveryByte,
}

type Handler = Box<dyn FnMut(&Value) -> Result<Value, (String, String)> + Send>;

/// What a fake monitor will be.
pub struct FakeMonitorBuilder {
    greeting: Vec<u8>,
    greets: bool,
    running: bool,
    guest: Option<StubHandle>,
    handlers: HashMap<String, Handler>,
    misbehaviours: HashMap<String, Misbehaviour>,
    events: HashMap<String, Vec<(String, Value)>>,
    hmp: HashMap<String, String>,
}

impl FakeMonitorBuilder {
    /// The version in the greeting; 7.1.0 without this.
    #[must_use]
    pub fn version(mut self, major: u32, minor: u32, micro: u32) -> Self {
        let qemu = json!({ "micro": micro, "minor": minor, "major": major });
        let version = json!({ "qemu": qemu, "package": "" });
        let greeting = json!({ "QMP": { "version": version, "capabilities": ["oob"] } });
        self.greeting = format!("{greeting}\r\n").into_bytes();
        self
    }

    /// Sends these bytes in place of the greeting.
    #[must_use]
    pub fn greeting(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.greeting = bytes.into();
        self
    }

    /// Takes connections and sends no greeting, as when another client holds the monitor.
    #[must_use]
    pub fn no_greeting(mut self) -> Self {
        self.greets = false;
        self
    }

    /// The guest is stopped at first, as with `-S`. Otherwise it runs.
    #[must_use]
    pub fn stopped(mut self) -> Self {
        self.running = false;
        self
    }

    /// Lets `stop`, `cont` and `query-status` act on the guest of a fake stub.
    #[must_use]
    pub fn guest(mut self, stub: StubHandle) -> Self {
        self.guest = Some(stub);
        self
    }

    /// What a command returns.
    #[must_use]
    pub fn reply(self, command: &str, value: Value) -> Self {
        self.on(command, move |_| Ok(value.clone()))
    }

    /// The error that a command ends in.
    #[must_use]
    pub fn error(self, command: &str, class: &str, desc: &str) -> Self {
        let error = (class.to_owned(), desc.to_owned());
        self.on(command, move |_| Err(error.clone()))
    }

    /// What a command does: from its arguments to its value, or to class and text of an error.
    #[must_use]
    pub fn on(
        mut self,
        command: &str,
        handler: impl FnMut(&Value) -> Result<Value, (String, String)> + Send + 'static,
    ) -> Self {
        self.handlers.insert(command.to_owned(), Box::new(handler));
        self
    }

    /// Sends an event before the result of a command, each time.
    #[must_use]
    pub fn event_on(mut self, command: &str, event: &str, data: Value) -> Self {
        self.events.entry(command.to_owned()).or_default().push((event.to_owned(), data));
        self
    }

    /// What the human monitor prints for a command line.
    #[must_use]
    pub fn hmp(mut self, command_line: &str, text: &str) -> Self {
        self.hmp.insert(command_line.to_owned(), text.to_owned());
        self
    }

    /// Answers a command wrongly.
    #[must_use]
    pub fn misbehave(mut self, command: &str, how: Misbehaviour) -> Self {
        self.misbehaviours.insert(command.to_owned(), how);
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When the host has no room for a folder, a socket or a thread.
    #[must_use]
    pub fn spawn(self) -> FakeMonitor {
        let state = Arc::new(Mutex::new(State {
            running: self.running,
            guest: self.guest,
            handlers: self.handlers,
            misbehaviours: self.misbehaviours,
            events: self.events,
            hmp: self.hmp,
            client: None,
            negotiated: false,
            log: Vec::new(),
            sent_events: 0,
        }));
        let inside = state.clone();
        let greeting = self.greets.then_some(self.greeting);
        let server = Server::spawn("qmp", move |stream| serve(&inside, greeting.as_deref(), stream));
        FakeMonitor { state, server }
    }
}

/// A fake monitor that runs until it is dropped.
pub struct FakeMonitor {
    state: Arc<Mutex<State>>,
    server: Server,
}

impl FakeMonitor {
    /// The monitor of a running QEMU 7.1.0 with `stop`, `cont`, `query-status`, `query-commands`,
    /// `human-monitor-command` and `quit`.
    #[must_use]
    pub fn builder() -> FakeMonitorBuilder {
        let builder = FakeMonitorBuilder {
            greeting: Vec::new(),
            greets: true,
            running: true,
            guest: None,
            handlers: HashMap::new(),
            misbehaviours: HashMap::new(),
            events: HashMap::new(),
            hmp: HashMap::new(),
        };
        builder.version(7, 1, 0)
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.server.endpoint()
    }

    /// Sends an event to the present client, if there is one.
    pub fn send_event(&self, name: &str, data: Value) {
        lock(&self.state).send_event(name, data);
    }

    /// Every command line of JSON that came in, without its end, in order.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        lock(&self.state).log.clone()
    }

    /// Whether the guest runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        lock(&self.state).is_running()
    }
}

impl fmt::Debug for FakeMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeMonitor").field("endpoint", &self.endpoint()).finish_non_exhaustive()
    }
}

struct State {
    running: bool,
    guest: Option<StubHandle>,
    handlers: HashMap<String, Handler>,
    misbehaviours: HashMap<String, Misbehaviour>,
    events: HashMap<String, Vec<(String, Value)>>,
    hmp: HashMap<String, String>,
    client: Option<UnixStream>,
    negotiated: bool,
    log: Vec<String>,
    sent_events: i64,
}

/// What the fake has without a script.
const BUILT_IN: [&str; 7] =
    ["qmp_capabilities", "query-commands", "query-status", "stop", "cont", "human-monitor-command", "quit"];

fn serve(state: &Mutex<State>, greeting: Option<&[u8]>, stream: UnixStream) -> AfterClient {
    let Ok(client) = stream.try_clone() else { return AfterClient::Listen };
    {
        let mut state = lock(state);
        state.client = Some(client);
        state.negotiated = false;
        if let Some(greeting) = greeting {
            state.send(greeting);
        }
    }
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        let Ok(1..) = lines.read_line(&mut line) else { break };
        let next = if greeting.is_some() { lock(state).take(line.trim_end()) } else { AfterClient::Listen };
        if next == AfterClient::Die {
            lock(state).client = None;
            return next;
        }
    }
    lock(state).client = None;
    AfterClient::Listen
}

impl State {
    fn take(&mut self, line: &str) -> AfterClient {
        self.log.push(line.to_owned());
        let Ok(request) = serde_json::from_str::<Value>(line) else {
            let error = json!({ "class": "GenericError", "desc": "JSON parse error" });
            self.send_line(&json!({ "error": error }));
            return AfterClient::Listen;
        };
        let command = request["execute"].as_str().unwrap_or_default().to_owned();
        for (name, data) in self.events.get(&command).cloned().unwrap_or_default() {
            self.send_event(&name, data);
        }
        let outcome = self.execute(&command, &request["arguments"]);
        let mut answer = match outcome {
            Ok(value) => json!({ "return": value }),
            Err((class, desc)) => json!({ "error": { "class": class, "desc": desc } }),
        };
        if let Some(id) = request.get("id") {
            answer["id"] = id.clone();
        }
        let text = format!("{answer}\r\n");
        match self.misbehaviours.get(&command) {
            None => self.send(text.as_bytes()),
            Some(Misbehaviour::Silence) => {}
            Some(Misbehaviour::Die) => return AfterClient::Die,
            Some(Misbehaviour::DieMidLine) => {
                self.send(&text.as_bytes()[..text.len() / 2]);
                return AfterClient::Die;
            }
            Some(Misbehaviour::Garbage(bytes)) => {
                let bytes = bytes.clone();
                self.send(&bytes);
            }
            Some(Misbehaviour::StaleResult) => {
                self.send_line(&json!({ "return": "stale", "id": 0 }));
                self.send(text.as_bytes());
            }
            Some(Misbehaviour::SplitEveryByte) => {
                for byte in text.as_bytes() {
                    self.send(&[*byte]);
                }
            }
        }
        if command == "quit" { AfterClient::Die } else { AfterClient::Listen }
    }

    fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value, (String, String)> {
        let not_found = |desc: String| Err(("CommandNotFound".to_owned(), desc));
        if !self.negotiated && command != "qmp_capabilities" {
            return not_found("Expecting capabilities negotiation with 'qmp_capabilities'".to_owned());
        }
        if let Some(handler) = self.handlers.get_mut(command) {
            return handler(arguments);
        }
        match command {
            "qmp_capabilities" => self.negotiated = true,
            "query-commands" => {
                let scripted = self.handlers.keys().map(String::as_str);
                let mut names: Vec<&str> = BUILT_IN.into_iter().chain(scripted).collect();
                names.sort_unstable();
                names.dedup();
                return Ok(names.into_iter().map(|name| json!({ "name": name })).collect());
            }
            "query-status" => {
                let running = self.is_running();
                let status = if running { "running" } else { "paused" };
                return Ok(json!({ "running": running, "singlestep": false, "status": status }));
            }
            "stop" if self.is_running() => {
                match &self.guest {
                    Some(guest) => guest.stop_guest(2),
                    None => self.running = false,
                }
                self.send_event("STOP", Value::Null);
            }
            "cont" if !self.is_running() => {
                // QEMU says so before the vCPUs run, and so before the stop that may follow.
                self.send_event("RESUME", Value::Null);
                match &self.guest {
                    Some(guest) => guest.resume_guest(),
                    None => self.running = true,
                }
                if !self.is_running() {
                    self.send_event("STOP", Value::Null);
                }
            }
            "stop" | "cont" => {}
            "quit" => {
                self.send_event("SHUTDOWN", json!({ "guest": false, "reason": "host-qmp-quit" }));
            }
            "human-monitor-command" => {
                let line = arguments["command-line"].as_str().unwrap_or_default();
                let text = self.hmp.get(line).cloned();
                return Ok(Value::String(text.unwrap_or_else(|| format!("unknown command: '{line}'\r\n"))));
            }
            _ => return not_found(format!("The command {command} has not been found")),
        }
        Ok(json!({}))
    }

    fn is_running(&self) -> bool {
        self.guest.as_ref().map_or(self.running, StubHandle::is_running)
    }

    fn send_event(&mut self, name: &str, data: Value) {
        self.sent_events += 1;
        let timestamp = json!({ "seconds": 1_700_000_000_i64, "microseconds": self.sent_events });
        let mut event = json!({ "timestamp": timestamp, "event": name });
        if !data.is_null() {
            event["data"] = data;
        }
        self.send_line(&event);
    }

    fn send_line(&mut self, value: &Value) {
        self.send(format!("{value}\r\n").as_bytes());
    }

    fn send(&mut self, bytes: &[u8]) {
        if let Some(client) = &mut self.client {
            // A client that has gone is no concern of the monitor's.
            let _ = client.write_all(bytes);
        }
    }
}
