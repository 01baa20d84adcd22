import assert from 'node:assert/strict';
import { test } from 'node:test';
import { greet } from './greet.js';

const config = { greeting: 'Hello' };

test('a visitor is greeted by name', () => {
  const lines = [];
  assert.deepEqual(greet({ name: ' Ada ' }, config, (line) => lines.push(line)), { text: 'Hello, Ada!' });
  assert.deepEqual(lines, ['greeting Ada']);
});

test('a visitor without a name is refused', () => {
  for (const visitor of [{ name: ' ' }, {}, null]) {
    assert.throws(() => greet(visitor, config, () => {}), { tag: 'invalid-input' });
  }
});
