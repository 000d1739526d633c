"""The recipes that are shipped, and what a wrong one is answered with."""

from pathlib import Path

import pytest
import yaml

from finetune.command import SHIPPED, shipped_recipes
from finetune.journal import trackers
from finetune.recipe import TrainRecipe, load_recipe
from ingest.errors import ConfigError, MissingExtraError

RECIPES = sorted(SHIPPED.glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_loads_and_says_whether_it_was_tried(
    path: Path, tmp_path: Path
) -> None:
    (tmp_path / "tickets.jsonl").touch()
    text = path.read_text(encoding="utf-8")
    copy = tmp_path / path.name
    copy.write_text(text, encoding="utf-8")
    recipe = load_recipe(copy)
    assert recipe.train.window <= recipe.train.micro_batch_tokens <= recipe.train.batch_tokens
    needs_gpu = bool(recipe.base)
    assert ("Untested on a GPU" in text) == needs_gpu
    assert str(path) in shipped_recipes()


def test_the_launch_file_shards_the_layers_of_a_llama() -> None:
    launch = yaml.safe_load((SHIPPED / "fsdp-70b.yaml").read_text(encoding="utf-8"))
    assert launch["distributed_type"] == "FSDP"
    assert launch["fsdp_config"]["fsdp_transformer_layer_cls_to_wrap"] == "LlamaDecoderLayer"


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ('method = "dora"', r"DoRA cannot be exported.*GGUF LoRA has no place"),
        ('method = "qlora"', r"'lora' with quantisation = 'nf4'"),
        ('method = "full"', r"set quantisation 'none'"),
        ("pacience = 2", r"unknown key 'train.pacience'; did you mean 'patience'\?"),
        ("rank = 0", r"train.rank = 0"),
        ('tracking = ["wandb"]', r"train.tracking"),
    ],
)
def test_a_wrong_recipe_is_answered_with_the_reason(line: str, answer: str, tmp_path: Path) -> None:
    (tmp_path / "tickets.jsonl").touch()
    path = tmp_path / "recipe.toml"
    path.write_text(f'name = "x"\n[data]\ntickets = "tickets.jsonl"\n[train]\n{line}\n')
    with pytest.raises(ConfigError, match=answer):
        load_recipe(path)


def test_a_tracker_that_is_named_has_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert "mlflow" not in trackers(TrainRecipe())
    assert trackers(TrainRecipe(tracking=())) == []
    with pytest.raises(MissingExtraError, match=r"mlflow, which is not installed"):
        trackers(TrainRecipe(tracking=("mlflow",)))
