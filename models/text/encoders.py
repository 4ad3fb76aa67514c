"""Which module builds which kind of text encoder.

Knows nothing of tokenisers beyond their size, nor of authors and metadata (`models.tweet_tower`).
"""

from __future__ import annotations

from typing import Any

from models.recipe import Bag, Cnn, Lstm, NoText, TextConfig, Transformer
from models.text.bag import BagText
from models.text.base import TextEncoder
from models.text.cnn import CnnText
from models.text.lstm import LstmText
from models.text.nothing import Nothing
from models.text.transformer import TransformerText, small_bert


def build_text(config: TextConfig, vocabulary: int, architecture: dict[str, Any]) -> TextEncoder:
    """The encoder that a recipe names, untrained. `architecture` is a transformer's Hugging Face config."""
    match config:
        case Transformer():
            return TransformerText(config, architecture or small_bert(config, vocabulary))
        case Bag():
            return BagText(config, vocabulary)
        case Lstm():
            return LstmText(config, vocabulary)
        case Cnn():
            return CnnText(config, vocabulary)
        case NoText():
            return Nothing()
