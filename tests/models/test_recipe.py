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
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)


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
