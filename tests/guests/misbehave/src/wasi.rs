//! What Rust's standard library reaches through WASI, and the small WASI interfaces.

use std::{
    fs,
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs, UdpSocket},
    thread,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use crate::bindings::wasi::{
    config::store,
    logging::logging::{self, Level},
};

pub fn sleep(ms: u64) -> Value {
    thread::sleep(Duration::from_millis(ms));
    json!(ms)
}

pub fn poll_for_ever() -> ! {
    loop {
        thread::sleep(Duration::from_nanos(1));
    }
}

pub fn print(line: &str, times: usize) -> Value {
    let mut out = io::stdout().lock();
    json!((0..times).all(|_| writeln!(out, "{line}").is_ok()))
}

pub fn print_error(line: &str, times: usize) -> Value {
    let mut out = io::stderr().lock();
    json!((0..times).all(|_| writeln!(out, "{line}").is_ok()))
}

pub fn random(bytes: u64) -> Value {
    json!(crate::bindings::wasi::random::random::get_random_bytes(bytes).len())
}

/// Everything that should be empty or refused.
pub fn environment() -> Value {
    let mut input = String::new();
    let read = io::stdin().read_to_string(&mut input);
    json!({
        "variables": std::env::vars().count(),
        "arguments": std::env::args().count(),
        "root_listed": fs::read_dir("/").is_ok(),
        "here_listed": fs::read_dir(".").is_ok(),
        "file_written": fs::write("/tmp/x", "x").is_ok(),
        "tcp_connected": TcpStream::connect("127.0.0.1:80").is_ok(),
        "udp_bound": UdpSocket::bind("127.0.0.1:0").is_ok(),
        "name_resolved": ("localhost", 80).to_socket_addrs().is_ok(),
        "stdin_bytes": read.ok(),
    })
}

pub fn clock() -> Value {
    json!(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map(|since| since.as_secs()).ok())
}

pub fn log(message: &str, times: usize) -> Value {
    for _ in 0..times {
        logging::log(Level::Info, "misbehave", message);
    }
    json!(times)
}

pub fn config() -> Value {
    json!({ "all": store::get_all().ok(), "url": store::get("url").ok().flatten() })
}
