"""A fine-tuning recipe: one TOML file says which data, which training and which name."""

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from assistant.adapter import NAME
from assistant.config import Section, explain, read_toml
from finetune.sources.source import SourceRecipe
from ingest.errors import ConfigError

FILES = ("tickets", "questions", "path", "schema_file")
"""Keys that name a file."""

T = TypeVar("T", bound=Section)


class DataRecipe(Section):
    """How tickets become training rows."""

    tickets: Path | None = None
    """Answered tickets, JSONL; taken from the recipe's folder when relative. `[[source]]` tables or
    `dataset` stand in its place."""
    dataset: str = ""
    """A data set that is there already: its name, or the path of its folder."""
    questions: Path | None = None
    """Evaluation questions, JSONL, that no training row may repeat; from the recipe's folder."""
    collection: str = "default"
    """The collection whose documents give the evidence."""
    citations_key: str = "sources"
    """Key of a ticket's answer that lists document paths; in a row it lists passage numbers."""
    without_evidence: float = Field(default=0.15, ge=0, le=1)
    """Share of the rows that show no passages, 0 to 1; they teach the style alone. They are made of
    tickets that get no other row first, then of those that have one."""
    insufficient: float = Field(default=0.1, ge=0, lt=1)
    """Share, 0 to 1, of the answerable rows with passages whose passages lack the answer; they
    teach refusal."""
    refusals: float = Field(default=1, ge=0, le=1)
    """Share, 0 to 1, of the tickets that nobody could answer that become rows."""
    heldout_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the tickets kept for validation, 0 to 1; whole documents, never parts of one."""
    max_rows: int = Field(default=0, ge=0)
    """Most training rows; 0 takes all."""
    seed: int = 0
    """Decides the split and every share."""


class TrainRecipe(Section):
    """How the adapter is trained."""

    method: Literal["lora", "rslora", "full"] = "lora"
    """`lora`, or `rslora`, whose scale is alpha / sqrt(rank); with `quantisation = "nf4"` they are
    QLoRA. `full` trains all weights, for comparison, and makes a model instead of an adapter."""
    rank: int = Field(default=16, ge=1, le=256)
    """Rank of the low-rank matrices."""
    alpha: float = Field(default=32, gt=0)
    """LoRA scale: the update is multiplied by alpha / rank."""
    dropout: float = Field(default=0, ge=0, lt=1)
    """Dropout before each low-rank matrix, 0 to 1."""
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Names of the layers that get an adapter; `all-linear` takes every one but the output head."""
    assistant_only: bool = True
    """Whether the answers alone are learnt; false learns the prompts as well."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Peak of the schedule."""
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    """How the learning rate runs out after the warm-up."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps over which the learning rate rises, 0 to 1."""
    weight_decay: float = Field(default=0, ge=0)
    """Decoupled weight decay of AdamW."""
    epochs: float = Field(default=1, gt=0)
    """Passes over the training rows; a fraction stops early."""
    max_steps: int = Field(default=0, ge=0)
    """Most optimizer steps, whatever `epochs` says; 0 sets no limit."""
    batch_tokens: int = Field(default=2048, ge=1)
    """Tokens of one optimizer step; it holds at least one row."""
    micro_batch_tokens: int = Field(default=1024, ge=1)
    """Tokens that pass through the model together; bounds the memory."""
    window: int = Field(default=1024, ge=32)
    """Longest row, in tokens; longer rows are left out and counted."""
    quantisation: Literal["nf4", "none"] = "nf4"
    """`nf4` rounds the frozen weights to 4 bits (QLoRA); `none` leaves them as they are."""
    double_quantisation: bool = True
    """With `nf4`: round the scales of the blocks as well, to 8 bits."""
    gradient_checkpointing: bool = False
    """Keep one activation a layer and compute the rest again: less memory, a third more time."""
    compute: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the frozen weights and of what passes through them; the adapter is always float32.
    `auto` takes bfloat16 on a GPU and on a processor with instructions for it."""
    validations: int = Field(default=4, ge=1)
    """Times that the validation loss is measured, the start and the end included if above 1."""
    validation_rows: int = Field(default=24, ge=1)
    """Rows that the validation loss is measured on."""
    patience: int = Field(default=0, ge=0)
    """Measurements without a lower validation loss after which the run ends early; 0 never does."""
    keep_best: bool = True
    """Keep the weights with the lowest validation loss that was measured, not the last ones."""
    samples: int = Field(default=2, ge=0, le=20)
    """Validation prompts that are answered, greedily, whenever the validation loss is measured."""
    sample_tokens: int = Field(default=48, ge=1)
    """Longest such answer, in tokens."""
    checkpoint_steps: int = Field(default=25, ge=1)
    """Steps between checkpoints, from which `--resume` goes on."""
    tracking: Literal["installed"] | tuple[Literal["tensorboard", "mlflow"], ...] = "installed"
    """Trackers that get the losses besides metrics.jsonl; `installed` takes those that are there,
    `[]` none."""
    seed: int = 0
    """Decides the order of the rows, the first weights of the adapter, and dropout."""

    @field_validator("method", mode="before")
    @classmethod
    def _known(cls, method: Any) -> Any:
        if method == "dora":
            raise ValueError(
                "DoRA cannot be exported: a GGUF LoRA has no place for its magnitudes, so it could "
                "never be served as it was trained. Take 'lora' or 'rslora'"
            )
        if method == "qlora":
            raise ValueError("QLoRA is method = 'lora' with quantisation = 'nf4'")
        return method

    @model_validator(mode="after")
    def _trainable(self) -> "TrainRecipe":
        if self.method == "full" and self.quantisation != "none":
            raise ValueError("method 'full' trains the weights themselves: set quantisation 'none'")
        return self


class Recipe(Section):
    """The whole recipe."""

    name: str = Field(pattern=NAME.pattern)
    """Name of the adapter and of its data set: lower-case letters, digits, '.', '_', '-'."""
    base: str = ""
    """The base model, named as `engine.model`; empty is the assistant's own."""
    weights: str = ""
    """What training reads, where it is not to unpack the base's GGUF file: a transformers folder
    of the same model, `file:folder` or `hf:org/repo`."""
    data: DataRecipe = DataRecipe()
    source: tuple[SourceRecipe, ...] = ()
    """Where the rows come from, if not from `data.tickets`."""
    train: TrainRecipe = TrainRecipe()

    def dump(self) -> dict[str, Any]:
        """Return every resolved value as JSON types; files by their names alone."""
        values = self.model_dump(mode="json")
        for section in (values["data"], *values["source"]):
            for key in FILES:
                if section.get(key):
                    section[key] = Path(section[key]).name
        return values


def load_recipe(path: Path) -> Recipe:
    """Read a recipe. Relative paths in it are taken from its folder.

    Raises:
        ConfigError: no such file, not TOML, wrong keys or values, or not one place that rows come
            from; names all of them.
    """
    values = read_toml(path)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, Recipe, str(path))) from None
    places = [recipe.data.tickets is not None, bool(recipe.data.dataset), bool(recipe.source)]
    if sum(places) != 1:
        raise ConfigError(
            f"{path}: rows come from data.tickets, from data.dataset or from [[source]] tables; "
            f"given are {sum(places)} of the three.",
            hint='For example: [data] tickets = "tickets.jsonl"',
        )
    sources = [_anchored(s, path, f"source[{n}]") for n, s in enumerate(recipe.source)]
    data = _anchored(recipe.data, path, "data")
    return recipe.model_copy(update={"data": data, "source": tuple(sources)})


def _anchored(section: T, recipe: Path, name: str) -> T:
    """Return a section whose files are taken from the folder of the recipe, and are there.

    Raises:
        ConfigError: a file is not there.
    """
    files = {key: getattr(section, key) for key in FILES if getattr(section, key, None)}
    for key, file in files.items():
        if not (recipe.parent / file).is_file():
            raise ConfigError(
                f"{recipe}: {name}.{key} = {str(file)!r}: there is no file {recipe.parent / file}.",
                hint="Give the path from the folder of the recipe.",
            )
    return section.model_copy(update={key: recipe.parent / file for key, file in files.items()})
