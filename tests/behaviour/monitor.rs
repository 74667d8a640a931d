//! `autotune monitor`, on scripted cards: what it serves, what it writes, and how it ends.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use autotune::monitor::{self, Options, Server, Show};
use autotune::runner::Interrupt;
use autotune::telemetry::{Keeper, Reading, Scripted, Trouble};

use crate::support::{autotune, text};

/// Nothing here takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

fn keeper(readings: Vec<Result<Reading, Trouble>>) -> Keeper {
    let mut sensor = Some(Scripted::new(readings));
    let open = move || match sensor.take() {
        Some(sensor) => Ok(Box::new(sensor) as _),
        None => Err(Trouble::gone("the card fell off the bus")),
    };
    Keeper::open(open).unwrap()
}

fn server() -> Server {
    Server::start(monitor::address("127.0.0.1:0").unwrap()).unwrap()
}

fn ask(server: &Server, request: &str) -> String {
    try_to_ask(server, request).unwrap()
}

/// Sends `request` and reads until the server has no more to say. Whom it sends away unheard may be reset.
fn try_to_ask(server: &Server, request: &str) -> io::Result<String> {
    let mut client = TcpStream::connect(server.address)?;
    client.set_read_timeout(Some(PATIENCE))?;
    // What is refused early isn't read to its end.
    let _ = client.write_all(request.as_bytes());
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn the_server_answers_scrapers_and_refuses_the_rest_by_name() {
    let server = server();
    server.publish("gpu_up{device=\"cuda:0\"} 1\n".into());
    let answer = ask(&server, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains("Content-Type: text/plain; version=0.0.4") && head.contains("Content-Length: 26"),
        "{head}"
    );
    assert_eq!(body, "gpu_up{device=\"cuda:0\"} 1\n");
    let long = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(100_000));
    for (request, status) in [
        ("GET /metrics?x=1 HTTP/1.0\r\n\r\n", "200"),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "200"),
        ("GET /metric HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi", "405"),
        ("GET /metrics HTTP/1.1\r\n\r\n", "400"),
        ("GET /metrics\r\n\r\n", "400"),
        ("GET /metrics HTTP/3\r\nHost: x\r\n\r\n", "400"),
        ("\r\n\r\n", "400"),
        (long.as_str(), "431"),
    ] {
        let answer = ask(&server, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.60}: {answer:.60}");
    }
    let head = ask(&server, "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.contains("Content-Length: 26") && head.ends_with("\r\n\r\n"), "{head}");
    // A client that goes away within its request is answered to nobody.
    let client = TcpStream::connect(server.address).unwrap();
    drop(client);
    assert!(ask(&server, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 200 "));
}

#[test]
fn clients_that_say_nothing_are_sent_away_and_keep_nobody_waiting() {
    let server = server();
    let mut silent: Vec<TcpStream> = (0..16).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    silent[0].write_all(b"GET /metr").unwrap();
    // As many as are served at once: one more is told so, at once.
    let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let away = try_to_ask(&server, request);
    assert!(away.as_ref().map_or(true, |answer| answer.starts_with("HTTP/1.1 503 ")), "{away:?}");
    let mut answer = String::new();
    silent[0].set_read_timeout(Some(PATIENCE)).unwrap();
    silent[0].read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    // And when they are gone there is room again.
    drop(silent);
    let start = Instant::now();
    while !try_to_ask(&server, request).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 ")) {
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Keeps what is written, and has had enough after so many lines: so a reader ends that is `head`.
#[derive(Clone)]
struct Reader {
    kept: Arc<Mutex<String>>,
    lines: usize,
}

impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.kept.lock().unwrap();
        if kept.matches('\n').count() >= self.lines {
            return Err(ErrorKind::BrokenPipe.into());
        }
        kept.push_str(std::str::from_utf8(bytes).unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_row_is_written_for_each_reading_and_a_card_that_goes_away_is_served_as_down() {
    let lost = Err(Trouble::gone("the card fell off the bus"));
    let keepers = vec![keeper(vec![Ok(Scripted::calm()), Ok(Scripted::calm()), lost])];
    let reader = Reader { kept: Arc::default(), lines: 5 };
    let server = server();
    let address = server.address;
    let options = Options {
        interval: Duration::from_millis(20),
        show: Show::Nothing,
        csv: Some(Box::new(reader.clone())),
        server: Some(server),
    };
    let error = monitor::run(keepers, options, &Interrupt::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe, "it ends with its reader");
    let written = reader.kept.lock().unwrap().clone();
    let rows: Vec<std::collections::HashMap<String, String>> =
        csv::Reader::from_reader(written.as_bytes()).deserialize().map(Result::unwrap).collect();
    let memory: Vec<&str> = rows.iter().map(|row| row["memory_used_bytes"].as_str()).collect();
    assert_eq!(memory, ["2147483648", "2147483648", "", ""]);
    assert_eq!(rows[2]["problem"], "the card fell off the bus");
    // The server's threads outlive the monitor, and so does its last page.
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut page = String::new();
    client.read_to_string(&mut page).unwrap();
    assert!(
        page.contains("\nautotune_monitor_up 0\n") && page.contains("gpu_up{device=\"cuda:0\"} 0"),
        "{page}"
    );
}

#[test]
fn wrong_usage_is_refused_before_any_card_is_looked_for() {
    for (arguments, wanted) in [
        (vec!["--interval", "1"], "is not a duration"),
        (vec!["--interval", "1ms"], "at least 20ms"),
        (vec!["--listen", "nowhere"], "not an address such as 127.0.0.1:9400"),
        (vec!["--listen", ":9400", "--once"], "cannot be used with"),
        (vec!["--gpu", "cpu"], "only GPUs can be watched"),
    ] {
        let output = autotune(&[&["monitor"], arguments.as_slice()].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains(wanted), "{}", text(&output));
    }
}

/// On a machine without a driver, which is where tests run.
#[test]
fn without_a_driver_it_says_what_mends_it() {
    if autotune::telemetry::available(&autotune::hardware::Machine::default()).is_ok() {
        return;
    }
    let output = autotune(&["monitor", "--once"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(output.stdout.is_empty());
    assert!(text(&output).contains("no GPU can be watched: "), "{}", text(&output));
    let doctor = text(&autotune(&["doctor"]).output().unwrap());
    assert!(doctor.contains("telemetry"), "{doctor}");
}

/// The live view on two scripted cards, to be looked at:
/// `cargo test --release --test behaviour -- --ignored --nocapture the_live_view`.
#[test]
#[ignore = "for a person to look at: cargo test --release --test behaviour -- --ignored --nocapture the_live_view; q ends it"]
fn the_live_view() {
    use autotune::telemetry::{Clocks, Load, Memory, Power, Process, Reason};
    let readings = |phase: f64| -> Vec<Result<Reading, Trouble>> {
        let reading = |step: u32| {
            let wave = 0.5 + 0.5 * (f64::from(step) / 9.0 + phase).sin();
            let process = |pid, gib: f64, name: &str| Process {
                pid,
                bytes: Some((gib * 1e9) as u64),
                name: Some(name.to_owned()),
            };
            Ok(Reading {
                memory: Some(Ok(Memory { used_bytes: (4e9 + 16e9 * wave) as u64, total_bytes: 24 << 30 })),
                load: Some(Ok(Load {
                    gpu_percent: (100.0 * wave) as u32,
                    memory_percent: (45.0 * wave) as u32,
                })),
                temperature: Some(Ok(45 + (35.0 * wave) as u32)),
                clocks: Some(Ok(Clocks { sm_mhz: 2100 - (600.0 * wave) as u32, memory_mhz: Some(9501) })),
                reasons: Some(Ok(if wave > 0.8 {
                    vec![Reason::ThermalSoftware, Reason::PowerCap]
                } else {
                    vec![]
                })),
                power: Some(Ok(Power { watts: 30.0 + 320.0 * wave, limit_watts: Some(350.0) })),
                energy: Some(Ok(1e6 + 200.0 * f64::from(step))),
                processes: Some(Ok(vec![process(4242, 3.0, "autotune"), process(977, 1.2, "Xorg")])),
                ..Scripted::calm()
            })
        };
        (0..10_000).map(reading).collect()
    };
    let options = Options { interval: Duration::from_millis(200), show: Show::Live, csv: None, server: None };
    let keepers = vec![keeper(readings(0.0)), keeper(readings(2.0))];
    monitor::run(keepers, options, &Interrupt::listen().unwrap()).unwrap();
}
