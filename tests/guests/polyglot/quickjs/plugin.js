// The transformation of many languages, in JavaScript without `fetch`: the host's own `web` has its place.
import { log } from 'wasi:logging/logging@0.1.0-draft';
import { add } from 'trellis:plugin/storage@0.1.0';
import { fetch } from 'trellis:plugin/web@0.1.0';
import { description } from './description.js';

const failure = (tag, val) => ({ tag, val });

function ask(url) {
  const { status } = fetch({ method: 'GET', url, headers: [], body: undefined, timeoutMs: undefined });
  if (status !== 200) {
    throw failure('retryable', { message: `the service answered ${status}` });
  }
  return status;
}

export const transformer = {
  describe: () => JSON.stringify(description),

  transform(event, config) {
    const { n, url } = JSON.parse(new Map(event.inputs).get('in'));
    if (!Number.isInteger(n)) {
      throw failure('invalid-input', '`n` is no integer');
    }
    log('info', '', `n = ${n}`);
    const answer = url === undefined ? {} : { status: ask(url) };
    add('s', 'calls', 1n);
    return [{ port: 'out', data: JSON.stringify({ n: n * JSON.parse(config).factor, ...answer }) }];
  },
};
