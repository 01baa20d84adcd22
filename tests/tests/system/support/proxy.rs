//! A TCP proxy between hosts and Postgres that breaks connections on purpose. It reads just enough of the protocol to know
//! which statement is being sent and when it has been answered.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinHandle,
};

/// Where the server's socket lies in its directory.
const SOCKET: &str = ".s.PGSQL.5432";
/// Longest message, in bytes: a mistake in reading the protocol must not take all memory.
const MESSAGE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What the proxy does to everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Passes everything on.
    Fair,
    /// Cuts every connection, and refuses new ones.
    Refused,
    /// Passes nothing on, and says nothing: as behind a switch that has lost its power. What was connected then stays dead.
    Lost,
}

/// On which side of a statement a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The server never sees it.
    Before,
    /// The server has done it, and nobody hears.
    After,
}

/// Cuts connections at the next statements that begin like this.
struct Trap {
    begin: String,
    cut: Cut,
    left: usize,
}

pub struct Proxy {
    address: SocketAddr,
    link: Arc<Link>,
    task: JoinHandle<()>,
}

struct Link {
    server: Mutex<PathBuf>,
    weather: watch::Sender<Weather>,
    traps: Mutex<Vec<Trap>>,
    cuts: AtomicUsize,
}

impl Proxy {
    /// In front of the server of this database.
    pub async fn before(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let link = Arc::new(Link {
            server: Mutex::new(socket_of(url)),
            weather: watch::Sender::new(Weather::Fair),
            traps: Mutex::default(),
            cuts: AtomicUsize::new(0),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&link)));
        Self { address, link, task }
    }

    /// The same database, through the proxy.
    pub fn url(&self, direct: &str) -> String {
        let name = direct.split("///").nth(1).and_then(|rest| rest.split('?').next()).expect("a database has a name");
        format!("postgres://trellis@{}/{name}?sslmode=disable", self.address)
    }

    pub fn set(&self, weather: Weather) {
        self.link.weather.send_replace(weather);
    }

    /// Leads to another server from now on.
    pub fn lead_to(&self, url: &str) {
        *locked(&self.link.server) = socket_of(url);
    }

    /// Cuts the connections of the next `times` statements that begin with `begin`.
    pub fn trap(&self, begin: &str, cut: Cut, times: usize) {
        locked(&self.link.traps).push(Trap { begin: begin.to_owned(), cut, left: times });
    }

    /// How many connections were cut at a statement.
    pub fn cut_count(&self) -> usize {
        self.link.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        // The connections' tasks end with the test's runtime; this only makes hosts notice at once.
        self.set(Weather::Refused);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}

/// The socket of a server that is reached through a directory named in the URL.
fn socket_of(url: &str) -> PathBuf {
    let query = url.split_once('?').expect("the address of a private server has a query").1;
    let host = query.split('&').find_map(|pair| pair.strip_prefix("host=")).expect("a directory");
    Path::new(&host.replace("%2F", "/")).join(SOCKET)
}

async fn accept(listener: TcpListener, link: Arc<Link>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(connect(Arc::clone(&link), client));
    }
}

/// One connection, from its beginning to its end.
async fn connect(link: Arc<Link>, mut client: TcpStream) -> io::Result<()> {
    let mut weather = link.weather.subscribe();
    if *weather.borrow_and_update() == Weather::Lost {
        std::future::pending::<()>().await;
    }
    let path = locked(&link.server).clone();
    let mut server = UnixStream::connect(path).await?;
    client.set_nodelay(true)?;
    let change = tokio::select! {
        ended = relay(&link, &mut client, &mut server) => return ended,
        change = weather.wait_for(|weather| *weather != Weather::Fair) => change.map(|weather| *weather),
    };
    if change.is_ok_and(|weather| weather == Weather::Lost) {
        // Neither side is told anything.
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// What both directions of one connection know.
#[derive(Default)]
struct Connection {
    /// Cut when the server has answered.
    is_doomed: AtomicBool,
}

async fn relay(link: &Link, client: &mut TcpStream, server: &mut UnixStream) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let connection = Connection::default();
    tokio::select! {
        ended = statements(link, &connection, &mut from_client, &mut to_server) => ended,
        ended = answers(&connection, &mut from_server, &mut to_client) => ended,
    }
}

/// Passes on what the client sends, and looks for statements that are trapped.
async fn statements(
    link: &Link,
    connection: &Connection,
    client: &mut (impl AsyncRead + Unpin),
    server: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    // The first message has no kind.
    let greeting = body(client).await?;
    server.write_all(&framed(None, &greeting)).await?;
    let mut prepared: HashMap<Vec<u8>, String> = HashMap::new();
    loop {
        let kind = client.read_u8().await?;
        let body = body(client).await?;
        let statement = match kind {
            b'P' => {
                let (name, rest) = text(&body);
                prepared.insert(name.to_vec(), String::from_utf8_lossy(text(rest).0).into_owned());
                None
            }
            // The portal's name comes first, then the statement's.
            b'B' => prepared.get(text(text(&body).1).0).cloned(),
            b'Q' => Some(String::from_utf8_lossy(text(&body).0).into_owned()),
            _ => None,
        };
        match statement.and_then(|statement| link.sprung(&statement)) {
            Some(Cut::Before) => return Ok(()),
            Some(Cut::After) => connection.is_doomed.store(true, Ordering::Release),
            None => {}
        }
        server.write_all(&framed(Some(kind), &body)).await?;
    }
}

/// Passes on what the server answers; ends where a doomed connection has got its answer.
async fn answers(
    connection: &Connection,
    server: &mut (impl AsyncRead + Unpin),
    client: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    loop {
        let kind = server.read_u8().await?;
        let body = body(server).await?;
        if connection.is_doomed.load(Ordering::Acquire) {
            // Ready for the next statement: this one is done.
            if kind == b'Z' {
                return Ok(());
            }
            continue;
        }
        client.write_all(&framed(Some(kind), &body)).await?;
    }
}

impl Link {
    /// Whether a statement runs into a trap.
    fn sprung(&self, statement: &str) -> Option<Cut> {
        let mut traps = locked(&self.traps);
        let trap = traps.iter_mut().find(|trap| trap.left > 0 && statement.starts_with(&trap.begin))?;
        trap.left -= 1;
        self.cuts.fetch_add(1, Ordering::Relaxed);
        Some(trap.cut)
    }
}

/// The rest of a message: its length, which counts itself, then so many bytes.
async fn body(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await? as usize;
    assert!((4..MESSAGE_BYTES_MAX).contains(&length), "no message of Postgres has {length} bytes");
    let mut body = vec![0; length - 4];
    from.read_exact(&mut body).await?;
    Ok(body)
}

fn framed(kind: Option<u8>, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("it was read with such a length");
    kind.into_iter().chain(length.to_be_bytes()).chain(body.iter().copied()).collect()
}

/// A text that ends with a zero, and what follows it.
fn text(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}
