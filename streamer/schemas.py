"""JSON Schemas and the AsyncAPI description of the public topics, made from the contracts' structs.

`files` makes them, `write` writes them into `ops/`, `drifted` names those out of date, which CI refuses.
Knows nothing of brokers.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from models.events import (
    Engagement,
    Follow,
    Prediction,
    PredictionColumns,
    ScoreRequest,
    Tweet,
    User,
)
from streamer import __version__
from streamer.decoding import Reason


class _Channel(NamedTuple):
    """A topic as its readers and writers see it."""

    topic: str
    title: str
    key: str
    structs: tuple[type[msgspec.Struct], ...]
    #: What the product does with it: `receive`, `send`, or both.
    actions: tuple[str, ...]


_CHANNELS: Final = (
    _Channel(
        "users",
        "Profiles. Compacted: a user's last one counts, and a record without a value deletes the profile.",
        "user_id",
        (User,),
        ("receive",),
    ),
    _Channel("follows", "Who starts and stops following whom.", "author_id", (Follow,), ("receive",)),
    _Channel("tweets", "Published tweets.", "tweet_id", (Tweet,), ("receive",)),
    _Channel("engagements", "What users did with tweets.", "user_id", (Engagement,), ("receive",)),
    _Channel(
        "score-requests",
        "Who is to be scored. The product asks for the followers of a tweet's author; anyone may ask more.",
        "the number of the audience shard, or anything",
        (ScoreRequest,),
        ("receive", "send"),
    ),
    _Channel(
        "predictions",
        "Calibrated probabilities, in one of two formats (`predictions.format`). "
        "At least once: a record delivered twice has the same `id` and equal values.",
        "user_id, placed by murmur2 as the Java client places it; format `columnar`: tweet_id",
        (Prediction, PredictionColumns),
        ("send",),
    ),
    _Channel(
        "dead-letters",
        "Records that could not be handled: the original key and value, byte for byte, with the reason. "
        "Of those that would not fit (`truncated`), the beginnings.",
        "the original key",
        (),
        ("send",),
    ),
)
#: Exactly one of these two fields is there and not null: the structs check it in code, which no type says.
_EITHER: Final[dict[str, tuple[str, str]]] = {
    "Tweet": ("text", "text_tokens"),
    "ScoreRequest": ("user_ids", "shard"),
}
_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"


def files() -> dict[str, str]:
    """The contents of every generated file, by its path below `ops/`."""
    made = {"asyncapi.yaml": _yaml(asyncapi())}
    for channel in _CHANNELS:
        for struct in channel.structs:
            made[f"schemas/{struct.__name__}.json"] = (
                json.dumps(json_schema(struct), indent=2, ensure_ascii=False) + "\n"
            )
    return made


def write(folder: Path) -> list[Path]:
    """Write the generated files into `folder` (`ops/`); returns their paths."""
    written = []
    for name, text in files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def drifted(folder: Path) -> list[str]:
    """The files in `folder` that are missing, differ, or are no longer generated."""
    made = files()
    wrong = [
        name
        for name, text in made.items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    ]
    stale = {f"schemas/{path.name}" for path in (folder / "schemas").glob("*.json")} - made.keys()
    return wrong + sorted(stale)


def json_schema(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of one struct, complete in itself."""
    (reference,), components = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
    components = {name: _tidied(name, schema) for name, schema in components.items()}
    schema = components.pop(struct.__name__)
    assert reference == {"$ref": f"#/$defs/{struct.__name__}"}
    return {"$schema": _DRAFT, **schema, **({"$defs": components} if components else {})}


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3 description of all topics, from the product's point of view."""
    structs = [struct for channel in _CHANNELS for struct in channel.structs]
    _, components = msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "retweet-streamer",
            "version": __version__,
            "description": (
                "Tweets in, a calibrated retweet probability for every follower out. Values are UTF-8 JSON, "
                "times are integer milliseconds since the epoch (UTC), ids are strings. Fields that are not "
                "described here are ignored. Topic names may carry a prefix (`kafka.topic_prefix`)."
            ),
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {channel.topic: _channel(channel) for channel in _CHANNELS},
        "operations": {
            f"{action}-{channel.topic}": {
                "action": action,
                "channel": {"$ref": f"#/channels/{channel.topic}"},
            }
            for channel in _CHANNELS
            for action in channel.actions
        },
        "components": {
            "schemas": {name: _tidied(name, schema) for name, schema in components.items()},
            "messages": {name: message for channel in _CHANNELS for name, message in _messages(channel)},
        },
    }


def _channel(channel: _Channel) -> dict[str, Any]:
    names = [name for name, _ in _messages(channel)]
    return {
        "address": channel.topic,
        "description": channel.title,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
    }


def _messages(channel: _Channel) -> list[tuple[str, dict[str, Any]]]:
    key = {"kafka": {"key": {"type": "string", "description": channel.key}, "bindingVersion": "0.5.0"}}
    if not channel.structs:
        return [("DeadLetter", {"title": "DeadLetter", "headers": _dead_letter_headers(), "bindings": key})]
    return [
        (
            struct.__name__,
            {
                "title": struct.__name__,
                "payload": {"$ref": f"#/components/schemas/{struct.__name__}"},
                "bindings": key,
            },
        )
        for struct in channel.structs
    ]


def _dead_letter_headers() -> dict[str, Any]:
    number = {"type": "string", "pattern": "^[0-9]+$"}
    described = {
        "reason": {"type": "string", "enum": [reason.value for reason in Reason]},
        "error": {"type": "string", "description": "What exactly is wrong, in words."},
        "topic": {"type": "string", "description": "Where the record came from, without prefix."},
        "partition": number,
        "offset": number,
        "attempts": number | {"description": "How many times the record has been tried."},
    }
    cut = "There where key and value were too large for this topic: how many bytes they had."
    properties = described | {"truncated": number | {"description": cut}}
    return {"type": "object", "required": list(described), "properties": properties}


def _tidied(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A struct's schema without what concerns Python only, and with what its types cannot say."""
    paragraphs = inspect.cleandoc(schema.get("description", "")).split("\n\n")
    tidy = schema | {
        "description": "\n\n".join(
            " ".join(paragraph.split()) for paragraph in paragraphs if not paragraph.startswith("Raises")
        )
    }
    if name in _EITHER:
        fields = schema["properties"]
        tidy["oneOf"] = [
            {"required": [field], "properties": {field: {"not": {"type": "null"}}}} for field in _EITHER[name]
        ]
        assert all(field in fields for field in _EITHER[name])
    return tidy


def _yaml(document: dict[str, Any]) -> str:
    import yaml  # comes with transformers

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:  # the same dictionary twice is written twice
            return True

    head = "# Generated from models/events.py by `streamer schemas`: do not edit.\n"
    return head + yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110)
