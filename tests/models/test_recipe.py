from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from models.recipe import Bag, Recipe, RecipeError, Transformer


def load(path: Path, text: str) -> Recipe:
    (path / "recipe.toml").write_text(text)
    return Recipe.load(path / "recipe.toml")


def test_what_is_not_said_is_the_default(tmp_path: Path) -> None:
    assert load(tmp_path, "") == Recipe()
    found = load(tmp_path, '[model.text]\ntype = "transformer"\nsource = "x"\n[training]\nseed = 3\n')
    assert found.model.text == Transformer(source="x")
    assert found.training.seed == 3
    assert found.model.tweet == Recipe().model.tweet


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[training]\nsped = 1", "sped"),
        ("[model.text]\ntype = 'bog'", "bog"),
        ("[training]\nepochs = 0", "epochs"),
        ("[training]\nepochs = 'many'", "epochs"),
        ("[training", "recipe"),
        ("[model.user]\ntype = 'attention'\nheads = 3", "heads = 3 does not divide tweet.dimensions = 64"),
        ("[model.tweet]\nauthor_buckets = 1", "author_buckets"),
        ("[model.text]\ntype = 'transformer'\nwidth = 100", "width"),
        ("[training]\nseed = 4294967296", "seed"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_every_number_has_two_ends() -> None:
    """So that none is infinite or not a number, which a bundle's JSON could not hold."""

    def numbers(node: object) -> list[dict[str, Any]]:
        if isinstance(node, list):
            return [found for each in node for found in numbers(each)]
        if not isinstance(node, dict):
            return []
        mine = [node] if node.get("type") in ("number", "integer") else []
        return mine + [found for each in node.values() for found in numbers(each)]

    found = numbers(msgspec.json.schema(Recipe))
    assert len(found) > 40
    low, high = {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}
    assert [one for one in found if not (low & one.keys() and high & one.keys())] == []


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
@pytest.mark.parametrize("key", ["learning_rate", "weight_decay", "other_heads", "checkpoint_minutes"])
def test_what_is_no_number_is_refused(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(RecipeError, match=key):
        load(tmp_path, f"[training]\n{key} = {value}")


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.toml"):
        Recipe.load(tmp_path / "none.toml")


def test_it_survives_json() -> None:
    recipe = Recipe(model=msgspec.structs.replace(Recipe().model, text=Bag(width=7)))
    assert msgspec.json.decode(msgspec.json.encode(recipe), type=Recipe) == recipe


def test_every_field_is_described() -> None:
    schema = msgspec.json.schema(Recipe)

    def leaves(node: Any) -> list[str]:
        bare = []
        for name, value in node.get("properties", {}).items():
            whole = "$ref" in value or "description" in value
            bare += [] if whole or name == "type" else [name]
        return bare

    assert {name: leaves(node) for name, node in schema["$defs"].items() if leaves(node)} == {}
