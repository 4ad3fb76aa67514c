"""A trained baseline, in a folder sealed like a bundle: JSON, safetensors and LightGBM's own text.

    config.json         which kind, its columns, its calibration
    words.json          the vocabulary
    arrays.safetensors  word weights and components, target encodings
    logistic.safetensors or trees.txt   what was learned

Knows nothing of training.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from models.baselines.columns import COLUMNS, columns_of
from models.baselines.encodings import ENCODINGS, Encodings, keys_of
from models.baselines.learners import Kind, Learner, Logistic, Trees
from models.baselines.texts import TextSpace
from models.calibration import Curve
from models.dataset import Dataset
from models.events import Tweet
from models.manifest import BASELINE, BundleError, Seal, expect_room, pretty, read_json, seal, unseal
from models.progress import Progress, silent

_SHARED: Final = ("config.json", "words.json", "arrays.safetensors")


class BaselineConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """config.json. `base` is the rate of exposures about which nothing was counted."""

    format: str = BASELINE[0]
    version: int = BASELINE[1]
    kind: Kind
    columns: tuple[str, ...] = COLUMNS
    curve: Curve
    base: float


@dataclass(slots=True)
class Baseline:
    """Judges retweets only. `fingerprint` is empty until it is saved or loaded."""

    kind: Kind
    space: TextSpace
    encodings: Encodings
    learner: Learner
    curve: Curve
    metrics: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    heads: tuple[str, ...] = ("retweet",)

    def check(self, tweet: Tweet) -> str | None:
        """Every tweet can be read: token ids are words of their own."""
        return None

    def probabilities(self, dataset: Dataset, progress: Progress = silent) -> NDArray[np.float32]:
        """Calibrated probabilities [n, 1] of exposures that come after the training's."""
        encoded = self.encodings.columns(keys_of(dataset, slice(None)))
        columns = columns_of(dataset, self.space, encoded, progress)
        return self.curve.probabilities(self.learner.logits(columns))[:, None]

    def save(self, path: Path) -> str:
        """Write the folder, anew or over an older one. Returns the fingerprint.

        Raises BundleError where it holds something else.
        """
        expect_room(path, BASELINE)
        unseal(path)
        config = BaselineConfig(kind=self.kind, curve=self.curve, base=self.encodings.base)
        (path / "config.json").write_bytes(pretty(config))
        (path / "words.json").write_bytes(msgspec.json.encode(self.space.words))
        arrays: dict[str, NDArray[Any]] = {"idf": self.space.idf, "components": self.space.components}
        for name, keys, rates in zip(ENCODINGS, self.encodings.keys, self.encodings.rates, strict=True):
            arrays |= {f"{name}.keys": keys, f"{name}.rates": rates}
        save_file(
            {name: np.ascontiguousarray(array) for name, array in arrays.items()}, path / "arrays.safetensors"
        )
        self.learner.save(path)
        (path / "metrics.json").write_bytes(pretty(self.metrics))
        self.fingerprint = seal(path, (*_SHARED, self.learner.file))
        return self.fingerprint

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a folder, every byte checked. Raises BundleError, and BaselineError without LightGBM."""
        found = Seal.read(path)
        found.expect(BASELINE, _SHARED, (Logistic.file, Trees.file))
        config = read_json(path, "config.json", BaselineConfig)
        if config.columns != COLUMNS:
            raise BundleError(
                f"bundle {path}: trained with other columns than this release computes: train again"
            )
        words = read_json(path, "words.json", tuple[str, ...])
        try:
            arrays = load_file(path / "arrays.safetensors")
            space = TextSpace(words, arrays["idf"], arrays["components"])
            encodings = Encodings(
                config.base,
                [arrays[f"{name}.keys"] for name in ENCODINGS],
                [arrays[f"{name}.rates"] for name in ENCODINGS],
            )
            if not len(words) == len(space.idf) == len(space.components):
                raise ValueError(f"{len(words)} words, but weights of {len(space.idf)}")  # noqa: TRY301
            learner: Learner = Logistic.load(path) if config.kind == "logistic" else Trees.load(path)
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BundleError(f"bundle {path}: its files do not fit config.json: {reason}") from error
        metrics = read_json(path, "metrics.json", dict[str, Any]) if (path / "metrics.json").exists() else {}
        return cls(config.kind, space, encodings, learner, config.curve, metrics, found.fingerprint)
