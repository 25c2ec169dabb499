//! A load generator for one HTTP/1.1 endpoint, as lean as it can be, for it shares the machine
//! with what it measures.
//!
//! Open loop ([`open_loop`]): requests are due at fixed times, whatever became of those before,
//! and a latency counts from the time at which its request was due. A stall of the server thus
//! counts against all requests that it delays, not only against the one that met it: there is no
//! "coordinated omission" (Tene, "How NOT to Measure Latency", 2013). Percentiles are exact, over
//! all latencies.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The longest sleep between two looks at what is on its way.
const NAP: Duration = Duration::from_micros(40);

/// What came of a run.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Measured {
    /// Requests that were sent.
    pub sent: usize,
    /// Of them, those with an answer of status 200.
    pub answered: usize,
    /// Answers of the other statuses, connections that broke, and requests without an answer.
    pub failed: usize,
    /// From the time when each answered request was due to its answer's last byte, in
    /// microseconds, in rising order.
    pub latencies_us: Vec<u32>,
    /// From the first request to the last answer.
    pub seconds: f64,
}

impl Measured {
    /// The latency in milliseconds under which a share of the answers stayed (nearest rank).
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let rank = (share * self.latencies_us.len() as f64).ceil() as usize;
        let found = self.latencies_us.get(rank.saturating_sub(1));
        found.map_or(f64::NAN, |&micros| f64::from(micros) / 1e3)
    }

    fn take(&mut self, status: u16, due: Instant) {
        if status == 200 {
            self.answered += 1;
            self.latencies_us.push(u32::try_from(due.elapsed().as_micros()).unwrap_or(u32::MAX));
        } else {
            self.failed += 1;
        }
    }

    fn finish(mut self, begun: Instant) -> Self {
        self.seconds = begun.elapsed().as_secs_f64();
        self.latencies_us.sort_unstable();
        self
    }
}

/// The bytes of a `POST` with a JSON body.
pub fn post(path: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer sk-bench\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// One connection and the request on it.
struct Connection {
    stream: TcpStream,
    due: Instant,
    received: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, due: Instant::now(), received: Vec::with_capacity(2048) })
    }

    /// Reads what is there; the status once the whole answer is.
    fn look(&mut self) -> Result<Option<u16>> {
        let mut piece = [0; 4096];
        match self.stream.read(&mut piece) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.received.extend_from_slice(&piece[..count]),
            Err(why) if why.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(why) => return Err(why),
        }
        let status = whole(&self.received)?;
        if status.is_some() {
            self.received.clear();
        }
        Ok(status)
    }
}

/// The status of a response that is there as a whole.
fn whole(received: &[u8]) -> Result<Option<u16>> {
    let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let wrong = || Error::new(ErrorKind::InvalidData, "no response that this client reads");
    let head = std::str::from_utf8(&received[..end]).map_err(|_| wrong())?;
    let status = head.get(9..12).and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let length = length.ok_or_else(wrong)?;
    Ok((received.len() >= end + 4 + length).then_some(status))
}

/// Sends `request` `rate` times a second for `time`, over as many connections as it takes, up to
/// `connections`. After `patience` without an answer a request counts as failed.
///
/// # Errors
/// When no connection can be made.
pub fn open_loop(
    address: SocketAddr,
    request: &[u8],
    rate: f64,
    time: Duration,
    connections: usize,
    patience: Duration,
) -> Result<Measured> {
    let mut measured = Measured::default();
    let mut idle: Vec<Connection> = Vec::new();
    let mut busy: Vec<Connection> = Vec::new();
    let total = (rate * time.as_secs_f64()) as usize;
    let begun = Instant::now() + Duration::from_millis(20);
    let due = |number: usize| begun + Duration::from_secs_f64(number as f64 / rate);
    let mut next = 0;
    while next < total || !busy.is_empty() {
        while next < total && due(next) <= Instant::now() {
            let mut connection = match idle.pop() {
                Some(connection) => connection,
                None if busy.len() < connections => {
                    let connection = Connection::open(address)?;
                    connection.stream.set_nonblocking(true)?;
                    connection
                }
                // It is late, and will count as late.
                None => break,
            };
            connection.due = due(next);
            next += 1;
            measured.sent += 1;
            match connection.stream.write(request) {
                Ok(count) if count == request.len() => busy.push(connection),
                _ => measured.failed += 1,
            }
        }
        let mut at = 0;
        while at < busy.len() {
            match busy[at].look() {
                Ok(Some(status)) => {
                    let connection = busy.swap_remove(at);
                    measured.take(status, connection.due);
                    idle.push(connection);
                }
                Ok(None) if busy[at].due.elapsed() < patience => at += 1,
                Ok(None) | Err(_) => {
                    busy.swap_remove(at);
                    measured.failed += 1;
                }
            }
        }
        let left = match next < total {
            true => due(next).saturating_duration_since(Instant::now()),
            false => NAP,
        };
        if !left.is_zero() {
            std::thread::sleep(if busy.is_empty() { left } else { left.min(NAP) });
        }
    }
    Ok(measured.finish(begun))
}

/// Sends `request` over `connections` connections, on each the next as soon as the last is
/// answered, for `time`: what the other side gets done at most. Latencies count from the sending.
///
/// # Errors
/// When no connection can be made.
pub fn closed_loop(
    address: SocketAddr,
    request: &[u8],
    connections: usize,
    time: Duration,
) -> Result<Measured> {
    let mut measured = Measured::default();
    let mut all = Vec::with_capacity(connections);
    let begun = Instant::now();
    for _ in 0..connections {
        let mut connection = Connection::open(address)?;
        connection.stream.set_nonblocking(true)?;
        connection.due = Instant::now();
        connection.stream.write_all(request)?;
        measured.sent += 1;
        all.push(connection);
    }
    let end = begun + time;
    while Instant::now() < end {
        let mut none = true;
        for connection in &mut all {
            let Some(status) = connection.look()? else { continue };
            none = false;
            measured.take(status, connection.due);
            connection.due = Instant::now();
            connection.stream.write_all(request)?;
            measured.sent += 1;
        }
        if none {
            std::thread::sleep(NAP);
        }
    }
    Ok(measured.finish(begun))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server that answers each request after `pause`, one connection at a time per thread.
    fn server(pause: impl Fn(usize) -> Duration + Send + Copy + 'static) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || answer(stream, pause));
            }
        });
        address
    }

    fn answer(mut stream: TcpStream, pause: impl Fn(usize) -> Duration) {
        let mut piece = [0; 4096];
        let mut number = 0;
        while stream.read(&mut piece).is_ok_and(|count| count > 0) {
            std::thread::sleep(pause(number));
            number += 1;
            let status = if number % 10 == 0 { "500 Oops" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok");
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    #[test]
    fn a_stall_counts_against_all_requests_that_it_delays() {
        // One connection, and the first answer takes 300 ms: those due meanwhile are late.
        let stall = |number| Duration::from_millis(if number == 0 { 300 } else { 0 });
        let time = Duration::from_millis(500);
        let request = post("/", "{}");
        let patience = Duration::from_secs(10);
        let measured = open_loop(server(stall), &request, 100.0, time, 1, patience).unwrap();
        assert_eq!((measured.sent, measured.answered, measured.failed), (50, 45, 5));
        assert!(measured.quantile_ms(0.5) > 20.0, "{measured:?}");
    }

    #[test]
    fn a_closed_loop_counts_what_is_answered() {
        let time = Duration::from_millis(200);
        let quick = |_| Duration::ZERO;
        let measured = closed_loop(server(quick), &post("/", "{}"), 2, time).unwrap();
        assert!(measured.answered > 10 && measured.failed > 0, "{measured:?}");
        assert!(measured.sent >= measured.answered + measured.failed);
    }
}
