from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.text.cache import TextCache
from models.text.tokens import Tokens, clean, join_pieces, learn_wordpiece

TEXTS = [
    "Vote on the #budget today, @RepFoo! https://t.co/abc",
    "A vote of thanks &amp; praise",
    "tänk på det",
] * 5


def test_links_and_entities_are_cleaned_away() -> None:
    assert clean("Read this &amp; that: https://t.co/x1  now") == "Read this & that: now"


def test_the_same_texts_give_the_same_tokeniser() -> None:
    assert learn_wordpiece(TEXTS, 100).to_str() == learn_wordpiece(TEXTS, 100).to_str()


def test_frequent_handles_and_hashtags_are_words() -> None:
    tokens = learn_wordpiece(TEXTS, 300).encode("the #budget by @repfoo").tokens
    assert tokens[0] == "[CLS]"
    assert tokens[-1] == "[SEP]"
    assert {"#budget", "@repfoo"} <= set(tokens)


@given(st.text(max_size=60))
def test_any_text_has_tokens_within_the_vocabulary(text: str) -> None:
    tokens = Tokens(learn_wordpiece(TEXTS, 60), 16)
    (row,) = tokens.encode([text])
    assert 1 <= len(row) <= 16
    assert row.max() < tokens.size


def test_pieces_become_text() -> None:
    assert join_pieces(["[CLS]", "to", "##mor", "##row", "[UNK]", "!", "[SEP]"]) == "tomorrow !"


class Encoder:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, texts: list[str]) -> NDArray[np.float16]:
        self.seen += texts
        return np.array([[len(text), ord(text[0])] for text in texts], np.float16)


def fill(cache: TextCache, encode: Encoder, batches: Sequence[Sequence[str]]) -> int:
    return list(cache.fill(batches, encode))[-1]


def test_a_text_is_encoded_once(tmp_path: Path) -> None:
    encode = Encoder()
    cache = TextCache(tmp_path, "f", 2)
    assert fill(cache, encode, [["a", "bb"], ["bb", "ccc"]]) == 4
    again = TextCache(tmp_path, "f", 2)
    fill(again, encode, [["ccc", "d"]])
    assert encode.seen == ["a", "bb", "ccc", "d"]
    found = again.vectors()[again.rows(["d", "bb"])]
    assert found.tolist() == [[1, ord("d")], [2, ord("b")]]
    assert again.rows(["never"]).tolist() == [-1]
    assert TextCache(tmp_path, "other", 2).rows(["a"]).tolist() == [-1]


@pytest.mark.parametrize("name", ["keys.bin", "vectors.bin"])
def test_a_torn_write_is_forgotten(tmp_path: Path, name: str) -> None:
    encode = Encoder()
    fill(TextCache(tmp_path, "f", 2), encode, [["a", "bb", "ccc"]])
    file = tmp_path / "f-2" / name
    file.write_bytes(file.read_bytes()[:-1])
    cache = TextCache(tmp_path, "f", 2)
    assert cache.rows(["a", "bb", "ccc"]).tolist() == [0, 1, -1]
    fill(cache, encode, [["a", "ccc"]])
    assert cache.vectors()[cache.rows(["ccc"])].tolist() == [[3, ord("c")]]
