//! A request's body that gives up on a client that sends too slowly: a byte now and then would hold a connection, a place
//! among the requests and their buffers for as long as the client likes.
//!
//! Deliberately does not know how large a body may be, nor what is in it.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

/// How fast a body must come.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Without progress, and behind `bytes_per_second`.
    pub patience: Duration,
    pub bytes_per_second: u64,
}

/// A body that came too slowly.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the body comes too slowly: {received} bytes in {seconds} s")]
pub struct TooSlow {
    pub received: u64,
    pub seconds: u64,
}

/// A body under a [`Pace`].
pub struct PacedBody {
    body: Body,
    pace: Pace,
    received: u64,
    /// Runs from the first time that somebody asks for bytes: before that, an upload waits for its turn and the host is slow,
    /// not the client.
    clock: Option<Clock>,
}

struct Clock {
    began: Instant,
    deadline: Pin<Box<Sleep>>,
}

impl Clock {
    fn start(pace: Pace) -> Self {
        let began = Instant::now();
        Self { began, deadline: Box::pin(sleep_until(began + pace.patience)) }
    }
}

impl PacedBody {
    pub fn new(body: Body, pace: Pace) -> Self {
        Self { body, pace, received: 0, clock: None }
    }

    /// The next deadline: so long after the last progress, and no later than the rate allows for all that has come.
    fn note(&mut self, bytes: usize) {
        self.received = self.received.saturating_add(bytes as u64);
        let earned = Duration::from_secs(self.received / self.pace.bytes_per_second.max(1));
        let Some(clock) = &mut self.clock else { return };
        let by_rate = clock.began.checked_add(earned.saturating_add(self.pace.patience));
        let by_progress = Instant::now() + self.pace.patience;
        clock.deadline.as_mut().reset(by_rate.map_or(by_progress, |by_rate| by_rate.min(by_progress)));
    }
}

impl HttpBody for PacedBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let pace = self.pace;
        self.clock.get_or_insert_with(|| Clock::start(pace));
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match polled {
            Poll::Ready(frame) => {
                let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
                let bytes = data.map_or(0, Bytes::len);
                self.note(bytes);
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            // Looked at only when there is nothing to be had: a busy host must not blame its clients.
            Poll::Pending => {
                let clock = self.clock.get_or_insert_with(|| Clock::start(pace));
                ready!(clock.deadline.as_mut().poll(cx));
                let seconds = clock.began.elapsed().as_secs();
                Poll::Ready(Some(Err(TooSlow { received: self.received, seconds }.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};
    use http_body_util::BodyExt as _;
    use tokio::time::sleep;

    use super::*;

    const PACE: Pace = Pace { patience: Duration::from_secs(10), bytes_per_second: 100 };

    /// What becomes of a body of so many pieces, each of so many bytes after such a pause.
    async fn sent(pieces: usize, bytes: usize, pause: Duration) -> Result<usize, String> {
        let pieces = stream::iter(0..pieces).then(move |_| async move {
            sleep(pause).await;
            Ok::<_, std::convert::Infallible>(Bytes::from(vec![0; bytes]))
        });
        let collected = PacedBody::new(Body::from_stream(pieces), PACE).collect().await;
        collected.map(|body| body.to_bytes().len()).map_err(|error| error.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_in_its_own_time_is_taken() {
        assert_eq!(sent(100, 150, Duration::from_secs(1)).await, Ok(15_000));
        assert_eq!(sent(3, 1, Duration::from_secs(3)).await, Ok(3), "a small one may take the whole patience");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_blamed_for_the_time_before_a_byte_was_asked_for() {
        let late = stream::once(async {
            sleep(Duration::from_secs(1)).await;
            Ok::<_, std::convert::Infallible>(Bytes::from_static(b"late"))
        });
        let paced = PacedBody::new(Body::from_stream(late), PACE);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(paced.collect().await.expect("it was not slow").to_bytes(), "late");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stands_still_is_given_up() {
        let error = sent(2, 1_000_000, Duration::from_secs(11)).await.expect_err("it stood still");
        assert_eq!(error, "the body comes too slowly: 0 bytes in 10 s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_does_not_keep_a_body_alive() {
        let error = sent(1_000, 1, Duration::from_secs(1)).await.expect_err("it dripped");
        assert!(error.starts_with("the body comes too slowly: ") && error.ends_with(" in 10 s"), "{error}");
    }
}
