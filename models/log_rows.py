"""Rows of an event log as structs of the contracts: as they are, else as what they plainly mean.

Only a row that breaks a contract is looked at twice, so a log in the contracts' words pays nothing. Knows
nothing of files or columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from models.events import MAX_TEXT, MAX_TOKENS, Tweet

#: Longer ones are cut.
_LONGEST: Final = {"text": MAX_TEXT, "description": MAX_TEXT, "text_tokens": MAX_TOKENS}
#: Words of a closed set, and what other sources call them.
_WORDS: Final = {"action": {}, "kind": {"toplevel": "original"}}


class WordlessTweet(Tweet, kw_only=True, omit_defaults=True):
    """A tweet that may have no text, such as a photo alone: people are shown those too, and act on them.

    The stream refuses them: see `Tweet`. One without text or tokens has the text "".
    """

    def __post_init__(self) -> None:
        if self.text_tokens is not None:
            Tweet.__post_init__(self)
        elif self.text is None:
            self.text = ""


def to_structs(rows: Sequence[Any], struct: type[msgspec.Struct], rejected: Counter[str]) -> list[Any]:
    """Validate rows: one struct a row, None where invalid (its reason counted in `rejected`)."""
    try:
        return list(msgspec.convert(rows, list[struct]))  # type: ignore[valid-type]
    except msgspec.ValidationError:
        return [_to_struct(row, struct, rejected) for row in rows]


def _to_struct(row: Any, struct: type[msgspec.Struct], rejected: Counter[str]) -> Any:
    try:
        return msgspec.convert(row, struct)
    except msgspec.ValidationError:
        pass
    try:
        return meant(row, struct)
    except msgspec.ValidationError as error:
        rejected[str(error)] += 1
        return None


def meant(row: Any, struct: type[msgspec.Struct]) -> Any:
    """The struct that a row plainly means.

    Nulls and blank list items are absent, whole numbers are ids, 0 and 1 labels; words may be in capitals,
    times in ISO 8601 (UTC unless they say otherwise); texts are cut to the contract's length; of `text` and
    `text_tokens` an empty one is absent. Raises `msgspec.ValidationError` where the row is invalid even so.
    """
    return msgspec.convert(_in_our_words(row), struct, strict=False)


def _in_our_words(row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    row = {name: _value(name, value) for name, value in row.items() if value is not None}
    for name, other in (("text", "text_tokens"), ("text_tokens", "text")):
        value = row.get(name)
        if other in row and (value == [] or (isinstance(value, str) and not value.strip())):
            del row[name]
    return row


def _value(name: str, value: Any) -> Any:
    match value:
        case dict():
            return _in_our_words(value)
        case list():
            items = (_item(name, item) for item in value if item is not None)
            return [item for item in items if not isinstance(item, str) or item.strip()][: _LONGEST.get(name)]
        case str() if name in _WORDS:
            word = value.strip().lower()
            return _WORDS[name].get(word, word)
        case str() if name == "at" or name.endswith("_at"):
            return _milliseconds(value)
        case str():
            return value[: _LONGEST.get(name)]
        case int() if name.endswith("_id"):
            return str(value)
        case float() if value in (0.0, 1.0):  # a label, where others are missing: pandas writes it so
            return int(value)
    return value


def _item(name: str, item: Any) -> Any:
    return str(item) if type(item) is int and name != "text_tokens" else item


def _milliseconds(text: str) -> str | int:
    """Milliseconds of ISO 8601; what is none, as it is."""
    try:
        found = datetime.fromisoformat(text) if not text.isdigit() else None
    except ValueError:
        found = None
    if found is None:
        return text
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)
