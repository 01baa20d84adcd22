// Greets whoever an event names.

export const description = {
  title: 'Greet',
  summary: 'Greets a visitor by name.',
  inputs: {
    in: { schema: { type: 'object', required: ['name'], properties: { name: { type: 'string' } } } },
  },
  outputs: {
    out: { schema: { type: 'object', required: ['text'], properties: { text: { type: 'string' } } } },
  },
  config: {
    type: 'object',
    required: ['greeting'],
    properties: { greeting: { type: 'string', description: 'What stands before the name.' } },
    additionalProperties: false,
  },
};

// Failures are thrown as the host knows them: `invalid-input`, `invalid-config` and `permanent` with a text, and
// `retryable` with { message, afterMs } for what is worth another attempt.
const failure = (tag, val) => ({ tag, val });

export function greet(visitor, config, log) {
  const name = typeof visitor?.name === 'string' ? visitor.name.trim() : '';
  if (name === '') {
    throw failure('invalid-input', '`name` is empty');
  }
  log(`greeting ${name}`);
  return { text: `${config.greeting}, ${name}!` };
}
