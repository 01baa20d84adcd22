"""Greets whoever an event names."""

from collections.abc import Callable

DESCRIPTION = {
    "title": "Greet",
    "summary": "Greets a visitor by name.",
    "inputs": {
        "in": {
            "schema": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}},
            }
        }
    },
    "outputs": {
        "out": {
            "schema": {
                "type": "object",
                "required": ["text"],
                "properties": {"text": {"type": "string"}},
            }
        }
    },
    "config": {
        "type": "object",
        "required": ["greeting"],
        "properties": {
            "greeting": {"type": "string", "description": "What stands before the name."}
        },
        "additionalProperties": False,
    },
}


class InvalidInput(ValueError):
    """The event is not what this plugin accepts. Not retried."""


def greet(visitor: object, config: dict, log: Callable[[str], None]) -> dict:
    name = visitor.get("name") if isinstance(visitor, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise InvalidInput("`name` is empty")
    name = name.strip()
    log(f"greeting {name}")
    return {"text": f"{config['greeting']}, {name}!"}
