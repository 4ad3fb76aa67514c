"""What is wrong with settings, in words. Knows no setting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, cast

from pydantic import BaseModel, ValidationError

from models.hints import did_you_mean

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails


def described(error: ValidationError, settings: type[BaseModel]) -> Iterator[str]:
    """A line for each mistake: the key, what is wrong, and the key that may have been meant."""
    for mistake in error.errors():
        key = ".".join(map(str, mistake["loc"])) or "value"
        yield f"settings: {key}: {mistake['msg']}{_meant(mistake, settings)}"


def _meant(mistake: ErrorDetails, settings: type[BaseModel]) -> str:
    if mistake["type"] != "extra_forbidden":
        return ""
    *groups, name = map(str, mistake["loc"])
    fields: Mapping[str, FieldInfo] = settings.model_fields
    for group in groups:
        fields = cast(type[BaseModel], fields[group].annotation).model_fields
    return did_you_mean(name, fields)
