//! What tidies up after this process however it ends: a child that waits for the end of its standard input, then kills the
//! hosts that are still there, unmounts what is mounted in the scratch folder and removes it.

use std::{
    fs::{self, Permissions},
    io::Write,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, OnceLock},
};

const SCRIPT: &str = r#"
hosts=
while read -r verb host; do
    case $verb in
        started) hosts="$hosts $host" ;;
        ended) hosts=$(for one in $hosts; do [ "$one" = "$host" ] || printf ' %s' "$one"; done) ;;
    esac
done
[ -z "$hosts" ] || kill -KILL $hosts
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    ls "$1"/*/data/postmaster.pid >/dev/null 2>&1 || break
    sleep 1
done
grep -o " $1/[^ ]*" /proc/mounts 2>/dev/null | while read -r mounted; do umount -l "$mounted"; done
rm -rf "$1"
"#;

struct Janitor {
    scratch: PathBuf,
    orders: Mutex<Box<dyn Write + Send>>,
}

fn janitor() -> &'static Janitor {
    static JANITOR: OnceLock<Janitor> = OnceLock::new();
    JANITOR.get_or_init(|| {
        let scratch = tempfile::Builder::new().prefix("trellis-tests-").tempdir().expect("a temporary folder").keep();
        // Postgres runs as another user when this process is root's.
        fs::set_permissions(&scratch, Permissions::from_mode(0o755)).expect("it is ours");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "sh"]).arg(&scratch).stdin(Stdio::piped()).process_group(0);
        // Whoever waits for the end of this process's output must not wait for the janitor's as well.
        #[expect(clippy::zombie_processes, reason = "it outlives this process")]
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("`sh` runs");
        let orders = child.stdin.expect("stdin is piped");
        Janitor { scratch, orders: Mutex::new(Box::new(orders)) }
    })
}

/// A folder that is gone when this process is.
pub fn scratch() -> &'static Path {
    &janitor().scratch
}

pub fn host_started(process: u32) {
    tell("started", process);
}

pub fn host_ended(process: u32) {
    tell("ended", process);
}

fn tell(verb: &str, process: u32) {
    let mut orders = janitor().orders.lock().expect("nobody panics while writing");
    writeln!(orders, "{verb} {process}").expect("the janitor lives as long as this process");
}
