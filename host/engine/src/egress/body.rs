//! Bodies on their way through the guard: counted, and cut off at their limit.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::outbound::{SendError, StreamBody};

/// A body whose bytes are added to a counter, and which fails once it is longer than its limit.
pub(super) struct CountedBody {
    body: StreamBody,
    counter: Arc<AtomicU64>,
    limit: u64,
    passed: u64,
    over: bool,
}

impl CountedBody {
    pub fn new(body: StreamBody, counter: Arc<AtomicU64>, limit: u64) -> Self {
        Self { body, counter, limit, passed: 0, over: false }
    }
}

impl Body for CountedBody {
    type Data = Bytes;
    type Error = SendError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SendError>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let length = data.len() as u64;
            self.passed = self.passed.saturating_add(length);
            self.counter.fetch_add(length, Relaxed);
            if self.passed > self.limit {
                self.over = true;
                return Poll::Ready(Some(Err(SendError::TooLarge { limit: self.limit })));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody as FromStream};

    use super::*;

    fn pieces(lengths: &[usize]) -> StreamBody {
        let frames: Vec<_> = lengths.iter().map(|length| Ok(Frame::data(Bytes::from(vec![b'x'; *length])))).collect();
        FromStream::new(futures_util::stream::iter(frames)).boxed_unsync()
    }

    #[tokio::test]
    async fn a_body_of_exactly_its_limit_passes() {
        let counter = Arc::new(AtomicU64::new(0));
        let body = CountedBody::new(pieces(&[6, 4]), Arc::clone(&counter), 10);
        assert_eq!(body.collect().await.expect("within the limit").to_bytes().len(), 10);
        assert_eq!(counter.load(Relaxed), 10);
    }

    #[tokio::test]
    async fn a_longer_body_is_cut_off() {
        let body = CountedBody::new(pieces(&[6, 5, 1_000]), Arc::default(), 10);
        assert_eq!(body.collect().await.expect_err("over the limit"), SendError::TooLarge { limit: 10 });
    }
}
