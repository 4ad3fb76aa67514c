from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from models.recipe import Cnn, Lstm, ModelConfig, RecipeError, TextConfig
from models.text.prepare import prepare_text
from models.text.tokens import Tokens, learn_words

TEXTS = ["Vote on the #Budget today, @RepFoo!", "a VOTE of thanks on the #budget", "once"] * 2


def test_handles_and_hashtags_are_words() -> None:
    tokenizer = learn_words(TEXTS, 100)
    assert tokenizer.encode("the #budget: by @repfoo").tokens == [
        "the",
        "#budget",
        "[UNK]",
        "[UNK]",
        "@repfoo",
    ]
    assert tokenizer.token_to_id("[PAD]") == 0


def test_only_the_most_frequent_words_are_known() -> None:
    tokenizer = learn_words(["common common rare", "common rare", "once"], 7)  # five are special
    assert set(tokenizer.get_vocab()) == {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "common", "rare"}
    assert learn_words(["common rare once", "common rare"], 6).get_vocab_size() == 6


def test_the_same_texts_give_the_same_words() -> None:
    assert learn_words(TEXTS, 20).to_str() == learn_words(TEXTS, 20).to_str()


def test_words_survive_a_file(tmp_path: Path) -> None:
    tokenizer = learn_words(TEXTS, 100)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    again = Tokens(Tokenizer.from_file(str(tmp_path / "tokenizer.json")), 80)
    (row,) = again.encode(["Vote on the #budget"])
    assert row.tolist() == tokenizer.encode("vote on the #budget").ids
    assert again.text_of(row.tolist()) == "vote on the #budget"


@pytest.mark.parametrize("config", [Lstm(), Cnn()], ids=["lstm", "cnn"])
def test_foreign_ids_are_words_again(config: TextConfig, tmp_path: Path) -> None:
    """`text_tokens` of another vocabulary are decoded, their pieces joined, and encoded as words."""
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nvote\nto\n##mor\n##row\n#")
    model = ModelConfig(text=config, source_vocabulary=str(tmp_path / "vocab.txt"))
    ids = [2, 4, 5, 6, 7, 3]
    tokens = prepare_text(model, [ids, ids], seed=0).tokens
    assert {"vote", "tomorrow"} <= set(tokens.tokenizer.get_vocab())
    (row,) = tokens.encode([tokens.text_of(ids)])
    assert [tokens.tokenizer.id_to_token(int(i)) for i in row] == ["vote", "tomorrow"]
    with pytest.raises(RecipeError, match="source_vocabulary"):
        prepare_text(ModelConfig(text=config), [ids], seed=0)


@pytest.mark.parametrize("config", [Lstm(embedding=4), Cnn(embedding=4)], ids=["lstm", "cnn"])
def test_words_begin_where_they_co_occur(config: TextConfig) -> None:
    texts: list[str | list[int]] = ["senate budget vote", "budget vote", "goal match", "match goal team"] * 3
    prepared = prepare_text(ModelConfig(text=config), texts, seed=0)
    table = prepared.weights["embedding.weight"]
    assert float(table[table.any(1)].pow(2).mean()) == pytest.approx(1.0, rel=1e-3)

    def like(first: str, second: str) -> float:
        a, b = (table[prepared.tokens.tokenizer.token_to_id(word)] for word in (first, second))
        return float(torch.cosine_similarity(a, b, dim=0))

    assert like("budget", "vote") > 0.9 > 0.5 > like("budget", "match")
    alone = prepare_text(ModelConfig(text=config), ["a single text"], seed=0)
    assert not alone.weights["embedding.weight"].any()
