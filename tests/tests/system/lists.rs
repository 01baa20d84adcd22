//! Lists of runs: what every filter finds, page by page, over days with and without a partition.

use std::fmt::Write as _;

use serde_json::{Value, json};
use trellis_model::RunId;

use crate::support::{Account, Api, Database, Stage, action, eventually, project};

const PAGE: usize = 7;

/// Two accounts' history of sixty days, some of them without a partition: a few projects, grids and states.
async fn write_history(database: &Database, accounts: [&Account; 2]) {
    for days_ago in (1..60).filter(|day| day % 3 != 0) {
        sqlx::query("select make_run_day((now() at time zone 'UTC')::date - $1)")
            .bind(days_ago)
            .execute(&database.pool)
            .await
            .expect("it is not there yet");
    }
    sqlx::query(
        "insert into run (account_id, id, project_id, revision_id, grid, state, started_at, error, event, nodes)
         select account.id, run_id_at(now() - make_interval(hours => n * 5)) + n, project.id, 1,
                (array['main', 'main', 'rare', 'main', 'other'])[1 + n % 5],
                case when n % 11 = 0 then 'dead' else 'succeeded' end, now(), null,
                '{\"attributes\":[],\"data\":null}', '[]'
         from account
         join lateral (select array_agg(id order by id) as ids from project where account_id = account.id) as own on true,
              generate_series(1, 290) as n,
              lateral (select own.ids[1 + (n % 7 = 0)::int] as id) as project
         where account.id = any ($1)",
    )
    .bind(accounts.map(|account| account.id.0))
    .execute(&database.pool)
    .await
    .expect("the schema is there");
}

/// Every run that a query finds, page by page.
async fn all_pages(api: &Api, query: &str) -> Vec<String> {
    let (mut runs, mut next) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/v1/runs?limit={PAGE}{query}{next}")).await.expect(200);
        let items = page["items"].as_array().expect("items");
        assert!(items.len() <= PAGE);
        runs.extend(items.iter().map(|item| item["run"].as_str().expect("an id").to_owned()));
        match page["next"].as_str() {
            Some(cursor) => {
                assert_eq!(items.len(), PAGE, "a page that is not the last is full");
                next = format!("&before={cursor}");
            }
            None => return runs,
        }
    }
}

/// What the database says without any index or window.
async fn expected(database: &Database, account: &Account, condition: &str) -> Vec<String> {
    let statement = format!(
        "select run.id from run join project on project.id = run.project_id
         where run.account_id = {} and ({condition}) order by run.id desc",
        account.id.0
    );
    let ids: Vec<i64> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_all(&database.pool).await.expect("a condition");
    ids.into_iter().map(|id| RunId(id).to_string()).collect()
}

async fn database_time(database: &Database, expression: &str) -> String {
    let statement = format!("select to_char(({expression}) at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')");
    sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_one(&database.pool).await.expect("a time")
}

#[tokio::test]
async fn every_filter_finds_the_runs_it_names_newest_first_and_each_of_them_once() {
    let stage = Stage::new().await;
    let (account, other) = (stage.account("acme").await, stage.account("other").await);
    for account in [&account, &other] {
        for name in ["first", "second"] {
            account.deploy(&project(name, &json!({ "echo": action(&json!({ "do": "echo" })) }))).await;
        }
    }
    for name in ["acme", "other"] {
        // Longer than what is written: housekeeping takes none of it away between two looks.
        let settings = json!({ "retention": { "days": 365 } });
        stage.host.operator().put(&format!("/v1/accounts/{name}"), &settings).await.expect(200);
    }
    write_history(&stage.database, [&account, &other]).await;
    let from = database_time(&stage.database, "date_trunc('milliseconds', now() - interval '31 days 7 hours')").await;
    let until = database_time(&stage.database, "date_trunc('milliseconds', now() - interval '2 days 3 hours')").await;

    let projects = [("", "true"), ("&project=first", "name = 'first'"), ("&project=second", "name = 'second'")];
    let grids = [("", "true"), ("&grid=rare", "grid = 'rare'"), ("&grid=none", "grid = 'none'")];
    let states = [("", "true"), ("&state=dead", "state = 'dead'"), ("&state=succeeded", "state = 'succeeded'")];
    let times = [
        (String::new(), "true".to_owned()),
        (format!("&accepted_after={from}"), format!("run.id >= run_id_at('{from}')")),
        (
            format!("&accepted_after={from}&accepted_before={until}"),
            format!("run.id >= run_id_at('{from}') and run.id < run_id_at('{until}')"),
        ),
    ];
    let mut queries = Vec::new();
    for (project, project_is) in projects {
        for (grid, grid_is) in grids {
            for (state, state_is) in states {
                for (time, time_is) in &times {
                    let condition = format!("{project_is} and {grid_is} and {state_is} and {time_is}");
                    queries.push((format!("{project}{grid}{state}{time}"), condition));
                }
            }
        }
    }
    let (mut wrong, mut found) = (String::new(), 0);
    for (query, condition) in queries {
        let (listed, expected) =
            (all_pages(&account.api, &query).await, expected(&stage.database, &account, &condition).await);
        found += listed.len();
        if listed != expected {
            writeln!(wrong, "{query}: {} instead of {}", listed.len(), expected.len()).expect("memory");
        }
    }
    assert!(found > 2_000, "the filters find something: {found}");
    assert!(wrong.is_empty(), "{wrong}");
}

#[tokio::test]
async fn unfinished_runs_are_listed_by_where_they_stand_among_those_that_are_over() {
    let stage = Stage::with(|plan| plan.set("queue.runs_max", "1")).await;
    let account = stage.account("acme").await;
    account.deploy(&project("quick", &json!({ "echo": action(&json!({ "do": "echo" })) }))).await;
    let retry = json!({ "attempts": 2, "first": "1h" });
    let mut fails = action(&json!({ "do": "fail", "kind": "retryable", "message": "later" }));
    fails["retry"] = retry;
    account.deploy(&project("waits", &json!({ "fail": fails }))).await;
    account.deploy(&project("slow", &json!({ "sleep": action(&json!({ "do": "sleep", "ms": 20_000 })) }))).await;

    let over = account.run("quick", &json!(0)).await["run"].as_str().expect("an id").to_owned();
    let waiting = account.start("waits", &json!(0)).await;
    let state = async |run: &str| account.show(run).await["state"].as_str().map(str::to_owned);
    eventually("it waits", async || (state(&waiting).await.as_deref() == Some("waiting")).then_some(())).await;
    let running = account.start("slow", &json!(0)).await;
    eventually("it runs", async || (state(&running).await.as_deref() == Some("running")).then_some(())).await;
    let mut queued = Vec::new();
    for number in 0..10 {
        queued.insert(0, account.start("slow", &json!(number)).await);
    }

    let all: Vec<String> = queued.iter().chain([&running, &waiting, &over]).cloned().collect();
    assert_eq!(all_pages(&account.api, "").await, all);
    assert_eq!(all_pages(&account.api, "&state=queued").await, queued);
    assert_eq!(all_pages(&account.api, "&state=running").await, std::slice::from_ref(&running));
    assert_eq!(all_pages(&account.api, "&state=waiting").await, [waiting]);
    assert_eq!(all_pages(&account.api, "&state=succeeded").await, [over]);
    assert_eq!(all_pages(&account.api, "&project=slow").await, all[..11]);
    let page = account.api.get("/v1/runs?state=running").await.expect(200);
    assert_eq!((&page["items"][0]["project"], &page["items"][0]["grid"]), (&json!("slow"), &json!("main")));
}

#[tokio::test]
async fn a_time_that_is_none_is_refused() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    for query in ["accepted_after=yesterday", "accepted_before=2026-11-31T00:00:00Z", "accepted_after="] {
        let refused: Value = account.api.get(&format!("/v1/runs?{query}")).await.problem(400);
        assert!(
            refused["detail"].as_str().is_some_and(|detail| detail.contains("is no time; write it like")),
            "{refused:#}"
        );
    }
}
