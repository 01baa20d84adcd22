// One turn of graphile-worker: enqueues empty jobs with its bulk function, drains them with its worker, and prints how long
// each took. Arguments: the database's address, jobs, jobs a batch, connections.
import { Logger, makeWorkerUtils, run } from "graphile-worker";

const [connectionString, jobsText, batchText, workersText] = process.argv.slice(2);
const [jobs, batch, workers] = [jobsText, batchText, workersText].map(Number);
const quiet = new Logger(() => () => {});

const utils = await makeWorkerUtils({ connectionString, maxPoolSize: workers, logger: quiet });
await utils.migrate();

const specs = (count) => Array.from({ length: count }, () => ({ identifier: "empty", payload: {} }));
async function enqueue(count) {
  for (let left = count; left > 0; left -= batch) {
    await utils.addJobs(specs(Math.min(batch, left)));
  }
}

let began = performance.now();
const part = Math.ceil(jobs / workers);
const parts = Array.from({ length: workers }, (_, worker) => Math.max(0, Math.min(part, jobs - worker * part)));
await Promise.all(parts.map(enqueue));
const enqueue_ms = performance.now() - began;

began = performance.now();
let done = 0;
let allDone;
const drained = new Promise((resolve) => (allDone = resolve));
const runner = await run({
  taskList: {
    empty: () => {
      done += 1;
      if (done === jobs) allDone();
    },
  },
  preset: {
    worker: {
      connectionString,
      maxPoolSize: workers,
      concurrentJobs: 24,
      pollInterval: 2000,
      localQueue: { size: batch },
      completeJobBatchDelay: 0,
    },
  },
  logger: quiet,
  noHandleSignals: true,
});
await drained;
const left = async () =>
  (await utils.withPgClient((client) => client.query("select 1 from graphile_worker._private_jobs limit 1"))).rowCount;
// The last completions are on their way.
while ((await left()) > 0) await new Promise((resolve) => setTimeout(resolve, 1));
const drain_ms = performance.now() - began;
await runner.stop();
await utils.release();
console.log(JSON.stringify({ enqueue_ms, drain_ms }));
