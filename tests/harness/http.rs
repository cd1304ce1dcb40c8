//! HTTP spelled out: also what no well-behaved client would send.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
};

use crate::program::LIMIT;

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Status line and header fields.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Response {
    /// Every value of the header field `name`.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// The value of the header field `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }
}

/// A connection with limits on every wait.
///
/// # Panics
/// If nobody listens there.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, LIMIT).expect("somebody listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit above zero");
    stream.set_write_timeout(Some(LIMIT)).expect("a limit above zero");
    stream
}

/// GET.
pub fn get(address: SocketAddr, path: &str) -> Response {
    request(address, "GET", path, &[], "")
}

/// Any request, answered as a whole.
///
/// # Panics
/// If the answer is not HTTP.
pub fn request(address: SocketAddr, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Response {
    let mut reader = send(address, method, path, fields, body);
    let head = read_head(&mut reader);
    let mut body = Vec::new();
    reader.read_to_end(&mut body).expect("an answer that ends");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.unwrap_or_else(|| panic!("not HTTP: {head}"));
    Response { status, head, body: String::from_utf8_lossy(&body).into_owned() }
}

/// Sends a request and leaves the answer to read: head first, then the body as it comes, until the server
/// closes. HTTP/1.0 keeps chunks out of it.
///
/// # Panics
/// If nobody listens there.
pub fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    body: &str,
) -> BufReader<TcpStream> {
    let mut stream = connect(address);
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let request =
        format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {length}\r\n{fields}\r\n{body}");
    stream.write_all(request.as_bytes()).expect("the server reads requests");
    BufReader::new(stream)
}

/// Reads a head up to its empty line.
///
/// # Panics
/// If the connection breaks.
pub fn read_head(reader: &mut impl BufRead) -> String {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        let length = reader.read_line(&mut line).expect("a head that ends");
        if length == 0 || line.trim().is_empty() {
            return head;
        }
        head.push_str(&line);
    }
}

/// The value of the field `name` in a head.
pub fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(key, value)| key.trim().eq_ignore_ascii_case(name).then_some(value.trim()))
}
