//! Starts, kills and restarts real servers with the installed binaries, as root and as anyone else.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{run_as::RunAs, *};

/// A temporary directory that the server's user can get into, whoever runs the test.
pub(crate) fn open_to_all() -> TempDir {
    let dir = TempDir::new().expect("a temporary directory");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("it is ours");
    dir
}

async fn start(folder: &Path) -> Result<EmbeddedPostgres, EmbeddedPostgresError> {
    EmbeddedPostgres::start(StartOptions::new(folder)).await
}

fn we_are_root() -> bool {
    TempDir::new().and_then(|dir| fs::metadata(dir.path())).expect("a temporary directory").uid() == 0
}

/// Runs a client program against the server's URL.
async fn client(postgres: &EmbeddedPostgres, program: &'static str, arguments: &[&str]) -> bool {
    let places = SearchPlaces::of_this_machine(None);
    let binaries = Binaries::find(&places, &postgres.folder).await.expect("the server runs from some");
    let mut command = tokio::process::Command::new(binaries.program(program));
    let output = command.args(arguments).stdin(Stdio::null()).output().await.expect("the program runs");
    output.status.success()
}

async fn can_connect(postgres: &EmbeddedPostgres, url: &str) -> bool {
    client(postgres, "psql", &["--no-psqlrc", "--command", r"\q", "--dbname", url]).await
}

fn server_process(folder: &Path) -> u32 {
    let text = fs::read_to_string(folder.join("data/postmaster.pid")).expect("the server runs");
    text.lines().next().and_then(|line| line.parse().ok()).expect("its first line is the process id")
}

fn is_alive(process: u32) -> bool {
    let mut command = Command::new("kill");
    command.args(["-0", &process.to_string()]).stderr(Stdio::null());
    command.status().expect("`kill` runs").success()
}

/// Waits for a process that nobody of us can wait for properly, as it is no child of ours.
async fn wait_until_gone(process: u32) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while is_alive(process) {
        assert!(Instant::now() < deadline, "process {process} lives on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_is_stored_is_there_after_a_restart() {
    let dir = open_to_all();
    let folder = dir.path().join("postgres");
    let first = start(&folder).await.expect("it starts");
    assert!(can_connect(&first, first.url()).await, "{}", first.url());
    let other_url = first.url().replace(":///trellis?", ":///other?");
    assert!(!can_connect(&first, &other_url).await);
    assert!(client(&first, "createdb", &["--maintenance-db", first.url(), "other"]).await);
    let server = server_process(first.folder());
    first.stop().await.expect("it stops");
    assert!(!is_alive(server));

    let second = start(&folder).await.expect("it starts again");
    assert!(can_connect(&second, &other_url).await, "the database made before the restart");
    second.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_second_host_on_the_same_folder_is_refused_and_does_no_harm() {
    let dir = open_to_all();
    let folder = dir.path().join("postgres");
    let first = start(&folder).await.expect("it starts");
    let error = start(&folder).await.expect_err("the folder is in use");
    assert!(matches!(error, EmbeddedPostgresError::InUse { .. }), "{error:?}");
    assert!(error.to_string().contains("in use by another trellis host"), "{error}");
    assert!(can_connect(&first, first.url()).await);
    first.stop().await.expect("it stops");
    start(&folder).await.expect("the folder is free").stop().await.expect("it stops");
}

#[tokio::test]
async fn a_host_that_lets_go_without_stopping_ends_the_server_and_can_start_again_at_once() {
    let dir = open_to_all();
    let folder = dir.path().join("postgres");
    let first = start(&folder).await.expect("it starts");
    let server = server_process(first.folder());
    drop(first);
    let second = start(&folder).await.expect("it waits for the former server");
    assert!(!is_alive(server));
    assert_ne!(server_process(second.folder()), server);
    second.stop().await.expect("it stops");
}

const CHILD_FOLDER: &str = "TRELLIS_TEST_POSTGRES_FOLDER";

#[tokio::test]
#[ignore = "is the host that the next test starts in a process of its own and kills"]
async fn host_in_a_child_process() {
    let Some(folder) = std::env::var_os(CHILD_FOLDER) else { return };
    let _postgres = start(Path::new(&folder)).await.expect("it starts");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_killed_host_takes_its_server_along() {
    let dir = open_to_all();
    let folder = dir.path().join("postgres");
    let mut command = Command::new(std::env::current_exe().expect("this test program"));
    command.args(["--exact", "postgres::tests::host_in_a_child_process", "--ignored"]);
    let mut host = command.env(CHILD_FOLDER, &folder).stdout(Stdio::null()).spawn().expect("it starts");
    let deadline = Instant::now() + Duration::from_secs(60);
    // The server's own sign that it accepts connections.
    let is_ready = || fs::read_to_string(folder.join("data/postmaster.pid")).is_ok_and(|text| text.contains("ready"));
    while !is_ready() {
        assert!(Instant::now() < deadline, "the child's server does not come up");
        assert!(host.try_wait().expect("it is our child").is_none(), "the child ended early");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let server = server_process(&folder);
    host.kill().expect("SIGKILL");
    host.wait().expect("it is our child");
    wait_until_gone(server).await;
    start(&folder).await.expect("the folder is free").stop().await.expect("it stops");
}

#[tokio::test]
async fn a_killed_server_is_noticed_and_recovers_at_the_next_start() {
    let dir = open_to_all();
    let folder = dir.path().join("postgres");
    let mut first = start(&folder).await.expect("it starts");
    let server = server_process(first.folder());
    assert!(Command::new("kill").args(["-KILL", &server.to_string()]).status().expect("`kill` runs").success());
    let reason = first.ended().await;
    assert!(matches!(reason, EmbeddedPostgresError::Ended { .. }), "{reason:?}");
    drop(first);
    // The pid file and perhaps some processes of the killed server are still there.
    let second = start(&folder).await.expect("it recovers");
    assert!(can_connect(&second, second.url()).await);
    second.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_pid_file_that_names_an_unrelated_process_is_no_obstacle() {
    let dir = open_to_all();
    let folder = dir.path().join("postgres");
    let first = start(&folder).await.expect("it starts");
    let pid_file = folder.join("data/postmaster.pid");
    let left_behind = fs::read_to_string(&pid_file).expect("the server runs");
    first.stop().await.expect("it stops");
    // As after a reboot: the former server's id now belongs to someone else of the same user.
    let mut stranger = stranger_of_the_same_user(&folder);
    let process = stranger.id().expect("it runs").to_string();
    let lines: Vec<&str> = std::iter::once(process.as_str()).chain(left_behind.lines().skip(1)).collect();
    fs::write(&pid_file, lines.join("\n")).expect("written");
    let owner = fs::metadata(folder.join("data")).expect("it exists");
    std::os::unix::fs::chown(&pid_file, Some(owner.uid()), Some(owner.gid())).expect("it may be given away");
    let second = start(&folder).await.expect("it starts all the same");
    assert_ne!(server_process(second.folder()).to_string(), process);
    second.stop().await.expect("it stops");
    stranger.kill().await.expect("it is our child");
}

fn stranger_of_the_same_user(folder: &Path) -> tokio::process::Child {
    let owner = fs::metadata(folder.join("data")).expect("it exists");
    let run_as = match we_are_root() {
        true => RunAs::Unprivileged { name: "owner".to_owned(), uid: owner.uid(), gid: owner.gid() },
        false => RunAs::Ourselves,
    };
    run_as.command("sleep").arg("60").spawn().expect("`sleep` runs")
}

#[tokio::test]
async fn a_key_press_in_the_terminal_does_not_reach_the_server() {
    let dir = open_to_all();
    let postgres = start(&dir.path().join("postgres")).await.expect("it starts");
    let group_of = |process: u32| {
        let mut command = Command::new("ps");
        let output = command.args(["-o", "pgid=", "-p", &process.to_string()]).output().expect("`ps` runs");
        String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().expect("a number")
    };
    assert_ne!(group_of(server_process(postgres.folder())), group_of(std::process::id()));
    postgres.stop().await.expect("it stops");
}

/// The server's process that serves one connection.
fn backend_of(server: u32) -> Option<u32> {
    let output = Command::new("ps").args(["-axo", "pid=,ppid=,args="]).output().expect("`ps` runs");
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    listing.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (process, parent) = (words.next()?.parse().ok()?, words.next()?.parse::<u32>().ok()?);
        (parent == server && line.contains("[local] idle")).then_some(process)
    })
}

#[tokio::test]
async fn a_shutdown_that_hangs_is_made_an_immediate_one() {
    let dir = open_to_all();
    let mut options = StartOptions::new(dir.path().join("postgres"));
    options.shutdown_grace = Duration::from_secs(1);
    let postgres = EmbeddedPostgres::start(options).await.expect("it starts");
    let binaries = Binaries::find(&SearchPlaces::of_this_machine(None), &postgres.folder).await.expect("they exist");
    let mut session = tokio::process::Command::new(binaries.program("psql"));
    session.args(["--no-psqlrc", "--dbname", postgres.url()]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut session = session.stderr(Stdio::null()).spawn().expect("it connects");
    let server = server_process(postgres.folder());
    let deadline = Instant::now() + Duration::from_secs(20);
    let backend = loop {
        if let Some(backend) = backend_of(server) {
            break backend.to_string();
        }
        assert!(Instant::now() < deadline, "the session does not connect");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    // A process that does not react holds a fast shutdown up for ever.
    assert!(Command::new("kill").args(["-STOP", &backend]).status().expect("`kill` runs").success());
    let stopped = postgres.stop().await;
    assert!(!is_alive(server), "{stopped:?}");
    assert!(matches!(stopped, Err(EmbeddedPostgresError::Ended { .. }) | Ok(())), "{stopped:?}");
    session.kill().await.expect("it is our child");
}

#[tokio::test]
async fn the_socket_and_the_data_are_closed_to_others() {
    let dir = open_to_all();
    let postgres = start(&dir.path().join("postgres")).await.expect("it starts");
    for private in ["socket", "data"] {
        let mode = fs::metadata(postgres.folder().join(private)).expect("it exists").mode();
        assert_eq!(mode & 0o077, 0, "{private:?} has mode {mode:o}");
    }
    postgres.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_gets_a_short_one_below_tmp() {
    let dir = open_to_all();
    let folder = dir.path().join("long".repeat(30));
    let postgres = start(&folder).await.expect("it starts");
    assert!(can_connect(&postgres, postgres.url()).await);
    let socket = postgres.socket.path().to_owned();
    assert!(socket.starts_with("/tmp"), "{socket:?}");
    assert_eq!(fs::metadata(&socket).expect("it exists").mode() & 0o077, 0);
    drop(postgres);

    let postgres = start(&folder).await.expect("it starts again");
    assert_eq!(postgres.socket.path(), socket, "the recorded directory is used again");
    postgres.stop().await.expect("it stops");
    assert!(!socket.exists(), "nothing stays behind");
    let postgres = start(&folder).await.expect("it starts a third time");
    assert!(can_connect(&postgres, postgres.url()).await);
    postgres.stop().await.expect("it stops");
}

#[tokio::test]
async fn a_server_that_does_not_come_up_is_quoted() {
    let dir = open_to_all();
    let mut options = StartOptions::new(dir.path().join("postgres"));
    options.extra_settings = vec![("no_such_setting".to_owned(), "on".to_owned())];
    let error = EmbeddedPostgres::start(options).await.expect_err("there is no such setting");
    let text = error.to_string();
    assert!(matches!(error, EmbeddedPostgresError::Ended { .. }), "{error:?}");
    assert!(text.contains("unrecognized configuration parameter \"no_such_setting\""), "{text}");
}

#[tokio::test]
async fn data_of_another_major_version_are_left_alone() {
    let dir = open_to_all();
    let folder = dir.path().join("postgres");
    start(&folder).await.expect("it starts").stop().await.expect("it stops");
    fs::write(folder.join("data/PG_VERSION"), "99\n").expect("written");
    let error = start(&folder).await.expect_err("no one has version 99");
    assert!(matches!(error, EmbeddedPostgresError::OtherVersion { .. }), "{error:?}");
    assert!(error.to_string().contains("was made by PostgreSQL 99"), "{error}");
}

#[tokio::test]
async fn an_unfinished_initdb_is_started_over() {
    let dir = open_to_all();
    let folder = dir.path().join("postgres");
    let opened = Folder::open(&folder).await.expect("it is free");
    fs::create_dir(folder.join("data.new")).expect("a directory");
    fs::write(folder.join("data.new/PG_VERSION"), "15\n").expect("a file");
    drop(opened);
    start(&folder).await.expect("it starts").stop().await.expect("it stops");
}

/// Only root changes users, so only root can choose one that cannot reach the folder.
#[tokio::test]
async fn root_below_a_closed_directory_gets_a_folder_that_can_be_reached() {
    if !we_are_root() {
        return;
    }
    let home = TempDir::new().expect("a temporary directory");
    fs::set_permissions(home.path(), Permissions::from_mode(0o700)).expect("it is ours");
    let wanted = home.path().join("postgres");
    let first = start(&wanted).await.expect("it starts elsewhere");
    let used = first.folder().to_owned();
    assert!(used.starts_with("/var/lib/trellis"), "{used:?}");
    assert!(!wanted.exists(), "nothing is left where it cannot be used");
    let other_url = first.url().replace(":///trellis?", ":///other?");
    assert!(client(&first, "createdb", &["--maintenance-db", first.url(), "other"]).await);
    first.stop().await.expect("it stops");

    // The directory is opened now: the data that exist still decide.
    fs::set_permissions(home.path(), Permissions::from_mode(0o755)).expect("it is ours");
    let second = start(&wanted).await.expect("it starts");
    assert_eq!(second.folder(), used);
    assert!(can_connect(&second, &other_url).await);
    second.stop().await.expect("it stops");
    fs::remove_dir_all(used).expect("it is ours");
}
