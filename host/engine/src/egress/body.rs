//! Bodies on their way through the guard: counted, cut off at their limit, and given up when nothing comes any more.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::{
    guard::EgressGuard,
    outbound::{SendError, StreamBody},
    targets::Passage,
};

/// Where the bytes of a body are added up.
pub(super) enum Counter {
    Request(Arc<EgressGuard>),
    Response(Arc<EgressGuard>),
}

impl Counter {
    fn too_large(&self, limit: u64) -> SendError {
        match self {
            Self::Request(_) => SendError::RequestTooLarge { limit },
            Self::Response(_) => SendError::TooLarge { limit },
        }
    }

    fn add(&self, bytes: u64) {
        match self {
            Self::Request(guard) => guard.request_bytes.fetch_add(bytes, Relaxed),
            Self::Response(guard) => guard.response_bytes.fetch_add(bytes, Relaxed),
        };
    }
}

/// A body whose bytes are added to a counter, and which fails once it is longer than its limit.
pub(super) struct CountedBody {
    body: StreamBody,
    counter: Counter,
    limit: u64,
    passed: u64,
    over: bool,
    /// Given back at the end of the body, however it comes.
    passage: Option<Box<dyn Passage>>,
}

impl CountedBody {
    pub fn new(body: StreamBody, counter: Counter, limit: u64) -> Self {
        Self { body, counter, limit, passed: 0, over: false, passage: None }
    }

    pub fn with_passage(self, passage: Option<Box<dyn Passage>>) -> Self {
        Self { passage, ..self }
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
        if !matches!(frame, Some(Ok(_))) || self.body.is_end_stream() {
            self.passage = None;
        }
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let length = data.len() as u64;
            self.passed = self.passed.saturating_add(length);
            self.counter.add(length);
            if self.passed > self.limit {
                self.over = true;
                self.passage = None;
                return Poll::Ready(Some(Err(self.counter.too_large(self.limit))));
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

/// A body that fails when its next piece does not come in time.
pub(super) struct TimedBody {
    body: StreamBody,
    patience: Duration,
    /// Set while somebody waits: a guest that takes its time with a piece loses none.
    waiting: Option<Pin<Box<Sleep>>>,
    over: bool,
}

impl TimedBody {
    pub fn new(body: StreamBody, patience: Duration) -> Self {
        Self { body, patience, waiting: None, over: false }
    }
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = SendError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, SendError>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.waiting = None;
            return Poll::Ready(frame);
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(waiting.as_mut().poll(context));
        self.over = true;
        Poll::Ready(Some(Err(SendError::Timeout("waiting for more of the response"))))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
