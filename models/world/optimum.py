"""What the best possible model would score on a world, and what simple ones would.

The known probabilities bound every model: their AUC and RCE on the drawn outcomes are the Bayes optimum.
Knows nothing of files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from models.events import HEADS
from models.world.generate import World


def describe(world: World) -> dict[str, Any]:
    """Sizes, base rates and, on the validation exposures, the Bayes optimum for each action.

    `popularity_auc` is the AUC of each tweet's author's rate in training: what is left without the reader.
    A figure is None where the validation exposures have only one class.
    """
    behaviour = world.behaviour
    valid = behaviour.shown_at >= world.config.split_ms
    summary: dict[str, Any] = {
        "users": len(world.users),
        "authors": len(world.network.quality),
        "follows": len(world.network.author),
        "tweets": len(world.tweets),
        "exposures": len(valid),
        "exposures_valid": int(valid.sum()),
        "base_rates": {},
        "bayes": {},
        "popularity_auc": {},
    }
    for column, head in enumerate(HEADS):
        acted, truth = behaviour.acted[:, column], behaviour.probability[:, column]
        summary["base_rates"][head] = round(float(acted.mean()), 6) if len(acted) else None
        summary["bayes"][head] = scores(acted[valid], truth[valid])
        popularity = _author_rate(world, acted, ~valid)[valid]
        summary["popularity_auc"][head] = scores(acted[valid], popularity)["auc"]
    return summary


def _author_rate(world: World, acted: NDArray[np.bool_], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Per exposure, how often readers acted on the author's tweets among the `known` exposures."""
    echoes = [echo.author for echo in world.behaviour.echoes]
    author = np.concatenate([world.drafts.author, np.array(echoes, dtype=np.int64)])[world.behaviour.tweet]
    authors = len(world.network.quality)
    shown = np.bincount(author[known], minlength=authors)
    done = np.bincount(author[known], weights=acted[known], minlength=authors)
    rate: NDArray[np.float64] = ((done + 0.5) / (shown + 10.0))[author]
    return rate


def scores(acted: NDArray[np.bool_], probability: NDArray[np.floating[Any]]) -> dict[str, float | None]:
    """AUC, average precision, log loss and RCE = 100 (1 - log loss / log loss of the base rate)."""
    rate = float(acted.mean()) if len(acted) else 0.0
    if not 0 < rate < 1:
        return {"auc": None, "average_precision": None, "log_loss": None, "rce": None}
    p = probability.astype(np.float64).clip(1e-7, 1 - 1e-7)
    loss = float(log_loss(acted, p))
    base = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    return {
        "auc": round(float(roc_auc_score(acted, p)), 5),
        "average_precision": round(float(average_precision_score(acted, p)), 5),
        "log_loss": round(loss, 6),
        "rce": round(100 * (1 - loss / float(base)), 3),
    }
