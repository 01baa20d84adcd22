//! A stream that gives up on a client that takes nothing: without it, someone who asks for much and reads none of it
//! would hold a connection, a request and its buffers for ever.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use super::EdgeConfig;

/// How long a client is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub limit: Duration,
    pub bytes_per_second: u64,
}

impl Patience {
    pub fn of(config: &EdgeConfig) -> Self {
        Self { limit: config.stall_timeout, bytes_per_second: config.response_bytes_per_second }
    }
}

/// Passes everything through. When writes have waited for the client for `limit` without its taking as much as the rate
/// asks for, the next wait fails with [`io::ErrorKind::TimedOut`]. Only time spent waiting counts: a client that is
/// slow to ask is none that is slow to take.
pub(super) struct StallGuard<S> {
    stream: S,
    patience: Patience,
    /// Waited for the client since it last kept up with the rate.
    waited: Duration,
    /// Taken in that time.
    taken: u64,
    /// Runs while a write waits for the client, since then.
    stalled: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<S> StallGuard<S> {
    pub fn new(stream: S, patience: Patience) -> Self {
        Self { stream, patience, waited: Duration::ZERO, taken: 0, stalled: None }
    }

    /// The outcome of a write of so many bytes, or the failure to have had enough of them for too long.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(written) = outcome {
            if let Some((since, _)) = self.stalled.take() {
                self.waited += since.elapsed();
            }
            self.credit(written.as_ref().map_or(0, bytes));
            return Poll::Ready(written);
        }
        let left = self.patience.limit.saturating_sub(self.waited);
        let (_, stalled) = self.stalled.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes its data too slowly")))
    }

    /// Whoever has taken as much as the rate asks for the time that was waited begins anew.
    fn credit(&mut self, bytes: usize) {
        self.taken = self.taken.saturating_add(bytes as u64);
        let asked = u128::from(self.patience.bytes_per_second) * self.waited.as_millis() / 1_000;
        if u128::from(self.taken) >= asked {
            (self.waited, self.taken) = (Duration::ZERO, 0);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StallGuard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallGuard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, outcome, |written| *written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, outcome, |written| *written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        // A flush follows every write and, on a socket, waits for nothing: its readiness is no progress.
        if outcome.is_ready() { outcome } else { self.watch(cx, outcome, |()| 0) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, outcome, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::timeout,
    };

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);
    const PATIENCE: Patience = Patience { limit: LIMIT, bytes_per_second: 1 };

    #[tokio::test(start_paused = true)]
    async fn a_write_that_makes_no_progress_fails_after_the_limit() {
        let (near, _far) = duplex(4);
        let mut guard = StallGuard::new(near, PATIENCE);
        let began = Instant::now();
        let error = guard.write_all(b"more than four").await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), LIMIT.as_secs());
    }

    /// Whether a text of a hundred bytes is written to somebody who takes a byte at every such time.
    async fn is_written_to_a_reader(every: Duration) -> bool {
        let (near, mut far) = duplex(1);
        let mut guard = StallGuard::new(near, PATIENCE);
        let reader = tokio::spawn(async move {
            loop {
                sleep(every).await;
                if far.read_u8().await.is_err() {
                    break;
                }
            }
        });
        let is_written = guard.write_all(&[7; 100]).await.is_ok();
        drop(guard);
        reader.await.expect("it does not panic");
        is_written
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_not_a_stalled_one() {
        assert!(is_written_to_a_reader(Duration::from_millis(900)).await, "each second has its byte");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_a_byte_now_and_then_is_given_up() {
        assert!(!is_written_to_a_reader(LIMIT / 3).await, "no wait is as long as the limit, and yet it is too slow");
    }

    #[tokio::test(start_paused = true)]
    async fn reading_may_take_as_long_as_it_likes() {
        let (near, mut far) = duplex(4);
        let mut guard = StallGuard::new(near, PATIENCE);
        assert!(timeout(LIMIT * 2, guard.read_u8()).await.is_err());
        far.write_u8(7).await.expect("the other side is open");
        assert_eq!(guard.read_u8().await.expect("a byte was written"), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn time_between_requests_is_not_held_against_a_client() {
        let (near, mut far) = duplex(4);
        let mut guard = StallGuard::new(near, PATIENCE);
        for _ in 0..5 {
            sleep(LIMIT * 2).await;
            guard.write_all(b"four").await.expect("there is room");
            far.read_exact(&mut [0; 4]).await.expect("four bytes");
        }
    }
}
