//! The other side of P2: what somebody would write in an hour. A handler with one INSERT a request, on a pool of as many
//! connections as the host's.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::{Json, Router, body::Bytes, extract::State, routing::post};
use http::StatusCode;
use serde_json::{Value, json};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::load::Target;

const PATH: &str = "/events";

pub struct BareIngest {
    address: SocketAddr,
    pool: PgPool,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

impl BareIngest {
    pub async fn start(database_url: &str, connections: u32) -> anyhow::Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            // As the host's pool is set up.
            .test_before_acquire(false)
            .connect(database_url)
            .await?;
        sqlx::query(
            "create table event (
                 id bigint generated always as identity primary key, at timestamptz not null default now(), payload bytea not null
             )",
        )
        .execute(&pool)
        .await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Router::new().route(PATH, post(receive)).with_state(pool.clone());
        let stop = CancellationToken::new();
        let server = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        let task = tokio::spawn(server.into_future());
        Ok(Self { address, pool, stop, task })
    }

    pub fn target(&self, body: Bytes) -> Target {
        Target { address: self.address, path: PATH.to_owned(), token: None, body }
    }

    /// Rows in its table.
    pub async fn stored(&self) -> sqlx::Result<u64> {
        let count: i64 = sqlx::query_scalar("select count(*) from event").fetch_one(&self.pool).await?;
        Ok(count.unsigned_abs())
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.task.await.context("the bare server panicked")??;
        self.pool.close().await;
        Ok(())
    }
}

async fn receive(State(pool): State<PgPool>, body: Bytes) -> Result<(StatusCode, Json<Value>), StatusCode> {
    serde_json::from_slice::<serde::de::IgnoredAny>(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let id: i64 = sqlx::query_scalar("insert into event (payload) values ($1) returning id")
        .bind(&body[..])
        .fetch_one(&pool)
        .await
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "id": id }))))
}
