"""In which arithmetic texts are encoded: the fastest one that the machine has and that keeps the vectors.

Training (of frozen encoders), offline evaluation and serving all ask here, so on machines of one kind they
get the same vectors. Knows nothing of logs or streams.
"""

from __future__ import annotations

import logging
from typing import Final, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from models.devices import DeviceError
from models.text.base import TextEncoder
from models.text.bf16 import in_bfloat16, multiplies_bfloat16
from models.text.encode import encode_rows
from models.text.fused import fused
from models.text.int8_text import Int8Text
from models.text.narrow import NarrowText, is_narrow
from models.text.tokens import Tokens
from models.text.transformer import TransformerText

Numerics = Literal["auto", "fp32", "bf16", "int8"]

#: Least cosine, on average and of any text, between a vector and its float32 original.
_MEAN_COSINE: Final = 0.99
_LEAST_COSINE: Final = 0.97
_PROBES: Final = 32
_LONGEST: Final = 48

#: What processors may have, the fastest first. MiniLM on 2 cores, texts/s: with AMX, which has tiles for
#: both, bfloat16 891, float32 309 (int8 580 while torch did what is between its products; not measured
#: since); without, int8 787, float32 284; with AVX2 alone float32 111 (int8 234, as above).
_FEATURES: Final[tuple[tuple[str, Numerics], ...]] = (
    ("amx_bf16", "bf16"),
    ("avx512_vnni", "int8"),
    ("avx512_bf16", "bf16"),
    ("avx2", "int8"),
)

_log = logging.getLogger(__name__)


def with_numerics(encoder: TextEncoder, tokens: Tokens, numerics: Numerics = "auto") -> TextEncoder:
    """The encoder for use without gradients: itself in float32, or a copy.

    "auto" takes the first of what the machine computes quickly whose vectors of some random texts have a
    cosine of at least 0.99 to those of float32; anything else is taken as asked for. Narrow ones spend their
    time elsewhere than in multiplications: on a CPU they stay in float32, in loops of our own. Encoders that
    are not transformers are float32 always. Raises DeviceError where the device can't.
    """
    if not encoder.packable:
        return encoder
    if numerics in ("auto", "fp32") and is_narrow(encoder):
        return NarrowText(encoder).eval()
    if numerics != "auto":
        require(numerics, next(encoder.parameters()).device)
        return _made(encoder, numerics)
    probes = _probes(tokens)
    truth = encode_rows(encoder, probes)
    for name in _quick(encoder):
        made = _made(encoder, name)
        cosines = _cosines(encode_rows(made, probes), truth)
        good = cosines.mean() >= _MEAN_COSINE and cosines.min() >= _LEAST_COSINE  # not if one is NaN
        _log.info(
            "text encoder in %s: cosine to float32 %.4f, at least %.4f: %s",
            name, cosines.mean(), cosines.min(), "taken" if good else "not good enough",
        )  # fmt: skip
        if good:
            return made
    return encoder


def require(numerics: Numerics, device: torch.device) -> None:
    """Raises DeviceError where the device can't compute so."""
    if numerics == "int8" and device.type != "cpu":
        raise DeviceError(
            f"numerics int8: for CPUs only, and the device is {device}; choose auto, bf16 or fp32"
        )
    if numerics == "int8" and not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        raise DeviceError("numerics int8: torch has no oneDNN on this processor; choose auto or fp32")
    if numerics == "bf16" and device.type == "cpu" and not multiplies_bfloat16():
        raise DeviceError("numerics bf16: this processor can't multiply it; choose auto, int8 or fp32")


def _quick(encoder: TextEncoder) -> list[Numerics]:
    """What the encoder's device computes faster than float32, the fastest first."""
    if next(encoder.parameters()).device.type == "cuda":
        return ["bf16"]
    has = torch.cpu.get_capabilities()
    return list(dict.fromkeys(name for feature, name in _FEATURES if has.get(feature)))


def _made(encoder: TextEncoder, numerics: Numerics) -> TextEncoder:
    out: TextEncoder
    match numerics:
        case "int8":
            assert isinstance(encoder, TransformerText)  # so are all that are packable and wide
            out = Int8Text(encoder)
        case "bf16":
            if next(encoder.parameters()).is_cuda:
                out = cast(TextEncoder, fused(encoder))
            else:
                out = cast(TextEncoder, in_bfloat16(encoder))
        case _:
            return encoder
    out.numerics = numerics
    return out.eval().requires_grad_(False)


def _probes(tokens: Tokens) -> list[NDArray[np.int32]]:
    """Random token ids, the same each time."""
    rng = np.random.default_rng(0)
    longest = min(_LONGEST, tokens.max_tokens)
    lengths = rng.integers(min(4, longest), longest + 1, _PROBES)
    return [rng.integers(tokens.size, size=length).astype(np.int32) for length in lengths]


def _cosines(some: NDArray[np.float16], others: NDArray[np.float16]) -> NDArray[np.float32]:
    a, b = some.astype(np.float32), others.astype(np.float32)
    out: NDArray[np.float32] = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return out
