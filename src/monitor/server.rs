//! A page for Prometheus: HTTP/1.1, as much of it as a scraper needs, and nothing that a stranger could hold up.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::emit::prometheus::CONTENT_TYPE;

/// A request line and its headers in bytes. Prometheus sends some 300.
const LONGEST_REQUEST: usize = 8192;

/// How long a client may take for its request, and again for the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Clients that are served at once. One more is sent away.
const MOST_CLIENTS: usize = 16;

/// Serves the page that was published last, on threads of its own, for as long as the program runs.
pub struct Server {
    pub address: SocketAddr,
    page: Arc<Mutex<String>>,
}

/// Reads `HOST:PORT`, `:PORT` or `PORT`. Without a host it's this machine alone.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    let wrong = |why: String| format!("{text:?} is not an address such as 127.0.0.1:9400 or :9400{why}");
    let port = text.strip_prefix(':').unwrap_or(text);
    if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) {
        let port = port.parse().map_err(|_| wrong(": the highest port is 65535".to_owned()))?;
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    let mut found = text.to_socket_addrs().map_err(|error| wrong(format!(": {error}")))?;
    found.next().ok_or_else(|| wrong(": host not found".to_owned()))
}

impl Server {
    pub fn start(address: SocketAddr) -> io::Result<Server> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let page = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&page);
        std::thread::Builder::new().name("metrics".to_owned()).spawn(move || accept(&listener, &shared))?;
        Ok(Server { address, page })
    }

    /// From here on this is the page.
    pub fn publish(&self, page: String) {
        *self.page.lock().unwrap_or_else(PoisonError::into_inner) = page;
    }
}

fn accept(listener: &TcpListener, page: &Arc<Mutex<String>>) {
    let clients = Arc::new(AtomicUsize::new(0));
    for client in listener.incoming() {
        let Ok(mut client) = client else {
            // There are no more file descriptors, most likely: asked again at once it would be the same.
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        if clients.fetch_add(1, Ordering::Relaxed) >= MOST_CLIENTS {
            clients.fetch_sub(1, Ordering::Relaxed);
            let _ = client.set_nonblocking(true);
            let _ =
                client.write_all(&Answer::error("503 Service Unavailable", "too many clients").bytes(true));
            continue;
        }
        let (page, served) = (Arc::clone(page), Arc::clone(&clients));
        let spawned = std::thread::Builder::new().spawn(move || {
            let _ = serve(client, &page);
            served.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            clients.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

struct Answer {
    status: &'static str,
    content_type: &'static str,
    headers: &'static str,
    body: String,
}

impl Answer {
    fn error(status: &'static str, why: &str) -> Answer {
        Answer { status, content_type: "text/plain; charset=utf-8", headers: "", body: format!("{why}\n") }
    }

    fn bytes(&self, with_body: bool) -> Vec<u8> {
        let Answer { status, content_type, headers, body } = self;
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n{headers}Connection: close\r\n\r\n"
        );
        (head + if with_body { body } else { "" }).into_bytes()
    }
}

fn serve(mut client: TcpStream, page: &Mutex<String>) -> io::Result<()> {
    let request = read_request(&mut client)?;
    let answer = match &request {
        Ok(request) => answer(request, page),
        Err(refused) => Answer::error(refused.0, refused.1),
    };
    let with_body = !request.as_deref().is_ok_and(|request| request.starts_with("HEAD "));
    client.set_write_timeout(Some(PATIENCE))?;
    client.write_all(&answer.bytes(with_body))?;
    client.shutdown(Shutdown::Write)?;
    // A connection that is closed with something unread in it is reset, and the answer lost. So the rest is read, for a
    // while.
    client.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut rest = [0; 4096];
    for _ in 0..16 {
        if client.read(&mut rest)? == 0 {
            break;
        }
    }
    Ok(())
}

type Refused = (&'static str, &'static str);

/// Reads up to the empty line that ends the headers.
fn read_request(client: &mut TcpStream) -> io::Result<Result<String, Refused>> {
    let deadline = Instant::now() + PATIENCE;
    let mut bytes = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        if bytes.windows(4).any(|window| window == b"\r\n\r\n") {
            return Ok(String::from_utf8(bytes).map_err(|_| ("400 Bad Request", "a request must be ASCII")));
        }
        if bytes.len() > LONGEST_REQUEST {
            return Ok(Err(("431 Request Header Fields Too Large", "the request is too long")));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Err(("408 Request Timeout", "the request took too long")));
        }
        client.set_read_timeout(Some(left))?;
        match client.read(&mut buffer) {
            Ok(0) => return Ok(Err(("400 Bad Request", "the request ends within its headers"))),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn answer(request: &str, page: &Mutex<String>) -> Answer {
    let mut lines = request.split("\r\n");
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, version @ ("HTTP/1.1" | "HTTP/1.0")] = words[..] else {
        return Answer::error("400 Bad Request", "not an HTTP/1.1 request");
    };
    let has_host = lines.any(|line| line.to_ascii_lowercase().starts_with("host:"));
    if method.is_empty() || !target.starts_with('/') || (version == "HTTP/1.1" && !has_host) {
        return Answer::error("400 Bad Request", "a request needs a method, a path, and a Host");
    }
    if !matches!(method, "GET" | "HEAD") {
        let refused = Answer::error("405 Method Not Allowed", "only GET and HEAD are supported");
        return Answer { headers: "Allow: GET, HEAD\r\n", ..refused };
    }
    match target.split('?').next() {
        Some("/metrics") => {
            let body = page.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Answer {
                content_type: CONTENT_TYPE,
                ..Answer { status: "200 OK", body, ..Answer::error("", "") }
            }
        }
        Some("/") => Answer::error("200 OK", "autotune monitor: the metrics are at /metrics"),
        _ => Answer::error("404 Not Found", "not found: the metrics are at /metrics"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_host_is_this_machine_alone() {
        for text in [":9400", "9400", "127.0.0.1:9400"] {
            assert_eq!(address(text).unwrap().to_string(), "127.0.0.1:9400");
        }
        assert_eq!(address("[::1]:9400").unwrap().to_string(), "[::1]:9400");
        assert!(!address("0.0.0.0:9400").unwrap().ip().is_loopback());
        for text in ["", ":", "localhost", "127.0.0.1", ":99999", "a b:1"] {
            assert!(address(text).unwrap_err().contains("not an address such as 127.0.0.1:9400"), "{text}");
        }
    }
}
