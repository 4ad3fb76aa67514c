"""A BERT-base (109M parameters, random weights) on one GPU, at 50 and 512 tokens a text, and where time goes.

Beside sentence-transformers on the same GPU (bfloat16 too). Without a GPU a tiny BERT runs through the same
code, which shows that this file works and nothing else. Published for one H200 at 50 tokens, tokens/s: vLLM
90k, TEI 620k, Arctic Inference 1.42M. Knows nothing of Kafka.
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
from transformers import BertConfig, PreTrainedTokenizerFast

from benchmarks.embed import sentence_transformers
from benchmarks.options import Options
from benchmarks.result import Result, ratio
from models.recipe import Transformer
from models.text.base import TextEncoder
from models.text.encode import encode_rows, encode_texts
from models.text.numerics import with_numerics
from models.text.tokens import Tokens
from models.text.transformer import TransformerText

_TARGET: Final = 1_420_000
_PEER: Final = "sentence-transformers, bf16"
#: Dense bfloat16 operations a second, by a part of the device's name (makers' data sheets).
_PEAKS: Final = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L4": 121e12}
_TOKENS: Final = {50: 4_000_000, 512: 4_000_000}


@dataclass(frozen=True)
class _Subject:
    exact: TransformerText
    encoder: TextEncoder
    tokens: Tokens
    device: torch.device

    def texts(self, count: int, length: int) -> list[str]:
        """Random words, `length` tokens with the two special ones."""
        ids = np.random.default_rng(length).integers(3, self.tokens.size, (count, length - 2))
        return [" ".join(f"w{i}" for i in row) for row in ids.tolist()]

    def operations(self, length: int) -> int:
        """Floating-point operations a token: matrix products of the layers, and attention."""
        config = self.exact.encoder.config
        d, inner = config.hidden_size, config.intermediate_size
        return int(config.num_hidden_layers * (2 * (4 * d * d + 2 * d * inner) + 4 * length * d))


def run(options: Options) -> list[Result]:
    """See the module. Raises nothing where there is no GPU: the names of the results say so."""
    real = torch.cuda.is_available()
    device = torch.device("cuda" if real else "cpu")
    subject = _subject(device, BertConfig() if real else _tiny())
    where = torch.cuda.get_device_name() if real else "smoke run of a tiny BERT on a CPU"
    options.say(f"  {where}; arithmetic: {subject.encoder.numerics}")
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        _save(subject, Path(folder))
        peer = sentence_transformers(Path(folder), device.type, 512 if real else 32, torch.bfloat16)
        for length, total in _TOKENS.items():
            count = options.sized(total if real else 10_000) // length + 1
            texts = subject.texts(count, length)
            rows = subject.tokens.encode(texts)
            computed: list[float] = []
            ours: list[float] = []
            theirs: list[float] = []
            for number in range(options.rounds + 1):
                took = [
                    _seconds(lambda: encode_rows(subject.encoder, rows)),  # noqa: B023 (called at once)
                    _seconds(lambda: encode_texts(subject.encoder, subject.tokens, texts)),  # noqa: B023
                    _seconds(lambda: peer(texts)),  # noqa: B023
                ]
                if number:  # the first is to warm up
                    for rates, seconds in zip((computed, ours, theirs), took, strict=True):
                        rates.append(count * length / seconds)
            name = f"embed, {length} tokens a text, {where}"
            rate = float(np.median(computed))
            results += [
                Result(name=name, value=ratio(ours, theirs), unit="x", peer=_PEER),
                Result(name=f"{name}, tokenised", value=float(np.median(ours)), unit="tokens/s"),
                Result(name=name, value=float(np.median(theirs)), unit="tokens/s", peer=_PEER),
                Result(
                    name=f"{name}, token ids given",
                    value=rate,
                    unit="tokens/s",
                    target=_TARGET if real and length == 50 else None,
                ),
            ]
            peak = next((flops for part, flops in _PEAKS.items() if part in where), None)
            if peak is not None:
                share = rate * subject.operations(length) / peak
                results.append(
                    Result(name=f"{name}, use of the peak", value=100 * share, unit="%", target=50)
                )
            options.say(_breakdown(lambda: encode_rows(subject.encoder, rows), real))  # noqa: B023
    return results


def _tiny() -> Any:
    return BertConfig(
        hidden_size=256, num_hidden_layers=2, num_attention_heads=4, intermediate_size=512, vocab_size=1_000
    )


def _subject(device: torch.device, config: Any) -> _Subject:
    torch.manual_seed(0)
    exact = TransformerText(Transformer(pooling="mean"), config.to_diff_dict() | {"model_type": "bert"})
    exact.to(device).eval()
    words = {word: i for i, word in enumerate(["[PAD]", "[CLS]", "[SEP]"])}
    words |= {f"w{i}": i for i in range(len(words), config.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = [(name, words[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=special)
    tokens = Tokens(tokenizer, config.max_position_embeddings)
    return _Subject(exact, with_numerics(exact, tokens), tokens, device)


def _save(subject: _Subject, folder: Path) -> None:
    """As a Hugging Face folder, for the peer."""
    subject.exact.encoder.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=subject.tokens.tokenizer,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=subject.tokens.max_tokens,
    ).save_pretrained(folder)


def _breakdown(work: Callable[[], object], real: bool) -> str:
    """The ten kernels, or operators, that take the most time."""
    activity = torch.profiler.ProfilerActivity
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
