"""A training for other processes to start: `python -m tests.models.trainee LOG OUT KIND [PHASE DONE]`.

KIND is bert, or bag for one without anything random. It takes checkpoints after each step. With PHASE and
DONE, it kills itself when that phase is so far; with `resume` as PHASE it goes on with what was killed. It
prints what came of it, and for each phase how far that was when it began.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from models import loop
from models.progress import Step
from models.recipe import (
    Attention,
    Bag,
    ModelConfig,
    RankerConfig,
    Recipe,
    TextConfig,
    TrainingConfig,
    Transformer,
    TweetConfig,
)
from models.train import train

#: Learned with the rest, so that histories are encoded anew in each epoch.
BERT = Transformer(vocabulary=120, layers=1, width=32)
BAG = Bag(vocabulary=120, width=16, frozen=False)


def recipe(text: TextConfig = BERT, dropout: float = 0.1, **training: object) -> Recipe:
    """A tiny network, by default with all that is random in a training."""
    settings = {"epochs": 3, "patience": 3, "batch": 128, "threads": 1, "checkpoint_minutes": 0} | training
    model = ModelConfig(
        text=text,
        tweet=TweetConfig(
            dimensions=16,
            hidden=16,
            author_buckets=64,
            author_width=8,
            dropout=dropout,
            author_dropout=dropout,
        ),
        user=Attention(heads=2, interests=4, dropout=dropout, item_dropout=dropout),
        ranker=RankerConfig(hidden=32, hidden_last=16, dropout=dropout),
    )
    return Recipe(model=model, training=TrainingConfig(**settings))  # type: ignore[arg-type]


def main(log: str, out: str, kind: str, phase: str = "", done: str = "0") -> None:
    """Train; the process that reports prints one line."""
    begun: dict[str, tuple[int, int]] = {}

    def show(step: Step) -> None:
        begun.setdefault(step.phase, (step.done, step.before))
        if step.phase == phase and step.done >= int(done):
            os.kill(os.getpid(), signal.SIGKILL)

    loop._LOOK = 1
    chosen = recipe(BAG, dropout=0.0) if kind == "bag" else recipe()
    result = train(Path(log), Path(out), chosen, show, resume=phase == "resume")
    if result.first:
        held_out = {head: figures.plain() for head, figures in result.held_out.items()}
        print(json.dumps({"fingerprint": result.fingerprint, "held_out": held_out, "begun": begun}))


if __name__ == "__main__":
    main(*sys.argv[1:])
