//! Runs that wait for a target whose rate was raised: they are called as much sooner as the target takes requests faster.

use trellis_model::run::TargetWait;
use trellis_store::Database;

use crate::catalog::RaisedRate;

/// Moves their times. Of a run that is called, [`trellis_model::run::Progress::hasten`] takes its node's place to have come. If
/// the database does not answer they keep their times, which is no harm but the waiting.
pub async fn move_up(database: &Database, raised: &[RaisedRate]) {
    for RaisedRate { account, project, target, factor } in raised {
        let text = TargetWait::message_begin(target);
        match database.move_waiting_jobs(*account, *project, &text, *factor).await {
            Ok(0) => {}
            Ok(runs) => tracing::info!(%account, %project, target, runs, "runs that wait for a target move up"),
            Err(error) => {
                tracing::warn!(%account, %project, target, %error, "runs that wait for a target keep their times");
            }
        }
    }
}
