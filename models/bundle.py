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

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from models.calibration import Curve
from models.features import PAIR_FEATURES, PROFILE_FEATURES, TWEET_FEATURES
from models.manifest import BundleError, Seal, expect_room, pretty, read_json, seal, unseal
from models.network import Network
from models.recipe import ModelConfig, Recipe
from models.state.user import HISTORY
from models.text.tokens import Tokens, read_vocabulary

__all__ = ["Bundle", "BundleConfig", "BundleError"]

KIND: Final = ("retweet-streamer-bundle", 8)
_REQUIRED: Final = ("config.json", "model.safetensors", "tokenizer.json", "calibration.json")
_OPTIONAL: Final = ("source_vocabulary.txt",)


class BundleConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """config.json. `architecture` is the Hugging Face config of a transformer, else empty."""

    format: str = KIND[0]
    version: int = KIND[1]
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
        """Write the folder, anew or over an older bundle. Returns the fingerprint.

        Raises BundleError where it holds something else.
        """
        expect_room(path, KIND)
        unseal(path)
        (path / "config.json").write_bytes(pretty(self.config))
        weights = {
            name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()
        }
        save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
        self.tokens.tokenizer.save(str(path / "tokenizer.json"))
        if self.tokens.source:
            (path / "source_vocabulary.txt").write_text("\n".join(self.tokens.source), encoding="utf-8")
        else:
            (path / "source_vocabulary.txt").unlink(missing_ok=True)
        (path / "calibration.json").write_bytes(pretty(self.calibration))
        (path / "metrics.json").write_bytes(pretty(self.metrics))
        if card:
            (path / "README.md").write_text(card, encoding="utf-8")
        self.fingerprint = seal(path, (*_REQUIRED, *_OPTIONAL))
        return self.fingerprint

    @classmethod
    def from_pretrained(cls, path: Path) -> Self:
        """Read a folder, every byte checked against the manifest. Raises BundleError."""
        found = Seal.read(path)
        found.expect(KIND, _REQUIRED, _OPTIONAL)
        config = read_json(path, "config.json", BundleConfig)
        _check_features(path, config)
        calibration = read_json(path, "calibration.json", dict[str, Curve])
        listed = "source_vocabulary.txt" in found.files
        source = read_vocabulary(path / "source_vocabulary.txt") if listed else []
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
        metrics = read_json(path, "metrics.json", dict[str, Any]) if (path / "metrics.json").exists() else {}
        return cls(config, network, tokens, calibration, metrics, found.fingerprint)


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
