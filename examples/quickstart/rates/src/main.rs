//! A small exchange rate service: `GET /rates/{currency}` answers `{"currency": …, "euros": …}`.
//!
//! Listens on loopback at `PORT`, and ends when its standard input does. Stands in for the outside world, so it uses the
//! standard library alone and does no more than the example needs.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

/// One unit of each currency in euros.
const RATES: [(&str, f64); 4] = [("eur", 1.0), ("usd", 0.92), ("gbp", 1.17), ("chf", 1.04)];
const READ_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_BYTES_MAX: u64 = 16 * 1024;

fn main() -> io::Result<()> {
    let port: u16 = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(0);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    println!("listening on http://{}", listener.local_addr()?);
    thread::spawn(|| {
        // Whoever started this service is gone when this ends.
        drop(io::copy(&mut io::stdin(), &mut io::sink()));
        std::process::exit(0);
    });
    for stream in listener.incoming() {
        thread::spawn(move || stream.and_then(answer));
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    let mut lines = BufReader::new((&stream).take(REQUEST_BYTES_MAX)).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    // The rest of the head says nothing that matters here, but it must be read before the connection is closed.
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let (status, body) = match rate(&request) {
        Some((currency, euros)) => ("200 OK", format!(r#"{{"currency":"{currency}","euros":{euros}}}"#)),
        None => ("404 Not Found", r#"{"error":"no such rate"}"#.to_owned()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn rate(request: &str) -> Option<(&'static str, f64)> {
    let path = request.strip_prefix("GET ")?.split(' ').next()?;
    let currency = path.strip_prefix("/rates/")?;
    RATES.into_iter().find(|(known, _)| *known == currency)
}
