//! Tells other hosts what they watch: gathered for a moment, the newest of each node alone, and ends at once.

use std::{collections::HashMap, time::Duration};

use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use trellis_model::{
    AccountId, RunId,
    news::{NodeNews, Told, ToldWhat, in_parts},
};
use trellis_store::{Database, notices::Notice};

/// What may wait to be told; more is dropped, and found by those who watch when they look.
const TOLD_MAX: usize = 4_096;
/// News are gathered for this long: a guest that reports its progress a thousand times a second is ten notices.
const GATHER: Duration = Duration::from_millis(100);

pub(super) struct Teller {
    database: Database,
    told: mpsc::Receiver<Told>,
}

impl Teller {
    pub fn new(database: Database) -> (mpsc::Sender<Told>, Self) {
        let (sender, told) = mpsc::channel(TOLD_MAX);
        (sender, Self { database, told })
    }

    pub async fn run(mut self, stop: CancellationToken) {
        let mut last = Instant::now();
        while let Some(Some(first)) = stop.run_until_cancelled(self.told.recv()).await {
            let batch = self.gather(first, last + GATHER).await;
            last = Instant::now();
            let notices: Vec<Notice> = newest(batch).iter().map(|told| Notice::Run(told.to_text())).collect();
            if let Err(error) = self.database.notify(&notices).await {
                tracing::debug!(%error, "news of runs were not told; those who watch look by themselves");
            }
        }
    }

    /// Until the time has come, or something cannot wait.
    async fn gather(&mut self, first: Told, until: Instant) -> Vec<Told> {
        let mut batch = vec![first];
        while batch.len() < TOLD_MAX && batch.iter().all(|told| can_wait(&told.what)) {
            match tokio::time::timeout_at(until, self.told.recv()).await {
                Ok(Some(told)) => batch.push(told),
                Ok(None) | Err(_) => break,
            }
        }
        while batch.len() < TOLD_MAX
            && let Ok(told) = self.told.try_recv()
        {
            batch.push(told);
        }
        batch
    }
}

/// Somebody may wait for an end, and for an answer.
fn can_wait(what: &ToldWhat) -> bool {
    matches!(what, ToldWhat::Nodes(_) | ToldWhat::Run(_))
}

/// Of several news of a node the last one; everything else as it came, the nodes of a run before its end.
fn newest(batch: Vec<Told>) -> Vec<Told> {
    let mut nodes: HashMap<(AccountId, RunId), (u32, HashMap<String, NodeNews>)> = HashMap::new();
    let mut others = Vec::new();
    for told in batch {
        match told.what {
            ToldWhat::Nodes(news) => {
                let (_, known) = nodes.entry((told.account, told.run)).or_insert_with(|| (told.from, HashMap::new()));
                known.extend(news.into_iter().map(|one| (one.node.clone(), one)));
            }
            _ => others.push(told),
        }
    }
    let of_nodes = nodes.into_iter().flat_map(|((account, run), (from, known))| {
        let mut news: Vec<NodeNews> = known.into_values().collect();
        news.sort_by(|one, other| (one.at_ms, &one.node).cmp(&(other.at_ms, &other.node)));
        in_parts(news).into_iter().map(move |part| Told { from, account, run, what: ToldWhat::Nodes(part) })
    });
    of_nodes.chain(others).collect()
}

#[cfg(test)]
mod tests {
    use trellis_model::{
        news::{CallProgress, RunNews},
        run::RunState,
    };

    use super::*;

    fn told(what: ToldWhat) -> Told {
        Told { from: 1, account: AccountId(1), run: RunId(1), what }
    }

    fn news(node: &str, fraction: f64) -> ToldWhat {
        let progress = Some(CallProgress { fraction, text: String::new() });
        ToldWhat::Nodes(vec![NodeNews { progress, ..NodeNews::running(node, 1, 5, None) }])
    }

    #[test]
    fn a_thousand_reports_of_progress_are_one_notice_before_the_end() {
        let mut batch = vec![told(ToldWhat::Ended(RunNews::new(RunState::Succeeded, 9), None)), told(news("b", 0.5))];
        batch.extend((0..1_000).map(|count| told(news("a", f64::from(count) / 1_000.0))));
        let newest = newest(batch);
        assert_eq!(newest.len(), 2);
        let ToldWhat::Nodes(nodes) = &newest[0].what else { panic!("{newest:?}") };
        let fractions: Vec<f64> = nodes.iter().filter_map(|one| Some(one.progress.as_ref()?.fraction)).collect();
        assert_eq!(fractions, [0.999, 0.5]);
        assert!(matches!(newest[1].what, ToldWhat::Ended(..)));
    }
}
