//! The first act of a stop, seen from outside: a host that was asked to stop still answers, but is not ready; what it still
//! accepts is for others to run.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Account, Database, HELD, HostPlan, Outside, deploy_held, eventually};

/// The first host on a database is given this number.
const LEAVER: i16 = 0;

/// An event whose body is still to come, on a connection that the host has begun to serve.
struct HalfSent(TcpStream);

impl HalfSent {
    async fn event(account: &Account, project: &str) -> Self {
        const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        let (base, token) = account.api.credentials();
        let address = base.strip_prefix("http://").expect("hosts speak plain HTTP here");
        let hook = account.hook(project);
        let head = format!(
            "POST {hook} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: 1\r\nexpect: 100-continue\r\n\r\n"
        );
        let mut connection = TcpStream::connect(address).await.expect("the host is there");
        connection.write_all(head.as_bytes()).await.expect("the host listens");
        let mut told = [0; CONTINUE.len()];
        connection.read_exact(&mut told).await.expect("the host answers");
        assert_eq!(told, CONTINUE, "{}", String::from_utf8_lossy(&told));
        Self(connection)
    }

    /// Sends the rest; answers with the run, when the host has closed the connection.
    async fn accepted(mut self) -> String {
        self.0.write_all(b"2").await.expect("the host listens");
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).await.expect("the host answers");
        assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let body: Value = serde_json::from_str(body).expect("JSON");
        body["run"].as_str().expect("an accepted event has a run").to_owned()
    }
}

/// What a host has done that was asked to stop with a run under way.
struct Left {
    outside: Outside,
    database: Database,
    account: Account,
    plan: HostPlan,
    /// What it answered after the signal when it was asked whether it was ready.
    readiness: u16,
    /// The run under way; one whose event came after the signal; one whose event was complete when nobody was let in any
    /// more.
    runs: [String; 3],
}

impl Left {
    async fn with(guard_off: bool) -> Self {
        let outside = Outside::start().await;
        let database = Database::fresh().await;
        let plan = HostPlan::on(&database.url).allow(&outside).set("queue.lease", "200s");
        let leaving = if guard_off { plan.clone().fault("leave-off=off") } else { plan.clone() };
        let host = leaving.start().await;
        let account = Account::new(&host.operator(), "acme").await;
        deploy_held(&account, &outside).await;
        let under_way = account.start("held", &json!(0)).await;
        outside.asked(HELD).await;
        let half_sent = HalfSent::event(&account, "held").await;

        // The stop gets no further than to its first word to the others.
        let held = database.hold_host(LEAVER).await;
        host.terminate().await;
        eventually("the host says that it goes", async || {
            let saying = "select count(*) from pg_stat_activity where datname = current_database()
                          and wait_event_type = 'Lock' and query like 'update host set is_leaving%'";
            (database.number(saying).await == 1).then_some(())
        })
        .await;
        let readiness = account.api.get("/readyz").await.status;
        let after_signal = account.start("held", &json!(1)).await;
        if guard_off {
            eventually("a run is begun after the signal", async || (calls(&outside) == 2).then_some(())).await;
        }
        held.rollback().await.expect("the server is up");

        let address = host.url.strip_prefix("http://").expect("hosts speak plain HTTP here");
        eventually("the host lets nobody in any more", async || {
            TcpStream::connect(address).await.is_err().then_some(())
        })
        .await;
        let at_last = half_sent.accepted().await;
        if guard_off {
            eventually("a run is begun during the drain", async || (calls(&outside) == 3).then_some(())).await;
        }
        outside.release(HELD);
        let status = host.ended().await;
        assert!(status.success(), "{status}");
        Self { outside, database, account, plan, readiness, runs: [under_way, after_signal, at_last] }
    }

    fn calls(&self) -> usize {
        calls(&self.outside)
    }
}

fn calls(outside: &Outside) -> usize {
    outside.received(HELD).len()
}

#[tokio::test]
async fn what_a_host_accepts_after_the_signal_is_run_by_another_host() {
    let left = Left::with(false).await;
    assert_eq!(left.readiness, 503);
    let history = left.database.history().await;
    assert!(
        history.len() == 1 && history.contains_key(&left.runs[0]),
        "more was begun than was under way: {history:?}"
    );
    assert_eq!(left.calls(), 1);
    let next = left.plan.start().await;
    for run in &left.runs {
        left.account.at(&next).succeeded(run).await;
    }
    assert_eq!(left.calls(), 3);
}

#[tokio::test]
async fn a_host_that_does_not_leave_before_it_drains_is_ready_and_begins_runs_to_the_end() {
    let left = Left::with(true).await;
    assert_eq!(left.readiness, 200);
    assert_eq!((left.database.ended_count().await, left.calls()), (3, 3));
}
