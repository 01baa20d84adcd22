// What the host calls. The transformation itself is in greet.js, which knows nothing of a host.
import { log } from 'wasi:logging/logging@0.1.0-draft';
import { description, greet } from './greet.js';

export const transformer = {
  // Ports and schemas, as JSON. Called when the plugin is uploaded.
  describe: () => JSON.stringify(description),

  // One event. `inputs` has the wired input ports with their values, `config` is the node's in trellis.toml.
  transform(event, config) {
    const visitor = JSON.parse(new Map(event.inputs).get('in'));
    const greeting = greet(visitor, JSON.parse(config), (line) => log('info', event.node, line));
    return [{ port: 'out', data: JSON.stringify(greeting) }];
  },
};
