//! A server in front of the receiver that writes down what a WHIP client asks and may answer in its place.

use std::{
    io::{BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::http;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// `POST`, `PATCH`, …
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Request line and header fields.
    pub head: String,
    /// The body.
    pub body: String,
    /// When it came.
    pub at: Instant,
}

impl Request {
    /// The value of the header field `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        http::field(&self.head, name)
    }
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// It goes to the receiver, whose answer goes back.
    Pass,
    /// The same, but the answer comes this much later.
    PassAfter(Duration),
    /// The same, but the answer gets another status.
    PassAs(u16),
    /// This status, with these header fields and this body.
    Say(u16, Vec<(String, String)>, String),
}

impl Reply {
    /// A status and nothing else.
    pub fn status(status: u16) -> Self {
        Self::Say(status, Vec::new(), String::new())
    }

    /// A status with one header field.
    pub fn with(status: u16, name: &str, value: impl Into<String>) -> Self {
        Self::Say(status, vec![(name.into(), value.into())], String::new())
    }
}

type Rule = dyn Fn(&Request, &[Request]) -> Reply + Send + Sync;

/// The server; gone when dropped.
pub struct Front {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    receiver: SocketAddr,
    rule: Box<Rule>,
    seen: Mutex<Vec<Request>>,
    over: AtomicBool,
}

impl Front {
    /// A server before the receiver at `receiver`. `rule` is asked with each request and those before it.
    ///
    /// # Panics
    /// If no socket can be had.
    pub fn start(receiver: SocketAddr, rule: impl Fn(&Request, &[Request]) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared =
            Arc::new(Shared { receiver, rule: Box::new(rule), seen: Mutex::default(), over: AtomicBool::new(false) });
        let serving = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if serving.over.load(Ordering::Relaxed) {
                    return;
                }
                let serving = serving.clone();
                thread::spawn(move || serving.serve(stream));
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The WHIP endpoint at this end of it.
    pub fn url(&self) -> String {
        format!("http://{}/whip", self.address)
    }

    /// The requests so far.
    ///
    /// # Panics
    /// If a thread of the server has.
    pub fn seen(&self) -> Vec<Request> {
        self.shared.seen.lock().expect("nobody panics while holding it").clone()
    }

    /// Those with `method`.
    pub fn seen_with(&self, method: &str) -> Vec<Request> {
        self.seen().into_iter().filter(|request| request.method == method).collect()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // Wakes the listener, which then sees that it is over.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a socket can be shared"));
        let head = http::read_head(&mut reader);
        let length = http::field(&head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let mut words = head.split(' ').map(str::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return };
        let body = String::from_utf8_lossy(&body).into_owned();
        let request = Request { method, path, head, body, at: Instant::now() };
        let reply = {
            let mut seen = self.seen.lock().expect("nobody panics while holding it");
            let reply = (self.rule)(&request, &seen);
            seen.push(request.clone());
            reply
        };
        let (status, fields, body) = match reply {
            Reply::Pass => self.ask(&request),
            Reply::PassAfter(pause) => {
                let answer = self.ask(&request);
                thread::sleep(pause);
                answer
            }
            Reply::PassAs(status) => {
                let (_, fields, body) = self.ask(&request);
                (status, fields, body)
            }
            Reply::Say(status, fields, body) => (status, fields, body),
        };
        let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status} Said\r\n{fields}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        drop(stream.write_all(answer.as_bytes()));
    }

    fn ask(&self, request: &Request) -> (u16, Vec<(String, String)>, String) {
        if TcpStream::connect(self.receiver).is_err() {
            return (502, Vec::new(), "the receiver is not there".into());
        }
        let kept = ["content-type", "authorization", "accept", "if-match"];
        let fields: Vec<_> = kept.iter().filter_map(|name| Some((*name, request.header(name)?))).collect();
        let answer = http::request(self.receiver, &request.method, &request.path, &fields, &request.body);
        let skipped = ["content-length", "connection", "transfer-encoding"];
        let fields = answer.head.lines().skip(1).filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            (!skipped.contains(&name.to_ascii_lowercase().as_str())).then(|| (name.into(), value.trim().into()))
        });
        (answer.status, fields.collect(), answer.body)
    }
}
