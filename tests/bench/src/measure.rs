//! What can be measured: the rows of the design's table of goals.

use std::time::Duration;

use clap::ValueEnum;

use crate::{
    backlog, call_overhead, cold, durable_echo, fairness, footprint, graph, idle, ingest, measurement::Measurement,
    queue, rig::Rig, spinning, start_latency, storage, throttled, two_hosts,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Measure {
    /// P1: HTTP event → 202 → Wasm → history, against a native function instead of Wasm
    DurableEcho,
    /// P2: 202s a second, against a bare handler with one INSERT a request
    Ingest,
    /// P3: from the 202 to the first instruction in the guest, host idle
    StartLatency,
    /// P4: one call with all limits on, against bare wasmtime
    CallOverhead,
    /// P5: the first call after an upload, and of a component that a new host has not loaded yet
    Cold,
    /// P6: throughput and start latency with a million jobs of another account waiting, against none
    Backlog,
    /// P7: start latency of 500 quiet accounts while another floods, against no flood
    Fairness,
    /// P8: what a host costs with a million jobs of a throttled account, against an idle one
    Throttled,
    /// P9: what a host costs with a thousand projects and nothing to do, against one without a project
    Idle,
    /// P10: forty nodes in a chain, against as many calls and a commit; and whether branches overlap
    Graph,
    /// P11: runs that add to one record, and runs that move money between a hundred
    Storage,
    /// P12: two hosts on one Postgres, against one; and how soon a killed host's work goes on
    TwoHosts,
    /// P13: enqueue and drain of empty jobs, with nothing around the queue
    Queue,
    /// S1: the API's answers while twice as many guests spin as there are cores, against none
    Spinning,
    /// All of them one after the other, in under ten minutes
    All,
}

impl Measure {
    pub const EACH: [Self; 14] = [
        Self::DurableEcho,
        Self::Ingest,
        Self::StartLatency,
        Self::CallOverhead,
        Self::Cold,
        Self::Backlog,
        Self::Fairness,
        Self::Throttled,
        Self::Idle,
        Self::Graph,
        Self::Storage,
        Self::TwoHosts,
        Self::Queue,
        Self::Spinning,
    ];

    /// As on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Seconds of measuring per side: enough to see several turns of autovacuum and of a slow disk, and all in ten minutes.
    pub fn seconds_default(self) -> u64 {
        match self {
            Self::DurableEcho => 60,
            Self::Backlog => 16,
            Self::Ingest | Self::Fairness | Self::Throttled | Self::Idle => 15,
            Self::StartLatency | Self::Cold | Self::Graph | Self::Spinning | Self::All => 10,
            Self::Storage | Self::TwoHosts => 9,
            Self::CallOverhead | Self::Queue => 5,
        }
    }

    /// Beside those of every private Postgres.
    pub fn postgres_settings(self) -> Vec<(String, String)> {
        match self {
            Self::Throttled | Self::Idle => footprint::postgres_settings(),
            _ => Vec::new(),
        }
    }

    /// What a failed start may be the lack of.
    pub fn needs(self) -> String {
        match self {
            Self::Throttled | Self::Idle => {
                "cannot start a Postgres that counts its statements; it needs the extension pg_stat_statements (Debian: in postgresql-15, elsewhere often postgresql-contrib)".to_owned()
            }
            _ => "cannot start a Postgres to measure with".to_owned(),
        }
    }

    pub async fn take(self, rig: &Rig, seconds: Duration, peers: bool) -> anyhow::Result<Measurement> {
        match self {
            Self::DurableEcho => Box::pin(durable_echo::measure(rig, seconds)).await,
            Self::Ingest => Box::pin(ingest::measure(rig, seconds)).await,
            Self::StartLatency => Box::pin(start_latency::measure(rig, seconds)).await,
            Self::CallOverhead => Box::pin(call_overhead::measure(rig, seconds)).await,
            Self::Cold => Box::pin(cold::measure(rig, seconds)).await,
            Self::Backlog => Box::pin(backlog::measure(rig, seconds)).await,
            Self::Fairness => Box::pin(fairness::measure(rig, seconds)).await,
            Self::Throttled => Box::pin(throttled::measure(rig, seconds)).await,
            Self::Idle => Box::pin(idle::measure(rig, seconds)).await,
            Self::Graph => Box::pin(graph::measure(rig, seconds)).await,
            Self::Storage => Box::pin(storage::measure(rig, seconds)).await,
            Self::TwoHosts => Box::pin(two_hosts::measure(rig, seconds)).await,
            Self::Queue => Box::pin(queue::measure(rig, seconds, peers)).await,
            Self::Spinning => Box::pin(spinning::measure(rig, seconds)).await,
            Self::All => anyhow::bail!("each measurement is taken in a process of its own"),
        }
    }
}
