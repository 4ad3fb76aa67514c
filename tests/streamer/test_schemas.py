"""The published schemas say what the decoders accept, and are up to date."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from models import events
from models.events import Engagement, Prediction, ScoreRequest, Tweet, User
from streamer import schemas

OPS = Path(__file__).parents[2] / "ops"
STRUCTS = [
    events.Tweet, events.Engagement, events.Follow, events.User, events.ScoreRequest, events.Prediction,
    events.PredictionColumns,
]  # fmt: skip


def test_the_files_in_ops_are_up_to_date() -> None:
    assert schemas.drifted(OPS) == [], "run `streamer schemas`"


def test_drift_is_seen(tmp_path: Path) -> None:
    written = schemas.write(tmp_path)
    assert schemas.drifted(tmp_path) == []
    written[0].write_text("something else")
    written[1].unlink()
    (tmp_path / "schemas" / "Gone.json").write_text("{}")
    names = [str(path.relative_to(tmp_path)) for path in written[:2]]
    assert sorted(schemas.drifted(tmp_path)) == sorted([*names, "schemas/Gone.json"])


@pytest.mark.parametrize("struct", STRUCTS)
def test_every_contract_has_a_valid_schema(struct: type[msgspec.Struct]) -> None:
    schema = json.loads(schemas.files()[f"schemas/{struct.__name__}.json"])
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["description"]
    assert "msgspec" not in json.dumps(schema)


def test_asyncapi_hangs_together() -> None:
    document = yaml.safe_load(schemas.files()["asyncapi.yaml"])
    assert document["asyncapi"] == "3.0.0"
    references = _references(document)
    assert references
    for reference in references:
        place: Any = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]
    for name, schema in document["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert f"#/components/schemas/{name}" in references
    for operation in document["operations"].values():
        assert operation["action"] in ("send", "receive")


def _references(node: Any) -> set[str]:
    if isinstance(node, dict):
        found = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return found.union(*(_references(child) for child in node.values()))
    if isinstance(node, list):
        return set().union(*(_references(child) for child in node))
    return set()


#: A value for each field, right and wrong.
VALUES = st.sampled_from(
    [
        *(None, "", "x", " y", "1", 0, 1, -1, 2**40, 5 * 10**12, True, [], ["1"], [1], [""], [-1], {}),
        *("like", "retweet", "original", "quote", "x" * 200, {"followers": 2}, {"followers": -2}),
    ]
)


@given(data=st.data(), struct=st.sampled_from([Tweet, Engagement, ScoreRequest, User, Prediction]))
def test_schema_and_decoder_agree(data: st.DataObject, struct: type[msgspec.Struct]) -> None:
    names = st.sampled_from([*struct.__struct_fields__, "unknown"])
    bases: dict[type[msgspec.Struct], dict[str, Any]] = {
        Tweet: {"tweet_id": "1", "author_id": "2", "created_at": 3},
        Engagement: {"user_id": "1", "tweet_id": "2", "action": "like", "at": 1},
        ScoreRequest: {"tweet_ids": ["1"]},
        User: {"user_id": "1"},
        Prediction: {
            "id": "i", "tweet_id": "1", "user_id": "2", "author_id": "3", "retweet": 0.5, "model": "m",
            "created_at": 1, "scored_at": 2,
        },
    }  # fmt: skip
    record = bases[struct] | data.draw(st.dictionaries(names, VALUES, max_size=3))
    for name in data.draw(st.sets(names, max_size=1)):
        record.pop(name, None)
    if struct is Tweet and record.get("text") is not None and not str(record["text"]).strip():
        record["text"] = "x"  # a blank text is refused by code alone
    if struct is Tweet and record.get("text_tokens") == []:
        del record["text_tokens"]
    try:
        msgspec.json.decode(json.dumps(record), type=struct)
        decodes = True
    except msgspec.ValidationError:
        decodes = False
    validator = jsonschema.Draft202012Validator(schemas.json_schema(struct))
    assert validator.is_valid(record) == decodes
