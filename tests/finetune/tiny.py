"""A model of a few thousand weights, its tokenizer and a data set: a whole run in a second."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from finetune.dataset import Dataset
from finetune.recipe import DataRecipe, Recipe, TrainRecipe
from finetune.tuning import Base, Plan, plan

TEMPLATE = (
    "{% for m in messages %}<s> {{ m.role }} {{ m.content }} </s> {% endfor %}"
    "{% if add_generation_prompt %}<s> assistant {% endif %}"
)
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
ROLES = ["system", "user", "assistant"]
WORDS = [f"w{n}" for n in range(57)]
OPTIONS: dict[str, Any] = {
    "rank": 4,
    "learning_rate": 2e-2,
    "warmup": 0,
    "dropout": 0.1,
    "epochs": 99,
    "max_steps": 12,
    "batch_tokens": 60,
    "micro_batch_tokens": 40,
    "quantisation": "none",
    "validations": 5,
    "validation_rows": 4,
    "samples": 1,
    "sample_tokens": 4,
    "checkpoint_steps": 3,
    "tracking": (),
}


def config(**changes: Any) -> LlamaConfig:
    values = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "initializer_range": 0.3,
    }
    return LlamaConfig(**{**values, **changes})


def save_model(folder: Path, **changes: Any) -> Path:
    """Write the model as the transformers folder that training reads."""
    torch.manual_seed(0)
    LlamaForCausalLM(config(**changes)).save_pretrained(folder)
    vocabulary = {word: n for n, word in enumerate([*SPECIAL, *ROLES, *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def save_dataset(folder: Path, rows: int = 16) -> Dataset:
    """Write rows whose answer is in their question."""
    folder.mkdir(parents=True)
    lines = []
    for n in range(rows):
        words = [WORDS[(7 * n + i) % len(WORDS)] for i in range(3 + n % 5)]
        turns = [("system", "w1 w2"), ("user", " ".join(words)), ("assistant", words[0])]
        messages = [{"role": role, "content": content} for role, content in turns]
        lines.append(json.dumps({"messages": messages, "source": f"t{n}"}) + "\n")
    (folder / "train.jsonl").write_text("".join(lines[4:]), encoding="utf-8")
    (folder / "validation.jsonl").write_text("".join(lines[:4]), encoding="utf-8")
    manifest = {"name": folder.name, "sha256": "d" * 64}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return Dataset(folder, manifest)


def tiny_plan(home: Path, **train: Any) -> Plan:
    """Return a run that is ready to start, with its files below `home`."""
    if not (home / "model").exists():
        save_model(home / "model")
        save_dataset(home / "datasets" / "house-1")
    manifest = json.loads((home / "datasets" / "house-1" / "manifest.json").read_text())
    recipe = Recipe(
        name="house",
        data=DataRecipe(tickets=Path("tickets.jsonl")),
        weights=f"file:{home / 'model'}",
        train=TrainRecipe(**{**OPTIONS, **train}),
    )
    base = Base("file:base.gguf", home / "base.gguf", "b" * 64, "p")
    return plan(recipe, Dataset(home / "datasets" / "house-1", manifest), base)
