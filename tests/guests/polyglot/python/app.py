"""The transformation of many languages, in Python."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import logging, storage, web
from wit_world.imports.events import (
    Emission,
    Event,
    Failure_InvalidInput,
    Failure_Retryable,
    Retry,
)

DESCRIPTION = {
    "title": "Multiply",
    "summary": "Multiplies a reading.",
    "inputs": {
        "in": {
            "schema": {
                "type": "object",
                "required": ["n"],
                "properties": {"n": {"type": "integer"}, "url": {"type": "string"}},
            }
        }
    },
    "outputs": {
        "out": {
            "schema": {
                "type": "object",
                "required": ["n"],
                "properties": {"n": {"type": "integer"}, "status": {"type": "integer"}},
            }
        }
    },
    "config": {
        "type": "object",
        "required": ["factor"],
        "properties": {"factor": {"type": "integer"}},
        "additionalProperties": False,
    },
}


def ask(url: str) -> int:
    status = web.fetch(web.Request("GET", url, [], None, None)).status
    if status != 200:
        raise Err(Failure_Retryable(Retry(f"the service answered {status}", None)))
    return status


class Transformer(exports.Transformer):
    def describe(self) -> str:
        return json.dumps(DESCRIPTION)

    def transform(self, event: Event, config: str) -> list[Emission]:
        reading = json.loads(dict(event.inputs)["in"])
        n, url = reading["n"], reading.get("url")
        if type(n) is not int:
            raise Err(Failure_InvalidInput("`n` is no integer"))
        logging.log(logging.Level.INFO, "", f"n = {n}")
        product = {"n": n * json.loads(config)["factor"]}
        if url is not None:
            product["status"] = ask(url)
        storage.add("s", "calls", 1)
        return [Emission("out", json.dumps(product))]
