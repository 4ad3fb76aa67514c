"""What learns: logistic regression, a forest, boosted trees. Each gives logits, and is kept without pickle.

Knows nothing of where columns come from. LightGBM is an optional extra: its absence is one line to people.
"""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any, Final, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix, hstack
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from models.baselines.columns import COLUMNS, Columns
from models.metrics import log_loss
from models.progress import Phase, Progress

Kind = Literal["logistic", "forest", "boosted"]
Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]


class BaselineError(Exception):
    """A baseline can't be trained or used; the message is one line that says why."""


class Learner(Protocol):
    """`file` holds all of it."""

    @property
    def file(self) -> str:
        """Its name in the folder."""

    @property
    def steps(self) -> int:
        """Rounds, trees or iterations that it took."""

    def logits(self, columns: Columns) -> Floats:
        """Uncalibrated logits [n]."""

    def save(self, folder: Path) -> None:
        """Write `file`."""


class Logistic:
    """L2-regularised; the penalty is the one of three with the least held-out loss, or the middle one."""

    file: Final = "logistic.safetensors"
    _PENALTIES: Final = (0.03, 0.3, 3.0)

    def __init__(self, arrays: dict[str, NDArray[np.float64]], steps: int = 0) -> None:
        self._arrays, self.steps = arrays, steps

    @classmethod
    def fit(
        cls, columns: Columns, labels: Labels, weights: Floats, train: slice, held_out: slice,
        seed: int, threads: int, progress: Progress,
    ) -> Self:  # fmt: skip
        """Learn `train`; choose by `held_out`, if it is not empty."""
        judged = held_out.stop > held_out.start
        penalties = cls._PENALTIES if judged else cls._PENALTIES[1:2]
        dense = columns.dense[train].astype(np.float64)
        start = {"mean": dense.mean(0), "scale": 1.0 / np.maximum(dense.std(0), 1e-6)}
        inputs = cls(start)._inputs(columns.part(train))
        phase = Phase(progress, "fit", len(penalties), "penalties")
        best: tuple[float, Self] | None = None
        for done, penalty in enumerate(penalties, 1):
            model = LogisticRegression(C=penalty, max_iter=300, tol=1e-4)
            with warnings.catch_warnings():
                # 300 steps leave the held-out loss still in its fifth digit: near enough to compare with.
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(inputs, labels[train], sample_weight=weights[train])
            arrays = start | {"weights": model.coef_[0], "bias": np.ravel(model.intercept_)}
            mine = cls(arrays, int(np.max(model.n_iter_)))
            loss = 0.0
            if judged:
                logits = mine.logits(columns.part(held_out))
                loss = log_loss(labels[held_out], _sigmoid(logits), weights[held_out])
            if best is None or loss < best[0]:
                best = (loss, mine)
            phase.to(done, {"held_out": loss})
        assert best is not None
        return best[1]

    def _inputs(self, columns: Columns) -> csr_matrix:
        # Beyond five deviations a straight line only carries an outlier further.
        dense = ((columns.dense - self._arrays["mean"]) * self._arrays["scale"]).clip(-5, 5)
        return csr_matrix(hstack([columns.words.astype(np.float64), csr_matrix(dense)], format="csr"))

    def logits(self, columns: Columns) -> Floats:
        """See `Learner`."""
        out: Floats = self._inputs(columns) @ self._arrays["weights"] + self._arrays["bias"]
        return out

    def save(self, folder: Path) -> None:
        """See `Learner`."""
        save_file(self._arrays, folder / self.file)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read it. Raises OSError, SafetensorError or KeyError."""
        arrays = load_file(folder / cls.file)
        return cls({name: arrays[name] for name in ("mean", "scale", "weights", "bias")})


class Trees:
    """LightGBM, boosted or as a forest.

    The forest is LightGBM's, not scikit-learn's: on 190,000 exposures and two cores it takes minutes where
    the other takes more than an hour, and its file is text where the other's is a pickle. With squared error
    a leaf is the mean of its labels and the gain is Gini's up to a factor, so it is the classical forest but
    for binned columns, rows drawn without putting them back, and a limit on leaves.
    """

    file: Final = "trees.txt"
    _SHARED: Final = {"verbosity": -1, "deterministic": True, "force_row_wise": True}
    _BOOSTED: Final = {
        "objective": "binary",
        "learning_rate": 0.05,
        "num_leaves": 31,
        "min_data_in_leaf": 50,
        "feature_fraction": 0.8,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
    }
    _FOREST: Final = {
        "objective": "regression",
        "boosting": "rf",
        "num_leaves": 255,
        "min_data_in_leaf": 10,
        "feature_fraction_bynode": len(COLUMNS) ** -0.5,
        "bagging_fraction": 0.632,  # as many different rows as a draw with putting back holds
        "bagging_freq": 1,
    }
    _ROUNDS: Final = {"boosted": 2_000, "forest": 1_000}
    _PATIENCE: Final = 50

    def __init__(self, booster: Any) -> None:
        self._booster = booster

    @classmethod
    def fit(
        cls, kind: Kind, columns: Columns, labels: Labels, weights: Floats, train: slice, held_out: slice,
        seed: int, threads: int, progress: Progress,
    ) -> Self:  # fmt: skip
        """Learn `train`; boosting stops by `held_out`."""
        lightgbm = _lightgbm()
        settings = cls._SHARED | (cls._BOOSTED if kind == "boosted" else cls._FOREST)
        settings |= {"seed": seed, "num_threads": threads}
        data = lightgbm.Dataset(
            columns.dense[train], labels[train].astype(np.float32), weight=weights[train], params=settings
        )
        judged = data.create_valid(
            columns.dense[held_out], labels[held_out].astype(np.float32), weight=weights[held_out]
        )
        rounds = cls._ROUNDS[kind]
        phase = Phase(progress, "fit", rounds, "trees")
        calls: list[Any] = [lambda state: phase.to(state.iteration + 1)]
        boosted = kind == "boosted" and held_out.stop > held_out.start
        if boosted:
            calls.append(lightgbm.early_stopping(cls._PATIENCE, verbose=False))
        booster = lightgbm.train(
            settings, data, rounds, valid_sets=[judged] if boosted else None, callbacks=calls
        )
        phase.end()
        return cls(booster)

    @property
    def steps(self) -> int:
        """See `Learner`."""
        best = self._booster.best_iteration
        return int(best if best > 0 else self._booster.num_trees())

    def logits(self, columns: Columns) -> Floats:
        """See `Learner`."""
        p: Floats = self._booster.predict(columns.dense).clip(1e-6, 1 - 1e-6)
        out: Floats = np.log(p / (1 - p))
        return out

    def save(self, folder: Path) -> None:
        """See `Learner`."""
        self._booster.save_model(folder / self.file)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read it. Raises ValueError where it can't be read, BaselineError without LightGBM."""
        lightgbm = _lightgbm()
        try:
            booster = lightgbm.Booster(model_file=folder / cls.file)
        except lightgbm.basic.LightGBMError as error:
            raise ValueError(str(error)) from error
        if booster.num_feature() != len(COLUMNS):
            raise ValueError(f"{booster.num_feature()} columns instead of {len(COLUMNS)}")
        return cls(booster)


def _lightgbm() -> Any:
    try:
        return importlib.import_module("lightgbm")
    except ImportError as error:
        raise BaselineError(
            "forest and boosted need LightGBM: pip install 'retweet-streamer[peers]'"
        ) from error


def _sigmoid(logits: Floats) -> Floats:
    out: Floats = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return out
