"""A bundle: one folder that holds all a model needs to serve. Safetensors and JSON only, never pickle.

    config.json         what the model is made of, its heads, the features it was trained on
    model.safetensors   all weights, a pretrained encoder's included
    tokenizer.json      and source_vocabulary.txt, where `text_tokens` are of another vocabulary
    calibration.json    one curve a head
    manifest.json       SHA-256 of the files above; their hash is the fingerprint
    metrics.json, README.md   how good it is, for people

Knows nothing of training or of stores.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from models.calibration import Curve
from models.features import PAIR_FEATURES, PROFILE_FEATURES, TWEET_FEATURES
from models.network import Network
from models.recipe import ModelConfig, Recipe
from models.state.user import HISTORY
from models.text.tokens import Tokens, read_vocabulary

T = TypeVar("T")
_FORMAT: Final = "retweet-streamer-bundle"
_VERSION: Final = 2
_REQUIRED: Final = ("config.json", "model.safetensors", "tokenizer.json", "calibration.json")
_OPTIONAL: Final = ("source_vocabulary.txt",)


class BundleError(Exception):
    """A bundle can't be used; the message is one line that says why."""


class BundleConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """config.json. `architecture` is the Hugging Face config of a transformer, else empty."""

    format: str = _FORMAT
    version: int = _VERSION
    heads: list[str]
    recipe: Recipe
    architecture: dict[str, Any] = {}
    tweet_features: tuple[str, ...] = TWEET_FEATURES
    profile_features: tuple[str, ...] = PROFILE_FEATURES
    pair_features: tuple[str, ...] = PAIR_FEATURES
    history: int = HISTORY

    @property
    def model(self) -> ModelConfig:
        """What the model is made of."""
        return self.recipe.model


@dataclass(slots=True)
class Bundle:
    """A model in memory. `fingerprint` is empty until it is saved or loaded."""

    config: BundleConfig
    network: Network
    tokens: Tokens
    calibration: dict[str, Curve]
    metrics: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""

    def save_pretrained(self, path: Path, card: str = "") -> str:
        """Write the folder, anew or over an older bundle. Returns the fingerprint."""
        path.mkdir(parents=True, exist_ok=True)
        (path / "manifest.json").unlink(missing_ok=True)  # a save that is cut off leaves no valid bundle
        (path / "config.json").write_bytes(_pretty(self.config))
        weights = {
            name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()
        }
        save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
        self.tokens.tokenizer.save(str(path / "tokenizer.json"))
        if self.tokens.source:
            (path / "source_vocabulary.txt").write_text("\n".join(self.tokens.source), encoding="utf-8")
        else:
            (path / "source_vocabulary.txt").unlink(missing_ok=True)
        (path / "calibration.json").write_bytes(_pretty(self.calibration))
        (path / "metrics.json").write_bytes(_pretty(self.metrics))
        if card:
            (path / "README.md").write_text(card, encoding="utf-8")
        manifest = {name: _sha256(path / name) for name in (*_REQUIRED, *_OPTIONAL) if (path / name).exists()}
        (path / "manifest.json").write_bytes(_pretty(manifest))
        self.fingerprint = _fingerprint(manifest)
        return self.fingerprint

    @classmethod
    def from_pretrained(cls, path: Path) -> Self:
        """Read a folder, every byte checked against the manifest. Raises BundleError."""
        manifest = _read(path, "manifest.json", dict[str, str])
        missing = [name for name in _REQUIRED if name not in manifest]
        if missing:
            raise BundleError(f"bundle {path}: manifest.json does not list {missing[0]}")
        for name, digest in manifest.items():
            if name not in _REQUIRED + _OPTIONAL:
                raise BundleError(f"bundle {path}: manifest.json lists {name!r}, which no bundle has")
            if not (path / name).is_file():
                raise BundleError(f"bundle {path}: {name} is missing: copy the whole folder")
            if _sha256(path / name) != digest:
                raise BundleError(f"bundle {path}: {name} was changed or cut off after it was saved")
        raw = _read(path, "config.json", dict[str, Any])
        if raw.get("format") != _FORMAT or raw.get("version") != _VERSION:
            raise BundleError(
                f"bundle {path}: format {raw.get('format')!r} version {raw.get('version')!r}, but this "
                f"release reads {_FORMAT!r} version {_VERSION}: train again"
            )
        config = _read(path, "config.json", BundleConfig)
        _check_features(path, config)
        calibration = _read(path, "calibration.json", dict[str, Curve])
        source = (
            read_vocabulary(path / "source_vocabulary.txt") if "source_vocabulary.txt" in manifest else []
        )
        tokens = Tokens(_tokenizer(path), config.model.text.max_tokens, source)
        try:
            network = Network(config.model, len(config.heads), tokens.size, config.architecture)
            network.load_state_dict(load_file(path / "model.safetensors"))
        except (SafetensorError, RuntimeError, KeyError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BundleError(
                f"bundle {path}: model.safetensors does not fit config.json: {reason}"
            ) from error
        network.eval()
        metrics = _read(path, "metrics.json", dict[str, Any]) if (path / "metrics.json").exists() else {}
        return cls(config, network, tokens, calibration, metrics, _fingerprint(manifest))


def _check_features(path: Path, config: BundleConfig) -> None:
    ours = BundleConfig(heads=[], recipe=config.recipe)
    for name in ("tweet_features", "profile_features", "pair_features", "history"):
        if getattr(config, name) != getattr(ours, name):
            raise BundleError(
                f"bundle {path}: trained with other {name} than this release computes: train again"
            )


def _tokenizer(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path / "tokenizer.json"))
    except Exception as error:  # the library raises bare Exceptions
        raise BundleError(f"bundle {path}: tokenizer.json can't be read: {error}") from error


def _read(path: Path, name: str, type_: type[T]) -> T:
    try:
        return msgspec.json.decode((path / name).read_bytes(), type=type_)
    except FileNotFoundError as error:
        raise BundleError(
            f"bundle {path}: {name} is missing: is this the folder that `streamer train` wrote?"
        ) from error
    except (OSError, msgspec.DecodeError) as error:
        raise BundleError(f"bundle {path}: {name} can't be read: {error}") from error


def _pretty(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fingerprint(manifest: dict[str, str]) -> str:
    return hashlib.sha256(msgspec.json.encode(manifest, order="sorted")).hexdigest()[:12]
