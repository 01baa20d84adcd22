//! Response bodies that come packed: counted and bounded as they come over the wire, then unpacked. What the unpacked body may
//! be is the guard's part.
//!
//! A body may be endless packed and nothing unpacked, or the other way round: each has a bound of its own. Knows gzip alone,
//! which is also all that a server is offered.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tower::{BoxError, ServiceExt as _, service_fn};
use tower_http::decompression::Decompression;

use super::outbound::{SendError, StreamBody};

/// What packing may add where there is nothing to be saved: a header, names in it, and a little for each block. gzip adds
/// less than a hundredth.
const PACKING_BYTES: u64 = 64 * 1024;
const PACKING_PART: u64 = 64;

/// Counts the bytes of a call's responses as they come over the wire, and bounds each body.
#[derive(Clone, Debug)]
pub struct WireMeter {
    bytes: Arc<AtomicU64>,
    /// For one body, unpacked.
    limit: u64,
}

impl WireMeter {
    /// `limit`: the most that a body may come to, unpacked. Packed it may be a little longer.
    pub(crate) fn new(limit: u64) -> Self {
        Self { bytes: Arc::default(), limit }
    }

    /// Of all bodies so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    fn most(&self) -> u64 {
        self.limit.saturating_add(self.limit / PACKING_PART).saturating_add(PACKING_BYTES)
    }
}

impl Default for WireMeter {
    /// Counts, and bounds nothing.
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

/// Offers a server to pack its response, unless the guest has said what it takes, or wants a part: of what is packed, that
/// would be a part of no use.
pub(super) fn offer_packing(headers: &mut HeaderMap) {
    if !headers.contains_key(header::RANGE) {
        headers.entry(header::ACCEPT_ENCODING).or_insert(HeaderValue::from_static("gzip"));
    }
}

/// Counts a response's body and unpacks it, if it says that it is packed; then it says so no more.
pub(super) async fn unpack(response: Response<StreamBody>, meter: WireMeter) -> Response<StreamBody> {
    let metered = response.map(|body| MeteredBody { body, meter, passed: 0, over: false });
    // Made for a service that is asked; this one has its answer already.
    let mut answer = Some(metered);
    let answered = service_fn(move |_: Request<()>| {
        let answer = answer.take().expect("it is asked once");
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let unpacked = Decompression::new(answered).oneshot(Request::new(())).await.unwrap_or_else(|never| match never {});
    unpacked.map(|body| body.map_err(explain).boxed_unsync())
}

fn explain(error: BoxError) -> SendError {
    match error.downcast::<SendError>() {
        Ok(error) => *error,
        Err(error) => SendError::Transport(format!("the packed body cannot be unpacked: {error}")),
    }
}

/// A body as it comes over the wire.
struct MeteredBody {
    body: StreamBody,
    meter: WireMeter,
    passed: u64,
    over: bool,
}

impl Body for MeteredBody {
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
            self.passed = self.passed.saturating_add(data.len() as u64);
            self.meter.bytes.fetch_add(data.len() as u64, Relaxed);
            if self.passed > self.meter.most() {
                self.over = true;
                return Poll::Ready(Some(Err(SendError::TooLarge { limit: self.meter.limit })));
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
    use std::io::Write as _;

    use http_body_util::Full;

    use super::*;

    const LIMIT: u64 = 1024 * 1024;

    fn response(encoding: Option<&'static str>, body: Vec<u8>) -> Response<StreamBody> {
        let mut response = Response::new(Full::from(body).map_err(|never| match never {}).boxed_unsync());
        let headers = encoding.map(|encoding| (header::CONTENT_ENCODING, HeaderValue::from_static(encoding)));
        response.headers_mut().extend(headers);
        response
    }

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text).expect("into memory");
        encoder.finish().expect("into memory")
    }

    #[tokio::test]
    async fn a_packed_body_is_unpacked_and_says_nothing_of_it_any_more() {
        for (encoding, body) in [(None, b"hello".to_vec()), (Some("gzip"), packed(b"hello"))] {
            let (meter, length) = (WireMeter::new(LIMIT), body.len() as u64);
            let unpacked = unpack(response(encoding, body), meter.clone()).await;
            assert!(!unpacked.headers().contains_key(header::CONTENT_ENCODING));
            assert_eq!(unpacked.into_body().collect().await.expect("whole").to_bytes(), "hello");
            assert_eq!(meter.bytes(), length, "what came over the wire");
        }
        let unknown = unpack(response(Some("br"), b"hello".to_vec()), WireMeter::default()).await;
        assert_eq!(unknown.headers()[header::CONTENT_ENCODING], "br", "the guest has asked for that itself");
        assert_eq!(unknown.into_body().collect().await.expect("as it came").to_bytes(), "hello");
    }

    #[tokio::test]
    async fn a_body_that_is_much_packed_and_nothing_unpacked_is_cut_off() {
        const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
        /// A block that holds nothing, and is not the last.
        const NOTHING: [u8; 5] = [0, 0, 0, 0xff, 0xff];
        let endless: Vec<u8> = HEAD.into_iter().chain(NOTHING.into_iter().cycle().take(2 * LIMIT as usize)).collect();
        let pieces = endless.chunks(16 * 1024).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))));
        let pieces: Vec<Result<_, SendError>> = pieces.collect();
        let meter = WireMeter::new(LIMIT);
        let mut response = response(Some("gzip"), Vec::new());
        *response.body_mut() = http_body_util::StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync();
        let unpacked = unpack(response, meter.clone()).await.into_body().collect().await;
        assert_eq!(unpacked.expect_err("too much").to_string(), SendError::TooLarge { limit: LIMIT }.to_string());
        assert!(meter.bytes() < LIMIT + LIMIT / 4, "{}", meter.bytes());
    }

    #[tokio::test]
    async fn what_cannot_be_packed_any_further_may_be_as_long_as_its_limit() {
        let mut seed = 1_u64;
        let mut noise = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        };
        let text: Vec<u8> = (0..LIMIT).map(|_| noise()).collect();
        let body = packed(&text);
        assert!(body.len() as u64 > LIMIT, "{}", body.len());
        let unpacked = unpack(response(Some("gzip"), body), WireMeter::new(LIMIT)).await;
        assert_eq!(unpacked.into_body().collect().await.expect("whole").to_bytes(), text);
    }

    #[tokio::test]
    async fn a_body_that_is_not_packed_as_it_says_is_trouble_of_the_transport() {
        let unpacked = unpack(response(Some("gzip"), b"not packed at all".to_vec()), WireMeter::new(LIMIT)).await;
        let error = unpacked.into_body().collect().await.expect_err("it is no gzip");
        assert!(matches!(&error, SendError::Transport(text) if text.contains("cannot be unpacked")), "{error:?}");
    }

    #[test]
    fn packing_is_offered_unless_the_guest_says_otherwise_or_wants_a_part() {
        let offered = |headers: &[(header::HeaderName, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            let mut headers: HeaderMap = headers.collect();
            offer_packing(&mut headers);
            headers.get(header::ACCEPT_ENCODING).cloned()
        };
        assert_eq!(offered(&[]), Some(HeaderValue::from_static("gzip")));
        assert_eq!(offered(&[(header::ACCEPT_ENCODING, "br")]), Some(HeaderValue::from_static("br")));
        assert_eq!(offered(&[(header::RANGE, "bytes=0-9")]), None);
    }
}
