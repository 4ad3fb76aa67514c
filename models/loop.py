"""The training loop: epochs over shuffled exposures, a held-out tail that says when to stop.

One process or many, cut off and gone on with or not: the same batches in the same order. Knows nothing of
logs, bundles or calibration.
"""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from msgspec.structs import replace
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import Optimizer

from models.average import Average
from models.batches import Judged, Targets, judge, targets_of
from models.calibration import sigmoid
from models.checkpoint import Stand, load, named, save, within
from models.curves import Curves
from models.dataset import Dataset
from models.descent import optimizer_of, set_rate, share_of
from models.devices import random_state, set_random_state
from models.metrics import scores
from models.network import Network
from models.order import Order, Rows, batch_of
from models.processes import Processes
from models.progress import Phase, Progress
from models.recipe import Recipe, RecipeError
from models.start import start
from models.text.bank import Bank, TermTable

#: Exposures judged at once where no gradients are kept.
_CHUNK: Final = 4_096
#: Steps between looks at the clock and at the losses, which stay on the device until then.
_LOOK = 50
#: Of the learning rates, in the second stage. On a real log, two or three passes over the newest tenth of
#: the exposures were worth 1.2 to 1.6 points of RCE on what came after (0.6 on the month after that), for a
#: tenth of the time: one pass 1.0, training anew on everything 1.0, one more epoch of everything 0.5.
_REFIT_RATE: Final = 0.3
#: What a network begins as is only taken where every epoch is worse by so much. A few hundred held-out
#: exposures choose it by chance else: in one of six draws of 1,000 to 9,000 of a real log, where that cost
#: 4 points of RCE; in none it was the best.
_BEGUN: Final = 1.05


def loss_of(logits: Tensor, targets: Targets, heads: Tensor, totals: Tensor | None = None) -> Tensor:
    """Mean over heads, weighted by `heads` [heads], of the weighted mean cross entropy over the rows.

    `totals` [heads] are the weights to divide by where the rows are a part of a batch.
    """
    each = binary_cross_entropy_with_logits(logits, targets.labels, reduction="none") * targets.weights
    totals = targets.weights.sum(0) if totals is None else totals
    means = each.sum(0) / torch.where(totals > 0, totals, 1.0)
    return (means * heads).sum() / heads.sum()


class _Stage(NamedTuple):
    """What a pass over some exposures is made with."""

    order: Order
    optimizer: Optimizer
    average: Average


@dataclass(slots=True)
class Loop:
    """One training. `run` leaves the network with its best weights, `refit` with those to be used.

    `folder` is for the checkpoint, and for what grows with the exposures.
    """

    network: Network
    bank: Bank
    terms: TermTable
    dataset: Dataset
    heads: list[str]
    recipe: Recipe
    progress: Progress
    processes: Processes
    curves: Curves
    folder: Path
    #: Weights of the best epoch, and of the text encoder as the epoch found it.
    _best: dict[str, Tensor] = field(default_factory=dict, init=False)
    _text: dict[str, Tensor] = field(default_factory=dict, init=False)
    #: Whether the bank has the vectors of the text encoder as it is.
    _fresh: bool = field(default=False, init=False)
    _stand: Stand = field(default=Stand(), init=False)
    #: Exposures in a step.
    _batch: int = field(default=0, init=False)
    #: Of the recipe's learning rates.
    _share: float = field(default=1.0, init=False)
    _model: nn.Module | None = field(default=None, init=False)

    def run(self, train: slice, held_out: slice, saved: Path) -> int:
        """Train on a range of exposures, judged on another; returns how many epochs the best weights took.

        Goes on with the checkpoint `saved` where there is one, and keeps it up to date. Raises RecipeError
        where the loss is no longer a number, CheckpointError where the checkpoint is damaged.
        """
        settings = self.recipe.training
        self._batch = settings.batch or batch_of(train.stop - train.start)
        self._share = share_of(train.stop - train.start)
        anew = not saved.exists()
        if anew:
            start(self.network, self.dataset, self.terms, train, self.heads)
        stage = self._stage(train)
        stand = Stand() if anew else self._restore(saved, stage)
        self._begin(stand)
        if anew:
            self._best = _copy(self.network)
            begun = self._judge(held_out, 0)
            stand = replace(stand, best=None if begun is None else _BEGUN * begun)
        while (
            not stand.refit
            and stand.epoch <= settings.epochs
            and stand.epoch - 1 - stand.best_epoch < settings.patience
        ):
            name = f"epoch {stand.epoch}"
            total, phase = self._epoch(name, settings.epochs, stage, stand, saved)
            stand = _after(stand, stage.order)
            with stage.average.applied():
                judged = self._judge(held_out, stand.done)
                phase.end(
                    {"loss": total / stage.order.steps} | ({} if judged is None else {"held_out": judged})
                )
                if judged is None or stand.best is None or judged < stand.best:
                    self._best = _copy(self.network)
                    stand = replace(stand, best=judged, best_epoch=stand.epoch - 1)
            self._save(saved, stand, stage)
        self._stand = stand if stand.refit else replace(stand, refit=True, epoch=1)
        self.network.load_state_dict(self._best)
        self._fresh = False
        return stand.best_epoch

    def refit(self, rows: slice, saved: Path) -> None:
        """After `run`, learn from what was held out as well, at a lower rate: those are the newest exposures.

        A calibration must be fitted before, while they are still news. On a real log it holds for these
        weights too: ECE on the time after was .0024, .0019 without. To learn from one half before the other
        calibrates was worse (.0103): drift between them was put right twice, by the weights and by the curve.
        """
        stand, passes = self._stand, self.recipe.training.refit
        stage = self._stage(rows, _REFIT_RATE)
        if stand.epoch + stand.step > 1:
            stand = self._restore(saved, stage)
        else:
            self.processes.seed(self.recipe.training.seed + stand.done)
        while stand.epoch <= passes:
            name = f"refit {stand.epoch}"
            total, phase = self._epoch(name, passes, stage, stand, saved)
            phase.end({"loss": total / stage.order.steps})
            stand = _after(stand, stage.order)
            self._save(saved, stand, stage)
        stage.average.keep()
        self._fresh = False

    def _stage(self, rows: slice, share: float = 1.0) -> _Stage:
        file = self.folder / f"order-{self.processes.index}.bin"
        return _Stage(
            Order(self.dataset, rows, self._batch, self.recipe.training.seed, file),
            optimizer_of(self.network, self.recipe, share * self._share),
            Average(self.network),
        )

    def _begin(self, stand: Stand) -> None:
        if self.processes.first:
            self.curves.begin(stand.done + 1)
        self._model = self.processes.together(_Forward(self))

    def _epoch(self, name: str, epochs: int, stage: _Stage, stand: Stand, saved: Path) -> tuple[float, Phase]:
        """The rest of an epoch of a stage; returns the sum of all its steps' losses."""
        settings = self.recipe.training
        order, optimizer, average = stage
        if not stand.step:
            with average.applied():
                self._refresh()
                self._text = _copy(self.network.text) if _learns(self.network.text) else {}
        heads = self._head_weights()
        n, total = order.rows, stand.total
        phase = Phase(self.progress, name, n, "exposures", order.bounds[stand.step])
        self.network.train()
        self._fresh = not _learns(self.network.text)
        losses: list[Tensor] = []
        looked = last_saved = time.monotonic()
        for step, rows in enumerate(order.batches(stand.epoch, stand.step), start=stand.step + 1):
            at = (stand.epoch - 1) * order.steps + step
            done = stand.done - stand.step + step
            rate = set_rate(optimizer, at - 1, epochs * order.steps, settings.warmup)
            losses.append(self._step(optimizer, rows, heads))
            average.add(at)
            phase.to(order.bounds[step])
            if len(losses) < _LOOK and step < order.steps:
                continue
            now = time.monotonic()
            found: list[float] = self.processes.sum(torch.stack(losses)).tolist()
            for i, loss in enumerate(found, start=done - len(found) + 1):
                total += loss
                self.curves.add(i, {"train/loss": loss})
            if not math.isfinite(total):
                raise _not_a_number(done)
            seen = order.bounds[step] - order.bounds[step - len(found)]
            speed = {"exposures_per_second": seen / max(now - looked, 1e-9)}
            self.curves.add(done, {"train/learning_rate": rate} | speed)
            losses, looked = [], now
            due = now - last_saved >= settings.checkpoint_minutes * 60
            if step < order.steps and any(self.processes.gather(due)):
                self._save(saved, replace(stand, step=step, total=total, done=done), stage)
                last_saved = time.monotonic()
        return total, phase

    def _step(self, optimizer: Optimizer, rows: Rows, heads: Tensor) -> Tensor:
        """One update; returns this process's part of the loss.

        The parts add up to the loss of the whole batch, so however many there are, the update is the same.
        """
        model = self._model
        assert model is not None
        count = self.processes.count
        each = max(min(self.recipe.training.accumulate, len(rows) // count), 1)  # no part is empty
        parts = [self.dataset.exposures[np.sort(part)] for part in np.array_split(rows, count * each)]
        targets = [targets_of(part, self.heads, self.network.device()) for part in parts]
        totals = torch.stack([target.weights.sum(0) for target in targets]).sum(0)
        optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.network.device())
        first = self.processes.index * each
        for i in range(first, first + each):
            last = i == first + each - 1
            with nullcontext() if last else self.processes.apart(model):
                found: Judged = model(parts[i])
                loss = loss_of(found.logits, targets[i], heads, totals)
                if found.loss is not None:
                    loss = loss + found.loss / (count * each)
                (loss * count).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        optimizer.step()
        return total

    def logits(self, rows: slice) -> NDArray[np.float32]:
        """Logits [n, heads] of a range of exposures, of which each process computes a part."""
        self._refresh()
        cuts = np.linspace(rows.start, rows.stop, self.processes.count + 1).astype(int).tolist()
        mine = slice(cuts[self.processes.index], cuts[self.processes.index + 1])
        found = predict(self.network, self.bank, self.terms, self.dataset, mine)
        return np.concatenate(self.processes.gather(found))

    def _refresh(self) -> None:
        if not self._fresh:
            self.bank.start_epoch(self.network)
            self._fresh = True

    def _judge(self, held_out: slice, done: int) -> float | None:
        """The held-out loss, None without held-out exposures."""
        if held_out.start == held_out.stop:
            return None
        logits = self.logits(held_out)
        targets = targets_of(self.dataset.exposures[held_out], self.heads, torch.device("cpu"))
        loss = float(loss_of(torch.from_numpy(logits), targets, self._head_weights().cpu()))
        if not math.isfinite(loss):
            raise _not_a_number(done)
        self.curves.add(done, {"held_out/loss": loss} | self._figures(logits, targets))
        return loss

    def _figures(self, logits: NDArray[np.float32], targets: Targets) -> dict[str, float]:
        found: dict[str, float] = {}
        for i, head in enumerate(self.heads):
            weights = targets.weights[:, i].numpy()
            known = weights > 0
            if not known.any():
                continue
            p = sigmoid(logits[known, i].astype(np.float64))
            of = scores(targets.labels[known, i].numpy() == 1, p, weights[known])
            values = {"auc": of.auc, "average_precision": of.average_precision, "rce": of.rce, "ece": of.ece}
            found |= {f"held_out/{head}/{name}": value for name, value in values.items()}
        return found

    def _head_weights(self) -> Tensor:
        """Retweets are what it is for; the other heads are there to help."""
        other = self.recipe.training.other_heads
        weights = [1.0 if head == "retweet" else other for head in self.heads]
        return torch.tensor(weights).to(self.network.device())

    def _save(self, path: Path, stand: Stand, stage: _Stage) -> None:
        random = self.processes.gather(random_state(self.network.device()))
        if not self.processes.first:
            return
        self.curves.flush()
        tensors = named("network", self.network.state_dict()) | named("average", stage.average.means)
        tensors |= named("best", self._best) | named("text", self._text)
        for i, state in stage.optimizer.state_dict()["state"].items():
            tensors |= named(f"optimizer.{i}", state)
        for i, states in enumerate(random):
            tensors |= named(f"random.{i}", states)
        save(path, stand, tensors)

    def _restore(self, path: Path, stage: _Stage) -> Stand:
        stand, tensors = load(path)
        self._best, self._text = within("best", tensors), within("text", tensors)
        stage.average.restore(within("average", tensors))
        weights = within("network", tensors)
        self.network.load_state_dict(weights)
        if self._text and stand.step:
            # Histories are encoded as the epoch found the encoder.
            self.network.text.load_state_dict(self._text)
            self._refresh()
            self.network.load_state_dict(weights)
        of_optimizer: dict[int, dict[str, Tensor]] = {}
        for name, value in within("optimizer", tensors).items():
            i, _, kind = name.partition(".")
            of_optimizer.setdefault(int(i), {})[kind] = value
        groups = stage.optimizer.state_dict()["param_groups"]
        stage.optimizer.load_state_dict({"state": of_optimizer, "param_groups": groups})
        set_random_state(within(f"random.{self.processes.index}", tensors), self.network.device())
        return stand


class _Forward(nn.Module):
    """Logits of exposures as one call, which is what gradients of several processes are tied to."""

    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self.network = loop.network
        self._loop = loop
        device = loop.network.device()
        wanted = loop.recipe.training.precision
        if wanted == "auto":
            self._half = device.type == "cuda" and torch.cuda.is_bf16_supported()
        else:
            self._half = wanted == "bfloat16"

    def forward(self, exposures: NDArray[np.void]) -> Judged:
        """What the network makes of EXPOSURE rows [n], logits float32."""
        loop = self._loop
        with torch.autocast(loop.network.device().type, torch.bfloat16, enabled=self._half):
            found = judge(loop.network, loop.bank, loop.terms, loop.dataset, exposures)
        return found._replace(logits=found.logits.float())


def predict(
    network: Network, bank: Bank, terms: TermTable, dataset: Dataset, rows: slice
) -> NDArray[np.float32]:
    """Logits [n, heads] of a range of exposures, with the bank as it is."""
    network.eval()
    parts = [np.zeros((0, network.heads), np.float32)]
    with torch.inference_mode():
        for first in range(rows.start, rows.stop, _CHUNK):
            exposures = dataset.exposures[first : min(first + _CHUNK, rows.stop)]
            parts.append(judge(network, bank, terms, dataset, exposures).logits.cpu().numpy())
    return np.concatenate(parts)


def _after(stand: Stand, order: Order) -> Stand:
    """Where the next epoch begins."""
    done = stand.done - stand.step + order.steps
    return replace(stand, epoch=stand.epoch + 1, step=0, total=0.0, done=done)


def _not_a_number(step: int) -> RecipeError:
    return RecipeError(f"the loss is not a number after {step} steps: choose a lower learning rate")


def _learns(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
