//! How others wake the scheduler: directly on this host, by notices on other hosts.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use trellis_model::{ClaimId, Lane, Queue, RunId, Shard};
use trellis_store::{Database, jobs::NewJob, notices::Notice};

use super::Message;
use crate::{lease::Lease, run::RunEnd};

/// Messages that may wait for the scheduler.
const MESSAGES_MAX: usize = 8_192;
/// Notices that may wait to be sent; more are dropped, because owners also look by themselves.
const NOTICES_MAX: usize = 1_024;
/// Notices are gathered for this long, so that a burst of events is one notice per shard.
const NOTICE_INTERVAL: Duration = Duration::from_millis(20);

/// Handle by which the scheduler is woken; cheap to clone.
#[derive(Clone, Debug)]
pub struct Wakeups {
    scheduler: mpsc::Sender<Message>,
    notices: mpsc::Sender<Notice>,
}

impl Wakeups {
    /// Makes the scheduler's mailbox and starts the task that sends notices.
    pub fn start(database: Database, stop: CancellationToken) -> ((Self, mpsc::Receiver<Message>), JoinHandle<()>) {
        let (scheduler, messages) = mpsc::channel(MESSAGES_MAX);
        let (notices, waiting) = mpsc::channel(NOTICES_MAX);
        let task = tokio::spawn(send_notices(database, waiting, stop));
        ((Self { scheduler, notices }, messages), task)
    }

    // The scheduler ends only with the host: what it is not told any more, the next owner finds by itself.

    /// Jobs were committed: tells the scheduler of this host, or the hosts that own their shards.
    pub async fn committed(&self, lease: &Lease, jobs: impl IntoIterator<Item = &NewJob>) {
        let mut own: HashMap<(Queue, Lane), RunId> = HashMap::new();
        let mut others: BTreeSet<Shard> = BTreeSet::new();
        for job in jobs {
            if lease.holds(job.shard) {
                let queue = Queue { shard: job.shard, account: job.account };
                let first = own.entry((queue, job.place.lane)).or_insert(job.run);
                *first = job.run.min(*first);
            } else {
                others.insert(job.shard);
            }
        }
        if !own.is_empty() {
            self.tell(Message::Jobs(own)).await;
        }
        self.notice(others.into_iter().map(Notice::Jobs));
    }

    pub async fn ended(&self, queue: Queue, run: RunId, claim: ClaimId, end: RunEnd) {
        self.tell(Message::Ended { queue, run, claim, end }).await;
    }

    pub async fn tell(&self, message: Message) {
        let _ = self.scheduler.send(message).await;
    }

    /// Tells other hosts, soon.
    pub fn notice(&self, notices: impl IntoIterator<Item = Notice>) {
        for notice in notices {
            let _ = self.notices.try_send(notice);
        }
    }
}

async fn send_notices(database: Database, mut waiting: mpsc::Receiver<Notice>, stop: CancellationToken) {
    let mut batch = Vec::with_capacity(NOTICES_MAX);
    loop {
        tokio::select! {
            count = waiting.recv_many(&mut batch, NOTICES_MAX) => {
                if count == 0 {
                    return;
                }
            }
            () = stop.cancelled() => return,
        }
        batch.sort_unstable();
        batch.dedup();
        if let Err(error) = database.notify(&batch).await {
            tracing::debug!(%error, "notices were not sent; their hosts will look by themselves");
        }
        batch.clear();
        tokio::time::sleep(NOTICE_INTERVAL).await;
    }
}
