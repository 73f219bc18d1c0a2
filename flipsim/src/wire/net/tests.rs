//! Tests of `net`.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use proptest::prelude::*;

use super::*;

const SHORT: Duration = Duration::from_millis(200);

fn tcp(host: &str, port: u16) -> Endpoint {
    Endpoint::Tcp(host.to_owned(), port)
}

#[test]
fn endpoints_are_read_in_every_form() {
    let unix = |path: &str| Endpoint::Unix(path.into());
    for (text, endpoint) in [
        ("unix:/run/a.sock", unix("/run/a.sock")),
        ("unix:a:b", unix("a:b")),
        ("/run/a:1234", unix("/run/a:1234")),
        ("./gdb", unix("./gdb")),
        ("tcp:host:1234", tcp("host", 1234)),
        ("tcp:1234", tcp("localhost", 1234)),
        ("host:1234", tcp("host", 1234)),
        (":1234", tcp("localhost", 1234)),
        ("tcp::1234", tcp("localhost", 1234)),
        ("[::1]:1234", tcp("::1", 1234)),
        ("tcp:[fe80::1%eth0]:1234", tcp("fe80::1%eth0", 1234)),
        (" 127.0.0.1:65535 ", tcp("127.0.0.1", 65535)),
    ] {
        assert_eq!(text.parse(), Ok(endpoint), "{text}");
    }
}

#[test]
fn text_that_names_no_socket_is_refused_with_the_forms_that_do() {
    for bad in [
        "",
        "host",
        "1234",
        "unix:",
        "tcp:",
        "tcp:host",
        "h:0",
        "h:65536",
        "h:+1",
        "::1:5",
        "[]:5",
        "a b:5",
        "[host]:5",
        "tcp:[a/b]:5",
        "[%eth0]:5",
    ] {
        assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
    }
    insta::assert_snapshot!(
        "host".parse::<Endpoint>().unwrap_err(),
        @"`host` names no socket; write unix:/path, tcp:host:port, host:port, or tcp:port for this host"
    );
}

#[test]
fn a_missing_socket_asks_whether_the_guest_runs() {
    let error = Endpoint::Unix("/nonexistent/gdb".into()).connect(SHORT).unwrap_err();
    insta::assert_snapshot!(
        error,
        @"unix:/nonexistent/gdb does not exist; is the guest running, and was it started with this socket?"
    );
}

#[test]
fn a_socket_without_a_listener_is_distinguished_from_a_missing_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("left-behind");
    drop(UnixListener::bind(&path).unwrap());
    let error = Endpoint::Unix(path).connect(SHORT).unwrap_err();
    assert!(matches!(error, NetError::Refused { .. }), "{error}");

    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = tcp("127.0.0.1", port).connect(SHORT).unwrap_err();
    assert!(matches!(error, NetError::Refused { .. }), "{error}");
}

#[test]
fn a_full_backlog_ends_the_wait_instead_of_blocking_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("busy");
    let listener = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&listener, 1).unwrap();
    let endpoint = Endpoint::Unix(path);
    let mut waiting = Vec::new();
    let error = loop {
        match endpoint.connect(Duration::from_millis(30)) {
            Ok(stream) => waiting.push(stream),
            Err(error) => break error,
        }
        assert!(waiting.len() < 10);
    };
    assert!(matches!(error, NetError::TimedOut { .. }), "{error}");
    assert!(error.to_string().contains("another client may hold it"));
}

#[test]
fn a_unix_path_longer_than_sun_path_is_reached_through_its_folder() {
    let root = tempfile::tempdir().unwrap();
    for depth in 1..4 {
        let folder = root.path().join(vec!["a-folder-of-forty-characters-for-a-long-p"; depth].join("/"));
        std::fs::create_dir_all(&folder).unwrap();
        let short = rustix::fs::open(&folder, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let _listener =
            UnixListener::bind(format!("/proc/self/fd/{}/gdb.socket", short.as_raw_fd())).unwrap();
        let endpoint = Endpoint::Unix(folder.join("gdb.socket"));
        assert!(endpoint.connect(SHORT).is_ok(), "{endpoint}");
    }
}

#[test]
fn a_file_name_that_no_socket_can_have_is_a_separate_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = Endpoint::Unix(folder.path().join("n".repeat(120))).connect(SHORT).unwrap_err();
    assert!(matches!(error, NetError::NameTooLong { .. }), "{error}");
    let error = Endpoint::Unix("n".repeat(120).into()).connect(SHORT).unwrap_err();
    assert!(matches!(error, NetError::NameTooLong { .. }), "{error}");
}

#[test]
fn tcp_goes_without_delay_and_localhost_is_tried_at_all_its_addresses() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let Socket::Tcp(stream) = tcp("localhost", port).connect(SHORT).unwrap().socket else {
        panic!("no TCP stream");
    };
    assert!(stream.nodelay().unwrap());
}

#[test]
fn a_read_ends_at_its_deadline_and_takes_what_came_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let mut stream = Endpoint::Unix(path).connect(SHORT).unwrap();
    let (mut other, _) = listener.accept().unwrap();
    let mut bytes = [0; 8];
    let start = Instant::now();
    assert_eq!(stream.read_until(&mut bytes, start + Duration::from_millis(20)).unwrap(), None);
    assert!(start.elapsed() >= Duration::from_millis(20));
    other.write_all(b"abc").unwrap();
    assert_eq!(stream.read_until(&mut bytes, start).unwrap(), Some(3), "the deadline has long passed");
    assert_eq!(stream.read_ready(&mut bytes).unwrap(), None);
    drop(other);
    assert_eq!(stream.read_ready(&mut bytes).unwrap(), Some(0));
}

proptest! {
    #[test]
    fn endpoints_survive_their_text_form(host in "[a-z0-9.-]{1,12}", port in 1..=u16::MAX, path in "/[a-z:/]{1,20}") {
        for endpoint in [tcp(&host, port), tcp("fe80::1", port), Endpoint::Unix(path.into())] {
            prop_assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
        }
    }

    #[test]
    fn no_text_makes_the_endpoint_parser_panic(text in ".{0,24}") {
        let _ = text.parse::<Endpoint>();
    }
}
