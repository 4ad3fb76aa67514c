"""From a recipe and texts to a tokeniser and an encoder's first weights, before any training.

Knows nothing of exposures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from models.events import Tweet
from models.progress import Phase, Progress, silent
from models.recipe import Bag, Cnn, Lstm, ModelConfig, NoText, RecipeError, TextConfig, Transformer
from models.text import lsa
from models.text.tokens import (
    Tokens,
    clean,
    join_pieces,
    learn_wordpiece,
    learn_words,
    out_of_vocabulary,
    read_vocabulary,
)

#: Texts from which a tokeniser and embeddings are learned: more no longer change them.
SAMPLE: Final = 200_000
#: Texts tokenised at once.
_CHUNK: Final = 8_192


@dataclass(slots=True)
class Prepared:
    """`weights` go into `network.text`; what they lack starts at random. `architecture` as in the bundle."""

    tokens: Tokens
    architecture: dict[str, Any]
    weights: dict[str, Tensor]


def prepare_text(
    config: ModelConfig, sample: Sequence[str | list[int]], seed: int, progress: Progress = silent
) -> Prepared:
    """`sample` are up to SAMPLE of the log's texts, or foreign token ids that `check_of` lets pass. Raises
    RecipeError.
    """
    source = _source(config.source_vocabulary)
    text = config.text
    if isinstance(text, Transformer) and text.source:
        from models.text.pretrained import load_pretrained

        pretrained = load_pretrained(text.source)
        weights = {f"encoder.{name}": value for name, value in pretrained.weights.items()}
        return Prepared(
            Tokens(pretrained.tokenizer, text.max_tokens, source), pretrained.architecture, weights
        )
    texts = _decoded(sample, source)
    phase = Phase(progress, "learn words", None, "texts")
    tokens = Tokens(learn_tokenizer(text, _counted(texts, phase)), text.max_tokens, source)
    phase.end()
    match text:
        case Transformer():
            return Prepared(tokens, {}, {})
        case Bag():
            table = _embeddings(tokens, texts, text.width, seed, progress)
            return Prepared(tokens, {}, {"embedding.weight": torch.from_numpy(table)})
        case Lstm() | Cnn():
            # Words begin where they co-occur: on 63,000 exposures of a real log that was worth 3.9 points of
            # RCE to convolutions, and 0.3 to the LSTM.
            table = _embeddings(tokens, texts, text.embedding, seed, progress)
            table /= np.sqrt((table**2).sum() / max(table.any(1).sum() * text.embedding, 1)) + 1e-6
            return Prepared(tokens, {}, {"embedding.weight": torch.from_numpy(table)})
        case NoText():
            return Prepared(tokens, {}, {})


def learn_tokenizer(config: TextConfig, texts: Iterable[str]) -> Tokenizer:
    """A tokeniser of texts of the kind that an encoder without one of its own takes."""
    learn = learn_words if isinstance(config, Lstm | Cnn | NoText) else learn_wordpiece
    return learn((clean(text) for text in texts), config.vocabulary)


def _counted(texts: Sequence[str], phase: Phase) -> Iterator[str]:
    for done, text in enumerate(texts, start=1):
        yield text
        phase.to(done)


def _embeddings(
    tokens: Tokens, texts: Sequence[str], width: int, seed: int, progress: Progress
) -> NDArray[np.float32]:
    """`lsa.embeddings` of texts."""
    phase = Phase(progress, "learn word vectors", None, "texts")
    rows: list[NDArray[np.int32]] = []
    for start in range(0, len(texts), _CHUNK):
        rows += tokens.encode(texts[start : start + _CHUNK])
        phase.to(len(rows))
    found = lsa.embeddings(rows, tokens.size, width, seed)
    phase.end()
    return found


def _decoded(sample: Sequence[str | list[int]], source: list[str]) -> list[str]:
    texts = []
    for text in sample:
        if isinstance(text, str):
            texts.append(text)
        elif not source:
            raise RecipeError(
                "the log has `text_tokens`: name their vocabulary file in `model.source_vocabulary`"
            )
        else:
            texts.append(join_pieces(source[i] for i in text))
    return texts


def check_of(config: ModelConfig) -> Callable[[Tweet], str | None]:
    """Why a tweet can't be read, or None: what `ServingModel.check` will say of a bundle of this recipe.

    Ids that it has no vocabulary for pass: `prepare_text` says what it lacks. What is returned raises
    RecipeError where the vocabulary can't be read.
    """
    entries = cache(lambda: _entries(config))  # asked for at the first `text_tokens`, if there are any

    def check(tweet: Tweet) -> str | None:
        if tweet.text_tokens is None or not entries():
            return None
        return out_of_vocabulary(tweet.text_tokens, entries())

    return check


def _entries(config: ModelConfig) -> int:
    """How many ids `text_tokens` may have, 0 where the recipe does not say it."""
    source = _source(config.source_vocabulary)
    if not source and isinstance(config.text, Transformer) and config.text.source:
        from models.text.pretrained import load_tokenizer

        return load_tokenizer(config.text.source).get_vocab_size()
    return len(source)


def _source(path: str) -> list[str]:
    if not path:
        return []
    try:
        return read_vocabulary(Path(path))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"source vocabulary {path!r} can't be read: {error}") from error


def freeze(text: nn.Module, config: TextConfig) -> None:
    """Stop gradients of what the recipe keeps as it is."""
    if config.frozen:
        text.requires_grad_(False)
    elif isinstance(config, Transformer) and config.frozen_layers:
        names = [name for name, _ in text.named_parameters()]
        for name in names:
            if ".embeddings." in name or any(f".layer.{i}." in name for i in range(config.frozen_layers)):
                text.get_parameter(name).requires_grad_(False)


def ragged(rows: Sequence[NDArray[np.int32]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Rows end to end, and where each begins and ends: offsets [n + 1]."""
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    return np.concatenate(rows) if rows else np.zeros(0, np.int32), offsets
