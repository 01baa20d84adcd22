// What the plugin says of itself. In a file of its own, so that a module with an import of its own is built.
export const description = {
  title: 'Multiply',
  summary: 'Multiplies a reading.',
  inputs: {
    in: { schema: { type: 'object', required: ['n'], properties: { n: { type: 'integer' }, url: { type: 'string' } } } },
  },
  outputs: {
    out: {
      schema: { type: 'object', required: ['n'], properties: { n: { type: 'integer' }, status: { type: 'integer' } } },
    },
  },
  config: {
    type: 'object',
    required: ['factor'],
    properties: { factor: { type: 'integer' } },
    additionalProperties: false,
  },
};
