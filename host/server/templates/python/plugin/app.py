"""What the host calls. The transformation itself is in greet.py, which knows nothing of a host."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import logging
from wit_world.imports.events import Emission, Event, Failure_InvalidInput

from greet import DESCRIPTION, InvalidInput, greet


class Transformer(exports.Transformer):
    def describe(self) -> str:
        """Ports and schemas, as JSON. Called when the plugin is uploaded."""
        return json.dumps(DESCRIPTION)

    def transform(self, event: Event, config: str) -> list[Emission]:
        """One event: `inputs` has the wired input ports, `config` is the node's in trellis.toml."""
        visitor = json.loads(dict(event.inputs)["in"])

        def log(line: str) -> None:
            logging.log(logging.Level.INFO, event.node, line)

        try:
            greeting = greet(visitor, json.loads(config), log)
        except InvalidInput as error:
            # Failure_InvalidConfig, Failure_Permanent and Failure_Retryable(Retry(message, after_ms)) are the others.
            raise Err(Failure_InvalidInput(str(error)))
        return [Emission("out", json.dumps(greeting))]
