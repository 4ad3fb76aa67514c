"""The seal of a bundle's folder: the SHA-256 of each file that counts, whose own hash is the fingerprint.

    manifest.json   {file name: SHA-256}

Knows nothing of what the files hold, beyond `format` and `version` in config.json.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import msgspec

T = TypeVar("T")
#: (format, version) of what is there to be compared with, which a bundle must not be taken for.
BASELINE: Final = ("retweet-streamer-baseline", 1)


class BundleError(Exception):
    """A bundle can't be used; the message is one line that says why."""


@dataclass(slots=True, frozen=True)
class Seal:
    """A folder whose every listed file is there and unchanged."""

    path: Path
    kind: tuple[Any, Any]
    files: frozenset[str]
    fingerprint: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """Check every byte. Raises BundleError."""
        manifest = read_json(path, "manifest.json", dict[str, str])
        if "config.json" not in manifest:
            raise BundleError(f"bundle {path}: manifest.json does not list config.json")
        for name, digest in manifest.items():
            if Path(name).name != name:
                raise BundleError(f"bundle {path}: manifest.json lists {name!r}, which no bundle has")
            if not (path / name).is_file():
                raise BundleError(f"bundle {path}: {name} is missing: copy the whole folder")
            if _sha256(path / name) != digest:
                raise BundleError(f"bundle {path}: {name} was changed or cut off after it was saved")
        raw = read_json(path, "config.json", dict[str, Any])
        return cls(path, (raw.get("format"), raw.get("version")), frozenset(manifest), _fingerprint(manifest))

    def expect(
        self, kind: tuple[str, int], required: Collection[str], optional: Collection[str] = ()
    ) -> None:
        """Raises BundleError where the folder is of another kind, or lists too few files or too many."""
        if self.kind == BASELINE != kind:
            raise BundleError(
                f"bundle {self.path}: a baseline, which only `streamer evaluate` can use: to serve, train "
                "without --model"
            )
        if self.kind != kind:
            raise BundleError(
                f"bundle {self.path}: format {self.kind[0]!r} version {self.kind[1]!r}, but this release "
                f"reads {kind[0]!r} version {kind[1]}: train again"
            )
        for name in required:
            if name not in self.files:
                raise BundleError(f"bundle {self.path}: manifest.json does not list {name}")
        for name in self.files - {*required, *optional}:
            raise BundleError(f"bundle {self.path}: manifest.json lists {name!r}, which no bundle has")


def seal(path: Path, names: Collection[str]) -> str:
    """Write manifest.json over those of the files that are there. Returns the fingerprint."""
    manifest = {name: _sha256(path / name) for name in names if (path / name).exists()}
    (path / "manifest.json").write_bytes(pretty(manifest))
    return _fingerprint(manifest)


def expect_room(path: Path, kind: tuple[str, int]) -> None:
    """Raises BundleError where the folder holds something else, whose files would be lost or lie beside those
    to be written.
    """
    try:
        found = read_json(path, "config.json", dict[str, Any]).get("format")
    except BundleError:  # it may be one of ours that was damaged
        found = kind[0] if (path / "manifest.json").exists() else None
    if found is None:
        if strange := sorted(file.name for file in path.glob("*") if file.is_file()):
            raise BundleError(
                f"{path} has files that no training wrote ({', '.join(strange[:3])}"
                f"{', …' if len(strange) > 3 else ''}): choose a folder that is empty or not there"
            )
    elif found != kind[0]:
        raise BundleError(
            f"{path} holds a {found}, and no {kind[0]} goes into that folder: choose another, or remove it"
        )


def unseal(path: Path) -> None:
    """Before files are written anew: a save that is cut off leaves no valid bundle."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "manifest.json").unlink(missing_ok=True)


def read_json(path: Path, name: str, type_: type[T]) -> T:
    """A JSON file of a bundle. Raises BundleError."""
    try:
        return msgspec.json.decode((path / name).read_bytes(), type=type_)
    except FileNotFoundError as error:
        raise BundleError(
            f"bundle {path}: {name} is missing: is this the folder that `streamer train` wrote?"
        ) from error
    except (OSError, msgspec.DecodeError) as error:
        raise BundleError(f"bundle {path}: {name} can't be read: {error}") from error


def pretty(value: Any) -> bytes:
    """JSON for people to read too."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fingerprint(manifest: dict[str, str]) -> str:
    return hashlib.sha256(msgspec.json.encode(manifest, order="sorted")).hexdigest()[:12]
