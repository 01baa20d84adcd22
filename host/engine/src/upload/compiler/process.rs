//! A compiler process, seen from the host: started for one component, given a deadline, and killed when that is over.
//!
//! It gets no environment, no folder to speak of, and no files of the host's but three pipes. Its limits it sets itself before it
//! reads the first byte (`child.rs`): until then nothing runs in it that does not run in the host.

use std::{io, path::Path, process::Stdio, thread};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    time::timeout,
};

use super::{
    order::Order,
    verdict::{self, Ended},
};
use crate::upload::{UploadError, limits::UploadLimits};

/// More threads gain little for one component, and each of them takes memory of its own.
const THREADS_MAX: usize = 8;
/// How much of what a compiler complains about is heard, in bytes.
const COMPLAINT_BYTES_MAX: u64 = 4_096;

/// Compiles in a child; gives back what it made.
pub(super) async fn compile(
    program: &Path,
    pooling: bool,
    bytes: &[u8],
    limits: &UploadLimits,
) -> Result<Vec<u8>, UploadError> {
    let order =
        Order { pooling, memory_bytes: limits.compile_memory_bytes, cpu_seconds: limits.compile_cpu.as_secs().max(1) };
    let unusable = |error: io::Error| UploadError::Unavailable(format!("the compiler cannot be used: {error}"));
    let mut process = Process::start(program, &order).map_err(unusable)?;
    let ended = match timeout(limits.compile_wall, process.converse(bytes, limits.code_bytes)).await {
        Ok(ended) => ended.map_err(unusable)?,
        Err(_) => Ended::OutOfTime,
    };
    verdict::of(ended, limits)
}

/// Dropped, it is killed with all that it may have started.
struct Process(Child);

impl Process {
    fn start(program: &Path, order: &Order) -> io::Result<Self> {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        let mut command = Command::new(program);
        command
            .args(order.arguments())
            // Secrets of the host are in its environment.
            .env_clear()
            .env("RAYON_NUM_THREADS", threads.to_string())
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command.spawn().map(Self)
    }

    /// Hands the component over, listens to the end, and waits for the process to be gone.
    async fn converse(&mut self, bytes: &[u8], code_bytes_max: u64) -> io::Result<Ended> {
        let mut input = self.0.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let output = self.0.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let errors = self.0.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let hand_over = async {
            input.write_all(&(bytes.len() as u64).to_be_bytes()).await?;
            input.write_all(bytes).await
        };
        // One byte says what follows, and one more shows that there is too much.
        let (handed_over, answer, complaint) =
            tokio::join!(hand_over, head(output, code_bytes_max + 2), head(errors, COMPLAINT_BYTES_MAX));
        // Until here it was held open: its end tells a child that it is alone in the world.
        drop(input);
        if let Err(error) = handed_over {
            // Its status says more.
            tracing::debug!(%error, "a compiler did not take in a whole component");
        }
        let status = self.0.wait().await?;
        let complaint = String::from_utf8_lossy(&complaint?).into_owned();
        Ok(Ended::ByItself { status, answer: answer?, complaint })
    }
}

/// The first bytes; whoever writes more finds nobody reading.
async fn head(from: impl AsyncRead + Unpin, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(bytes_max).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

impl Drop for Process {
    fn drop(&mut self) {
        // While it has an id nobody has waited for it, so the number is still its own.
        let group = self.0.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        if let Some(group) = group
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            tracing::warn!(%error, "a compiler process was not killed");
        }
    }
}
