//! Receiving the bytes of a plugin: how many uploads at a time, how large, how slow; and their digest while they come in.
//!
//! Knows nothing of what the bytes are.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{HeaderMap, header::CONTENT_LENGTH};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use trellis_engine::{Digest, RunningDigest};
use trellis_model::AccountId;

use super::{Problem, request::body_problem};

/// Limits of uploads as they come in.
#[derive(Clone, Debug)]
pub struct UploadConfig {
    /// One upload, in bytes.
    pub bytes_max: usize,
    /// Uploads at the same time.
    pub at_once: u32,
    /// Of one account.
    pub account_at_once: u32,
    /// Those that wait for their turn.
    pub waiting_max: u32,
    /// How long one waits for its turn.
    pub wait: Duration,
}

/// Lets uploads in, a few at a time, and no account more than its part: an upload holds memory for all of its bytes, and
/// whoever sends them decides for how long.
pub struct UploadGate {
    config: UploadConfig,
    turns: Arc<Semaphore>,
    waiting: Semaphore,
    /// Of the accounts that have an upload here.
    accounts: Mutex<HashMap<AccountId, Weak<Semaphore>>>,
}

/// An upload's turn; dropped, the next one has it.
pub struct UploadTurn {
    _of_account: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl UploadGate {
    pub fn new(config: UploadConfig) -> Self {
        let turns = Arc::new(Semaphore::new(config.at_once as usize));
        let waiting = Semaphore::new(config.waiting_max as usize);
        Self { config, turns, waiting, accounts: Mutex::default() }
    }

    /// Waits for a turn, in the order of arrival.
    ///
    /// # Errors
    /// 503: too many wait already, or it took too long.
    pub async fn enter(&self, account: AccountId) -> Result<UploadTurn, Problem> {
        let of_account = self.turns_of(account);
        if let Ok(own) = Arc::clone(&of_account).try_acquire_owned()
            && let Ok(of_all) = Arc::clone(&self.turns).try_acquire_owned()
        {
            return Ok(UploadTurn { _of_account: own, _of_all: of_all });
        }
        let Ok(_place) = self.waiting.try_acquire() else { return Err(self.full()) };
        let turn = async {
            // The account's first: who waits for others of its own must not hold a turn that is everybody's.
            let own = of_account.acquire_owned().await.expect("the turns are never closed");
            let of_all = Arc::clone(&self.turns).acquire_owned().await.expect("the turns are never closed");
            UploadTurn { _of_account: own, _of_all: of_all }
        };
        timeout(self.config.wait, turn).await.map_err(|_| self.full())
    }

    fn turns_of(&self, account: AccountId) -> Arc<Semaphore> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = accounts.get(&account).and_then(Weak::upgrade) {
            return turns;
        }
        accounts.retain(|_, turns| turns.strong_count() > 0);
        let turns = Arc::new(Semaphore::new(self.config.account_at_once as usize));
        accounts.insert(account, Arc::downgrade(&turns));
        turns
    }

    fn full(&self) -> Problem {
        let detail = "too many uploads at the same time; send this one again";
        Problem::unavailable(detail, self.config.wait.max(Duration::from_secs(1)))
    }

    /// Refuses a body by its announced length, before a byte of it is read. What is announced is not believed any further.
    ///
    /// # Errors
    /// 413.
    pub fn check_length(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        match announced {
            Some(length) if length > self.config.bytes_max as u64 => Err(self.too_large()),
            _ => Ok(()),
        }
    }

    fn too_large(&self) -> Problem {
        Problem::too_large(format!("at most {} bytes are taken here", self.config.bytes_max))
    }

    /// Takes the bytes in. Memory grows with what has really come.
    ///
    /// # Errors
    /// 413 at the first byte too many, 408 when the body comes too slowly for its pace, 400 when it ends too early.
    pub async fn receive(&self, body: Body) -> Result<(Digest, Bytes), Problem> {
        let (mut received, mut digest) = (BytesMut::new(), RunningDigest::default());
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| body_problem(&error, self.config.bytes_max))?;
            if received.len() + piece.len() > self.config.bytes_max {
                return Err(self.too_large());
            }
            digest.add(&piece);
            received.extend_from_slice(&piece);
        }
        Ok((digest.finish(), received.freeze()))
    }

    /// Lets a body that is not wanted run through, so that its sender comes to reading the answer; keeps nothing of it. A
    /// sender that falls behind its pace, or sends more than any upload may have, is not waited for.
    pub async fn pass_over(&self, body: Body) {
        let (mut pieces, mut passed) = (body.into_data_stream(), 0);
        while let Some(Ok(piece)) = pieces.next().await {
            passed += piece.len();
            if passed > self.config.bytes_max {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{Stream, stream};

    use super::*;
    use crate::api::pace::{Pace, PacedBody};

    const ONE: AccountId = AccountId(1);
    const OTHER: AccountId = AccountId(2);

    fn gate(at_once: u32, account_at_once: u32, waiting_max: u32) -> Arc<UploadGate> {
        let wait = Duration::from_secs(3_600);
        let config = UploadConfig { bytes_max: 8, at_once, account_at_once, waiting_max, wait };
        Arc::new(UploadGate::new(config))
    }

    /// An upload that waits for its turn; returned once it does.
    async fn waiting(
        gate: &Arc<UploadGate>,
        account: AccountId,
    ) -> tokio::task::JoinHandle<Result<UploadTurn, Problem>> {
        let free = gate.waiting.available_permits();
        let waits = tokio::spawn({
            let gate = Arc::clone(gate);
            async move { gate.enter(account).await }
        });
        while gate.waiting.available_permits() == free {
            tokio::task::yield_now().await;
        }
        waits
    }

    #[tokio::test]
    async fn an_account_has_its_part_of_the_turns_and_others_have_the_rest() {
        let gate = gate(3, 2, 1);
        let first = gate.enter(ONE).await.expect("a turn");
        let _second = gate.enter(ONE).await.expect("a turn");
        let third = waiting(&gate, ONE).await;
        let _others = gate.enter(OTHER).await.expect("a turn");
        drop(first);
        third.await.expect("it ran").expect("the turn that was given back");
    }

    #[tokio::test]
    async fn who_finds_all_places_for_waiting_taken_is_told_503_at_once() {
        let gate = gate(1, 1, 1);
        let _turn = gate.enter(ONE).await.expect("a turn");
        let _waits = waiting(&gate, OTHER).await;
        let problem = gate.enter(OTHER).await.err().expect("refused");
        assert_eq!((problem.status, problem.retry_after), (503, Some(3_600)));
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_503() {
        let config = UploadConfig { wait: Duration::from_millis(1), ..gate(1, 1, 1).config.clone() };
        let gate = UploadGate::new(config);
        let _turn = gate.enter(ONE).await.expect("a turn");
        let problem = gate.enter(ONE).await.err().expect("refused");
        assert_eq!((problem.status, problem.retry_after), (503, Some(1)));
        assert_eq!(gate.waiting.available_permits(), 1, "its place is free again");
    }

    #[tokio::test]
    async fn accounts_without_an_upload_are_forgotten() {
        let gate = gate(10, 1, 1);
        for number in 0..100 {
            gate.enter(AccountId(number)).await.expect("a turn");
        }
        assert_eq!(gate.accounts.lock().expect("no panic").len(), 1);
    }

    fn pieces(pieces: &[&'static str]) -> Body {
        let pieces: Vec<Result<&str, std::io::Error>> = pieces.iter().map(|piece| Ok(*piece)).collect();
        Body::from_stream(stream::iter(pieces))
    }

    #[tokio::test]
    async fn bytes_are_taken_in_up_to_the_limit_and_digested_on_the_way() {
        let gate = gate(1, 1, 1);
        let (digest, bytes) = gate.receive(pieces(&["1234", "", "5678"])).await.expect("within the limit");
        assert_eq!((digest, &bytes[..]), (Digest::of(b"12345678"), &b"12345678"[..]));
        let problem = gate.receive(pieces(&["1234", "56789"])).await.expect_err("too large");
        assert_eq!(problem.status, 413);
        let mut headers = HeaderMap::new();
        for (announced, is_refused) in [("8", false), ("9", true), ("nonsense", false), ("18446744073709551615", true)]
        {
            headers.insert(CONTENT_LENGTH, announced.parse().expect("a value"));
            assert_eq!(gate.check_length(&headers).is_err(), is_refused, "{announced}");
        }
    }

    /// What stands before every handler.
    fn paced(pieces: impl Stream<Item = Result<&'static str, std::io::Error>> + Send + 'static) -> Body {
        let pace = Pace { patience: Duration::from_secs(10), bytes_per_second: 1_024 };
        Body::new(PacedBody::new(Body::from_stream(pieces), pace))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_is_given_up() {
        let gate = gate(1, 1, 1);
        let stalled = stream::iter([Ok("12")]).chain(stream::pending());
        let problem = gate.receive(paced(stalled)).await.expect_err("given up");
        assert_eq!(problem.status, 408, "{}", problem.detail);
        let broken = stream::iter([Ok("12"), Err(std::io::Error::other("gone"))]);
        assert_eq!(gate.receive(paced(broken)).await.expect_err("it ended").status, 400);
        gate.pass_over(paced(stream::pending())).await;
        gate.pass_over(paced(stream::repeat_with(|| Ok("1")))).await;
    }
}
