"""Text into token ids: one tokeniser a model, a file of the `tokenizers` library.

Foreign ids (`text_tokens` of another vocabulary) are turned back into text first. Knows nothing of encoders.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Final

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

_LINK: Final = re.compile(r"https?:\S*|t\.co/\S*")
#: How the library marks the beginning of a word.
_START: Final = "▁"
_UNKNOWN: Final = "[UNK]"
_SPECIAL: Final = ("[PAD]", _UNKNOWN, "[CLS]", "[SEP]", "[MASK]")


def clean(text: str) -> str:
    """Text as encoders see it: without links (random letters; `tweet_features` counts them) and entities."""
    text = html.unescape(text)
    if (
        "http" in text or "t.co/" in text
    ):  # few texts have any, and looking for them takes longer than the rest
        text = _LINK.sub(" ", text)
    return " ".join(text.split())


def learn_wordpiece(texts: Iterable[str], size: int) -> Tokenizer:
    """A lower-casing WordPiece tokeniser of about `size` entries, in BERT's layout.

    The pieces are those of byte-pair encoding: the library's own WordPiece trainer breaks ties at random, and
    the same log would give another model each time. Handles and hashtags are words with their sign.
    """
    pairs = Tokenizer(models.BPE())
    pairs.normalizer = normalizers.BertNormalizer(lowercase=True)
    pairs.pre_tokenizer = pre_tokenizers.Sequence([_words(), pre_tokenizers.Metaspace(split=True)])
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, min_frequency=2, limit_alphabet=1000)
    pairs.train_from_iterator(texts, trainer)
    pieces: dict[str, None] = dict.fromkeys(_SPECIAL)
    for piece, _ in sorted(pairs.get_vocab().items(), key=itemgetter(1)):
        start = piece.removeprefix(_START)
        if len(piece) == 1:  # a letter of the alphabet may begin a word or go on with it
            pieces[piece] = None
        pieces[start if start != piece else f"##{piece}"] = None
    pieces.pop("", None)
    model = models.WordPiece(
        {piece: i for i, piece in enumerate(pieces)}, unk_token=_UNKNOWN, max_input_chars_per_word=64
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = pairs.normalizer
    tokenizer.pre_tokenizer = _words()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(list(_SPECIAL))
    ids = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ids)
    return tokenizer


def learn_words(texts: Iterable[str], size: int) -> Tokenizer:
    """A lower-casing tokeniser of whole words, the `size` most frequent; all others are one unknown word."""
    tokenizer = Tokenizer(models.WordLevel(unk_token=_UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = _words()
    trainer = trainers.WordLevelTrainer(
        vocab_size=size, min_frequency=2, show_progress=False, special_tokens=list(_SPECIAL)
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _words() -> pre_tokenizers.PreTokenizer:
    """Words, handles and hashtags with their sign, and marks one by one."""
    return pre_tokenizers.Split(Regex(r"[@#]?[\w]+|[^\w\s]"), behavior="removed", invert=True)


#: So few texts, of 30 us each, are not shared out among the library's threads: on a busy machine it takes
#: longer until those are served.
_FEW: Final = 8


class Tokens:
    """Encodes batches of texts or foreign ids with one tokeniser.

    `source` is the vocabulary of incoming `text_tokens`, one WordPiece a line; empty where they are ids of
    this tokeniser itself.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int, source: Sequence[str] = ()) -> None:
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.source = tuple(source)
        self.size: int = tokenizer.get_vocab_size()
        self.pad: int = tokenizer.token_to_id("[PAD]") or 0

    def check(self, ids: Sequence[int]) -> str | None:
        """Why `text_tokens` can't be read, or None."""
        return out_of_vocabulary(ids, len(self.source) or self.size)

    def text_of(self, ids: Sequence[int]) -> str:
        """Foreign or own ids that passed `check` as text; WordPieces joined, special tokens left out."""
        if self.source:
            return join_pieces([self.source[i] for i in ids])
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def encode(self, texts: Sequence[str]) -> list[np.ndarray[tuple[int], np.dtype[np.int32]]]:
        """Token ids of cleaned texts, each int32 [1..max_tokens]."""
        cleaned = [clean(text) or "[UNK]" for text in texts]
        if len(cleaned) <= _FEW:
            encodings = list(map(self.tokenizer.encode, cleaned))
        else:
            encodings = self.tokenizer.encode_batch_fast(cleaned)
        return [np.array(e.ids or [self.pad], np.int32) for e in encodings]

    def pad_batch(
        self, rows: Sequence[np.ndarray[tuple[int], np.dtype[np.int32]]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows as ids int64 [n, longest] and mask bool [n, longest]."""
        width = max(len(row) for row in rows)
        ids = np.full((len(rows), width), self.pad, np.int64)
        mask = np.zeros((len(rows), width), np.bool_)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = True
        return torch.from_numpy(ids), torch.from_numpy(mask)


def out_of_vocabulary(ids: Sequence[int], entries: int) -> str | None:
    """Why ids can't be those of a vocabulary of so many entries, or None."""
    largest = max(ids)
    return f"token id {largest} is out of the vocabulary of {entries} entries" if largest >= entries else None


def join_pieces(pieces: Iterable[str]) -> str:
    """WordPieces as text, special tokens left out."""
    words: list[str] = []
    for piece in pieces:
        if piece.startswith("##") and words:
            words[-1] += piece[2:]
        elif piece not in _SPECIAL:
            words.append(piece)
    return " ".join(words)


def read_vocabulary(path: Path) -> list[str]:
    """A vocabulary file, one entry a line."""
    return path.read_text(encoding="utf-8").splitlines()
