"""The training loop: epochs over shuffled exposures, a held-out tail that says when to stop.

Knows nothing of logs, bundles or calibration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from models.batches import Targets, logits_of, pair_inputs, targets_of
from models.dataset import Dataset
from models.network import Network
from models.progress import Phase, Progress
from models.recipe import Recipe, Transformer
from models.text.bank import Bank, TermTable

#: Exposures judged at once where no gradients are kept.
_CHUNK = 4_096


def loss_of(logits: Tensor, targets: Targets, weights: Tensor) -> Tensor:
    """Weighted mean over heads of the mean cross entropy over the rows whose label is known.

    A row without any action that was kept with rate r is 1/r times as rare in the data as in the world:
    adding log(1/r) to the logit makes the logit itself the world's, p·r/(1-p+r·p) without a further step.
    """
    shifted = logits - targets.rates.log().unsqueeze(1)
    each = binary_cross_entropy_with_logits(shifted, targets.labels, reduction="none") * targets.known
    heads = each.sum(0) / targets.known.sum(0).clamp_min(1)
    return (heads * weights).sum() / weights.sum()


@dataclass(slots=True)
class Loop:
    """One training. `run` leaves the network with its best weights."""

    network: Network
    bank: Bank
    terms: TermTable
    dataset: Dataset
    heads: list[str]
    recipe: Recipe
    progress: Progress

    def run(self, train: slice, held_out: slice) -> int:
        """Train on a range of exposures, judged on another; returns how many epochs the best weights took."""
        settings = self.recipe.training
        rows = np.arange(train.start, train.stop)
        self._fit_scales(rows)
        self._start_at_base_rates(rows)
        steps = math.ceil(len(rows) / settings.batch)
        optimizer, schedule = self._optimizer(steps * settings.epochs, settings.warmup)
        weights = self._head_weights()
        best, best_epoch, kept = math.inf, 0, _copy(self.network)
        for epoch in range(1, settings.epochs + 1):
            self.bank.start_epoch(self.network)
            order = self._order(rows, epoch)
            phase = Phase(self.progress, f"epoch {epoch}", len(rows), "exposures")
            self.network.train()
            total = torch.zeros((), device=self.network.device())
            for step in range(steps):
                chosen = np.sort(order[step * settings.batch : (step + 1) * settings.batch])
                exposures = self.dataset.exposures[chosen]
                targets = targets_of(exposures, self.heads, self.network.device())
                logits = logits_of(self.network, self.bank, self.terms, self.dataset, exposures)
                loss = loss_of(logits, targets, weights)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                total += loss.detach()
                phase.to(min((step + 1) * settings.batch, len(rows)))
            judged = self._judge(held_out, weights)
            phase.end({"loss": float(total) / steps, "held_out": judged})
            if judged < best:
                best, best_epoch, kept = judged, epoch, _copy(self.network)
            elif epoch - best_epoch >= settings.patience:
                break
        self.network.load_state_dict(kept)
        return best_epoch

    def _order(self, rows: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:
        """A new order for each epoch, in which the exposures of one user state stay together.

        A batch then computes about a fifth of the histories that it would need in a plain shuffle.
        """
        rng = np.random.default_rng((self.recipe.training.seed, epoch))
        users = self.dataset.exposures["user"][rows]
        rank = rng.permutation(len(self.dataset.users))
        return rows[np.lexsort((rng.permutation(len(rows)), rank[users]))]

    def _judge(self, held_out: slice, weights: Tensor) -> float:
        if held_out.start == held_out.stop:
            return -math.inf
        logits = predict(self.network, self.bank, self.terms, self.dataset, held_out)
        targets = targets_of(self.dataset.exposures[held_out], self.heads, torch.device("cpu"))
        return float(loss_of(torch.from_numpy(logits), targets, weights.cpu()))

    def _head_weights(self) -> Tensor:
        """Retweets are what it is for; the other heads are there to help."""
        return torch.tensor([1.0 if head == "retweet" else 0.3 for head in self.heads]).to(
            self.network.device()
        )

    def _optimizer(
        self, steps: int, warmup: float
    ) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        settings, text = self.recipe.training, self.recipe.model.text
        pretrained = isinstance(text, Transformer) and bool(text.source)
        rate = settings.finetune_learning_rate if pretrained else settings.text_learning_rate
        mine = [p for p in self.network.text.parameters() if p.requires_grad]
        of_text = {id(p) for p in self.network.text.parameters()}
        others = [p for p in self.network.parameters() if id(p) not in of_text]
        groups = [{"params": others, "lr": settings.learning_rate}]
        if mine:
            groups.append({"params": mine, "lr": rate})
        optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True)
        rise = max(int(steps * warmup), 1)

        def factor(step: int) -> float:
            if step < rise:
                return (step + 1) / rise
            return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(steps - rise, 1)))

        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)

    def _fit_scales(self, rows: NDArray[np.int64]) -> None:
        """Learn the scales of features from a sample spread over the training exposures."""
        chosen = self.dataset.exposures[rows[:: max(len(rows) // 100_000, 1)]]
        parts = [chosen[start : start + _CHUNK] for start in range(0, len(chosen), _CHUNK)]
        pairs = np.concatenate([pair_inputs(self.dataset, self.terms, part) for part in parts])
        tweets = self.dataset.tweets[np.unique(chosen["tweet"])]
        users = self.dataset.users[np.unique(chosen["user"])]
        self.network.fit_scales(
            torch.from_numpy(pairs),
            torch.from_numpy(np.ascontiguousarray(tweets["features"])),
            users["snapshot"]["stats"],
        )

    def _start_at_base_rates(self, rows: NDArray[np.int64]) -> None:
        """Begin where a model without features ends, or the first steps are spent on learning the rates."""
        targets = targets_of(self.dataset.exposures[rows[:100_000]], self.heads, self.network.device())
        rates = targets.rates.unsqueeze(1)
        weights = torch.where(targets.labels.any(1, keepdim=True), 1.0, 1.0 / rates) * targets.known
        mean = ((targets.labels * weights).sum(0) / weights.sum(0).clamp_min(1.0)).clamp(1e-6, 0.5)
        self.network.start_at(mean.logit())


def predict(
    network: Network,
    bank: Bank,
    terms: TermTable,
    dataset: Dataset,
    rows: slice,
) -> NDArray[np.float32]:
    """Logits [n, heads] of a range of exposures."""
    bank.start_epoch(network)
    network.eval()
    parts = []
    with torch.inference_mode():
        for start in range(rows.start, rows.stop, _CHUNK):
            exposures = dataset.exposures[start : min(start + _CHUNK, rows.stop)]
            parts.append(logits_of(network, bank, terms, dataset, exposures).cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros((0, network.heads), np.float32)


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
