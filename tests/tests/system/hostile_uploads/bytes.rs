//! The bytes of uploads, put together section by section: a small plugin, and what can be added to it.

use std::sync::OnceLock;

use bytes::Bytes;

/// A binary component.
#[derive(Clone)]
pub struct Upload(Vec<u8>);

/// The smallest plugin that a host accepts.
pub fn small() -> Upload {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    Upload(BYTES.get_or_init(|| wat::parse_str(include_str!("small.wat")).expect("valid text")).clone())
}

impl Upload {
    pub fn of(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// With a custom section, which changes the digest and nothing else.
    pub fn marked(self, mark: &str) -> Self {
        self.padded(mark, 0)
    }

    /// With a custom section that holds so many bytes.
    pub fn padded(self, mark: &str, bytes: usize) -> Self {
        let mut content = number(mark.len());
        content.extend_from_slice(mark.as_bytes());
        content.resize(content.len() + bytes, b'x');
        self.with(CUSTOM, &content)
    }

    /// With one more core module, which nothing uses, but which has to be compiled like the others.
    pub fn with_module(self, module: &[u8]) -> Self {
        self.with(CORE_MODULE, module)
    }

    fn with(mut self, id: u8, content: &[u8]) -> Self {
        self.0.extend_from_slice(&section(id, content));
        self
    }
}

impl From<Upload> for Bytes {
    fn from(upload: Upload) -> Self {
        upload.0.into()
    }
}

const CUSTOM: u8 = 0;
const CORE_MODULE: u8 = 1;

/// A core module of functions that take and return one `i32`, each with so many locals besides.
pub fn module(functions: &[Vec<u8>], locals: usize) -> Vec<u8> {
    const TYPES: u8 = 1;
    const FUNCTIONS: u8 = 3;
    const CODE: u8 = 10;
    const END: u8 = 0x0b;
    let body = |code: &Vec<u8>| {
        let locals = if locals == 0 { vec![0] } else { [vec![1], number(locals), vec![I32]].concat() };
        let body = [&locals[..], code, &[END]].concat();
        [number(body.len()), body].concat()
    };
    let count = number(functions.len());
    let bodies: Vec<u8> = functions.iter().flat_map(body).collect();
    [
        b"\0asm\x01\0\0\0".to_vec(),
        section(TYPES, &[1, 0x60, 1, I32, 1, I32]),
        section(FUNCTIONS, &[count.clone(), vec![0; functions.len()]].concat()),
        section(CODE, &[count, bodies].concat()),
    ]
    .concat()
}

const I32: u8 = 0x7f;

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &number(content.len()), content].concat()
}

/// LEB128.
pub fn number(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
