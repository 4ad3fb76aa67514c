"""A BERT-base (109M parameters, random weights) on one GPU, at 50 and 512 tokens a text, and where time goes;
the scorer on the same GPU.

Beside sentence-transformers there (bfloat16 too), and what others publish for one H200 at 50 tokens. Without
a GPU a tiny BERT runs through the same code, which shows that this file works and nothing else. Knows nothing
of Kafka.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from benchmarks.embed import Encode, sentence_transformers
from benchmarks.options import Options
from benchmarks.result import Result, ratio
from benchmarks.scoring import pairs_per_second
from models.recipe import Transformer
from models.text.base import TextEncoder
from models.text.bert import Bert, Shape
from models.text.encode import encode_rows, encode_texts
from models.text.numerics import with_numerics
from models.text.pretrained import load_pretrained
from models.text.tokens import Tokens
from models.text.transformer import TransformerText
from streamer.user_matrix import MOST_USERS

#: Tokens a second that are published for a BERT of this size on one H200, at 50 tokens a text.
_PUBLISHED: Final = {"vLLM": 90_000, "TEI": 620_000, "Arctic Inference": 1_420_000}
_PEER: Final = "sentence-transformers, bf16"
#: Dense bfloat16 operations a second, by a part of the device's name (makers' data sheets).
_PEAKS: Final = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L4": 121e12}
#: Tokens a text, and tokens in all.
_TOKENS: Final = {50: 4_000_000, 512: 4_000_000}
_PAIRS: Final = 40 * MOST_USERS


@dataclass(frozen=True)
class _Subject:
    encoder: TextEncoder
    tokens: Tokens
    shape: Shape

    def texts(self, count: int, length: int) -> list[str]:
        """Random words, `length` tokens with the two special ones."""
        ids = np.random.default_rng(length).integers(3, self.tokens.size, (count, length - 2))
        return [" ".join(f"w{i}" for i in row) for row in ids.tolist()]

    def operations(self, length: int) -> int:
        """Floating-point operations a token: matrix products of the layers, and attention."""
        d, inner = self.shape.hidden_size, self.shape.intermediate_size
        return self.shape.num_hidden_layers * (2 * (4 * d * d + 2 * d * inner) + 4 * length * d)


def run(options: Options) -> list[Result]:
    """See the module. Raises nothing where there is no GPU: the names of the results say so."""
    real = torch.cuda.is_available()
    where = torch.cuda.get_device_name() if real else "smoke run of a tiny BERT on a CPU"
    with tempfile.TemporaryDirectory() as folder:
        _save(Path(folder), BertConfig() if real else _tiny())
        subject = _subject(Path(folder), torch.device("cuda" if real else "cpu"))
        peer = sentence_transformers(
            Path(folder), "cuda" if real else "cpu", 512 if real else 32, torch.bfloat16
        )
    options.say(f"  {where}; arithmetic: {subject.encoder.numerics}")
    results = [
        result
        for length, total in _TOKENS.items()
        for result in _embed(options, subject, peer, length, total if real else 10_000, where)
    ]
    return [*results, _score(options, where, real)]


def _embed(
    options: Options, subject: _Subject, peer: Encode, length: int, total: int, where: str
) -> list[Result]:
    count = options.sized(total) // length + 1
    texts = subject.texts(count, length)
    rows = subject.tokens.encode(texts)
    works: dict[str, Callable[[], object]] = {
        "ids": lambda: encode_rows(subject.encoder, rows),
        "us": lambda: encode_texts(subject.encoder, subject.tokens, texts),
        _PEER: lambda: peer(texts),
    }
    rates: dict[str, list[float]] = {name: [] for name in works}
    for number in range(options.rounds + 1):
        for name, work in works.items():
            rate = count * length / _seconds(work)
            if number:  # the first is to warm up
                rates[name].append(rate)
    options.say(_breakdown(works["ids"]))
    name = f"embed, {length} tokens a text, {where}"
    rate = float(np.median(rates["ids"]))
    results = [
        Result(name=name, value=ratio(rates["us"], rates[_PEER]), unit="x", peer=_PEER),
        Result(name=name, value=float(np.median(rates["us"])), unit="tokens/s"),
        Result(name=name, value=float(np.median(rates[_PEER])), unit="tokens/s", peer=_PEER),
        Result(name=f"{name}, token ids given", value=rate, unit="tokens/s"),
    ]
    peak = next((flops for part, flops in _PEAKS.items() if part in where), None)
    if peak is not None:
        share = rate * subject.operations(length) / peak
        results.append(Result(name=f"{name}, use of the peak", value=100 * share, unit="%", target=50))
    if torch.cuda.is_available() and length == 50:
        most = max(_PUBLISHED.values())
        results += [
            Result(
                name=f"{name}, token ids given",
                value=rate / published,
                unit="x",
                target=1.0 if published == most else None,
                peer=f"{other} as published for an H200 ({published:,} tokens/s)",
            )
            for other, published in _PUBLISHED.items()
        ]
    return results


def _score(options: Options, where: str, real: bool) -> Result:
    """Pairs a second of the scorer that the device has, with users in its memory."""
    count = options.sized(_PAIRS if real else MOST_USERS, MOST_USERS)
    pairs, _ = pairs_per_second(count, options.rounds, "cuda" if real else "cpu")
    return Result(name=f"score alone, {where}", value=pairs, unit="pairs/s")


def _tiny() -> Any:
    return BertConfig(
        hidden_size=256, num_hidden_layers=2, num_attention_heads=4, intermediate_size=512, vocab_size=1_000
    )


def _save(folder: Path, config: Any) -> None:
    """A BERT with random weights as a Hugging Face folder, for us and the peer."""
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    words = {word: i for i, word in enumerate(["[PAD]", "[CLS]", "[SEP]"])}
    words |= {f"w{i}": i for i in range(len(words), config.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = [(name, words[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=special)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=config.max_position_embeddings,
    ).save_pretrained(folder)


def _subject(folder: Path, device: torch.device) -> _Subject:
    pretrained = load_pretrained(str(folder))
    exact = TransformerText(Transformer(pooling="mean"), pretrained.architecture)
    exact.encoder.load_state_dict(pretrained.weights)
    exact.to(device).eval()
    assert isinstance(exact.encoder, Bert)
    shape = exact.encoder.shape
    tokens = Tokens(pretrained.tokenizer, shape.max_position_embeddings)
    return _Subject(with_numerics(exact, tokens), tokens, shape)


def _breakdown(work: Callable[[], object]) -> str:
    """The ten kernels, or operators, that take the most time."""
    activity, real = torch.profiler.ProfilerActivity, torch.cuda.is_available()
    with torch.profiler.profile(activities=[activity.CPU, *([activity.CUDA] if real else [])]) as profile:
        work()
    return str(
        profile.key_averages().table(
            sort_by="self_cuda_time_total" if real else "self_cpu_time_total", row_limit=10
        )
    )


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()  # ends with a copy to the host, which waits for the GPU
    return time.perf_counter() - started
