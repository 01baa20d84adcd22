//! One batch on its way into the database: which of its events may be new, which repeat one of the same batch, and who is
//! to be told what. Pure: it is filled, committed by others, and told what has become of it.

use std::collections::HashMap;

use tokio::sync::oneshot;
use trellis_model::{AccountId, RunId};
use trellis_store::{
    dedup::{Acceptance, Digest, KeyClaim},
    jobs::NewJob,
};

use super::{Accepted, Answer, EventKeys, IngestError, NewEvent, Request};

#[derive(Default)]
pub(super) struct Batch {
    /// Of the events that repeat none of this batch.
    pub jobs: Vec<NewJob>,
    /// Their keys.
    pub claims: Vec<KeyClaim>,
    /// Who waits for the fate of each job; with their room in the waiting queue.
    waiting: Vec<Waiting>,
    repeats: Vec<Repeat>,
    /// Which job holds a key: an index into `claims`.
    holders: HashMap<(AccountId, Digest), usize>,
}

struct Waiting {
    reply: oneshot::Sender<Answer>,
    _room: super::Room,
}

/// An event with a key of an earlier one of the same batch.
struct Repeat {
    /// Index of that event's job.
    job: usize,
    /// Whether its data are the same, as far as they must be.
    is_alike: bool,
    request: Request,
}

impl Batch {
    /// Adds an event, with the id that its run has if it gets one. `spread`: on how many shards its account's jobs are put.
    pub fn add(&mut self, request: Request, run: RunId, spread: u8) {
        match self.find_holder(&request.event) {
            Some((job, is_alike)) => self.repeats.push(Repeat { job, is_alike, request }),
            None => self.add_new(request, run, spread),
        }
    }

    fn find_holder(
        &self,
        NewEvent { account, keys: EventKeys { keys, payload }, .. }: &NewEvent,
    ) -> Option<(usize, bool)> {
        let held =
            || keys.iter().filter_map(|key| Some((key, self.claims[*self.holders.get(&(*account, key.digest))?])));
        let (_, claim) = held().next()?;
        Some((claim.job, held().all(|(key, claim)| !key.is_strict || claim.payload == *payload)))
    }

    fn add_new(&mut self, request: Request, run: RunId, spread: u8) {
        let Request { event, reply, room, .. } = request;
        let job = self.jobs.len();
        for key in &event.keys.keys {
            self.holders.insert((event.account, key.digest), self.claims.len());
            let (key, is_strict) = (key.digest, key.is_strict);
            self.claims.push(KeyClaim { job, key, payload: event.keys.payload, is_strict });
        }
        self.jobs.push(event.into_job(run, spread));
        self.waiting.push(Waiting { reply, _room: room });
    }

    /// The jobs that are in the queue now, and were not before.
    pub fn accepted<'b>(&'b self, acceptances: &'b [Acceptance]) -> impl Iterator<Item = &'b NewJob> {
        self.jobs.iter().zip(acceptances).filter(|(_, one)| **one == Acceptance::New).map(|(job, _)| job)
    }

    /// Tells everyone what the database said of the jobs. Returns the events that it is not the answer for: they had a key
    /// in common with one that was refused because of another key, and are to be tried by themselves.
    pub fn tell(self, acceptances: &[Acceptance]) -> Vec<Request> {
        let mut again = Vec::new();
        for Repeat { job, is_alike, request } in self.repeats {
            let run = match acceptances[job] {
                Acceptance::New => self.jobs[job].run,
                Acceptance::Repeat(run) => run,
                Acceptance::KeyReused => {
                    again.push(request);
                    continue;
                }
            };
            let answer = if is_alike { Ok(Accepted { run, is_repeat: true }) } else { Err(IngestError::KeyReused) };
            let _ = request.reply.send(answer);
        }
        for ((acceptance, waiting), job) in acceptances.iter().zip(self.waiting).zip(&self.jobs) {
            // A client that has gone away is not told; its event is kept all the same.
            let _ = waiting.reply.send(match acceptance {
                Acceptance::New => Ok(Accepted { run: job.run, is_repeat: false }),
                Acceptance::Repeat(run) => Ok(Accepted { run: *run, is_repeat: true }),
                Acceptance::KeyReused => Err(IngestError::KeyReused),
            });
        }
        again
    }

    /// Tells everyone that it was not to be.
    pub fn refuse(self, error: &IngestError) {
        let replies = self.waiting.into_iter().map(|waiting| waiting.reply);
        for reply in replies.chain(self.repeats.into_iter().map(|repeat| repeat.request.reply)) {
            let _ = reply.send(Err(error.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;
    use trellis_model::{Place, ProjectId, RevisionId};

    use super::{super::Rooms, *};
    use crate::ingest::EventKey;

    type Told = oneshot::Receiver<Answer>;

    /// An event of an account with strict and other keys, and with these data.
    fn request(account: i64, strict: &[u8], other: &[u8], data: u8) -> (Request, Told) {
        let key = |number: &u8, is_strict| EventKey { digest: [*number; 32], is_strict };
        let keys = strict.iter().map(|one| key(one, true)).chain(other.iter().map(|one| key(one, false))).collect();
        let event = NewEvent {
            account: AccountId(account),
            project: ProjectId(1),
            revision: RevisionId(1),
            grid: "main".into(),
            place: Place::default(),
            payload: vec![data],
            keys: EventKeys { keys, payload: [data; 32] },
        };
        let (reply, answer) = oneshot::channel();
        let room = Rooms::default().take(1).expect("nothing waits");
        (Request { event, replay: None, received: Instant::now(), room, reply }, answer)
    }

    fn batch(requests: Vec<Request>) -> Batch {
        let mut batch = Batch::default();
        for (run, request) in (1..).map(RunId).zip(requests) {
            batch.add(request, run, 1);
        }
        batch
    }

    /// The run, and whether it is a repeat; none for a refusal.
    fn told(mut answer: Told) -> Option<(i64, bool)> {
        let answer = answer.try_recv().expect("everyone is told");
        answer.ok().map(|Accepted { run, is_repeat }| (run.0, is_repeat))
    }

    #[test]
    fn a_repeat_in_the_same_batch_is_no_job_of_its_own() {
        let (requests, mut answers): (Vec<_>, Vec<_>) = [
            request(1, &[1], &[], 0),
            request(1, &[1], &[], 0),
            request(1, &[], &[], 0),
            request(2, &[1], &[], 0),
            request(1, &[1], &[], 9),
            request(1, &[], &[1], 9),
        ]
        .into_iter()
        .unzip();
        let batch = batch(requests);
        assert_eq!(batch.jobs.len(), 3);
        assert_eq!(batch.claims.len(), 2);
        assert!(batch.tell(&[Acceptance::New; 3]).is_empty());
        let told: Vec<_> = answers.drain(..).map(told).collect();
        let other_data = None;
        assert_eq!(
            told,
            [Some((1, false)), Some((1, true)), Some((3, false)), Some((4, false)), other_data, Some((1, true))]
        );
    }

    #[test]
    fn a_repeat_of_a_repeat_has_the_same_run() {
        let (requests, answers): (Vec<_>, Vec<_>) =
            [request(1, &[1], &[2], 0), request(1, &[], &[2], 5)].into_iter().unzip();
        assert!(batch(requests).tell(&[Acceptance::Repeat(RunId(77))]).is_empty());
        assert_eq!(answers.into_iter().map(told).collect::<Vec<_>>(), [Some((77, true)), Some((77, true))]);
    }

    #[test]
    fn an_event_is_not_refused_for_the_key_of_another_one() {
        let (requests, mut answers): (Vec<_>, Vec<_>) =
            [request(1, &[1], &[2], 0), request(1, &[], &[2], 0)].into_iter().unzip();
        let again = batch(requests).tell(&[Acceptance::KeyReused]);
        assert_eq!(again.len(), 1);
        assert_eq!(told(answers.remove(0)), None);
        assert!(batch(again).tell(&[Acceptance::New]).is_empty());
        assert_eq!(told(answers.remove(0)), Some((1, false)));
    }
}
