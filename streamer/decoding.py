"""Bytes of a topic to the struct of its contract, or the reason why not.

Knows nothing of what happens to bad records (`streamer.dead_letters`) or of what the good ones mean.
"""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Final, Generic, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)


class Reason(StrEnum):
    """Why a record is a dead letter; its header `reason`, and a label of `streamer_dead_letters_total`."""

    TOMBSTONE = "tombstone"
    """It has no value, on a topic where that means nothing."""
    NOT_UTF8 = "not_utf8"
    """Its bytes are not UTF-8."""
    NOT_JSON = "not_json"
    """It is not JSON (NaN is not), or nested beyond reason."""
    WRONG_SHAPE = "wrong_shape"
    """JSON, but a field is of another type, or the fields contradict each other."""
    MISSING_FIELD = "missing_field"
    """A field that must be there is not."""
    BAD_VALUE = "bad_value"
    """A field has a value outside its range or enumeration."""
    BAD_TIME = "bad_time"
    """A time is negative, after 2100, or more than a day ahead of the clock."""
    TOO_LARGE = "too_large"
    """A text or list is longer than the contract allows."""
    UNKNOWN_ACTION = "unknown_action"
    """The action is none of the contract's."""
    TEXT_OR_TOKENS = "text_or_tokens"
    """A tweet has both or neither of `text` and `text_tokens`."""
    EMPTY_TEXT = "empty_text"
    """A tweet says nothing."""
    UNKNOWN_TOKEN = "unknown_token"  # noqa: S105 - a token of text, not a secret
    """A token id is out of the vocabulary."""
    UNKNOWN_TWEET = "unknown_tweet"
    """A score request's tweet did not come before the request's deadline."""
    NOT_FINITE = "not_finite"
    """The model gave no finite number."""


class BadRecord(Exception):  # noqa: N818 - it is the record that is bad
    """A record that cannot be handled: why, as a category and in words."""

    def __init__(self, reason: Reason, error: str) -> None:
        super().__init__(error)
        self.reason = reason
        self.error = error


#: How far ahead of our clock an event may be: one from next year would decay all that is known to nothing.
_AHEAD_MS: Final = 86_400_000
#: Parts of msgspec's messages, and of our structs' own, with what they mean; the first that is there counts.
_MEANINGS: Final = (
    ("both `text` and `text_tokens`", Reason.TEXT_OR_TOKENS),
    ("neither `text` nor `text_tokens`", Reason.TEXT_OR_TOKENS),
    ("the text is empty", Reason.EMPTY_TEXT),
    ("missing required field", Reason.MISSING_FIELD),
    ("of length <=", Reason.TOO_LARGE),
    ("of length >=", Reason.BAD_VALUE),
    ("Invalid enum value", Reason.BAD_VALUE),
    (">=", Reason.BAD_VALUE),
    ("<=", Reason.BAD_VALUE),
    ("out of range", Reason.BAD_VALUE),
)
_TIMES: Final = ("`$.at`", "`$.created_at`", "`$.deadline`", "`$.author.created_at`")


class Decoder(Generic[T]):
    """Decodes one topic. `time_field` names the field whose events must not lie in the future."""

    def __init__(self, struct: type[T], time_field: str | None = None) -> None:
        self._decode = msgspec.json.Decoder(struct).decode
        self._time_field = time_field

    def __call__(self, value: bytes | None) -> T:
        """Raises `BadRecord`."""
        if value is None:
            raise BadRecord(Reason.TOMBSTONE, "the record has no value")
        try:
            if not value.isascii():
                value.decode()  # msgspec does not look into fields that it skips
            decoded = self._decode(value)
        except UnicodeDecodeError as error:
            raise BadRecord(Reason.NOT_UTF8, str(error)) from None
        except msgspec.ValidationError as error:
            raise BadRecord(_meaning(str(error)), str(error)) from None
        except msgspec.DecodeError as error:
            raise BadRecord(Reason.NOT_JSON, str(error)) from None
        except RecursionError:
            raise BadRecord(Reason.NOT_JSON, "nested too deeply") from None
        if self._time_field is not None:
            at, now = getattr(decoded, self._time_field), int(time.time() * 1000)
            if at > now + _AHEAD_MS:
                raise BadRecord(
                    Reason.BAD_TIME,
                    f"`{self._time_field}` is {(at - now) / 3_600_000:.0f} hours in the future",
                )
        return decoded


def _meaning(message: str) -> Reason:
    reason = next((meaning for part, meaning in _MEANINGS if part in message), Reason.WRONG_SHAPE)
    if reason is Reason.BAD_VALUE:
        if message.endswith(_TIMES):
            return Reason.BAD_TIME
        if message.endswith("`$.action`"):
            return Reason.UNKNOWN_ACTION
    return reason
