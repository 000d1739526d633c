"""What an evaluation compares: a TOML file with questions and arms."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from assistant.answer import MODES, Mode
from assistant.config import Settings, explain, read_toml
from assistant.prompt import Passage, Turn
from ingest.errors import ConfigError, DataError

TUNED: tuple[Mode, ...] = ("finetuned", "combined")
RETRIEVING: tuple[Mode, ...] = ("rag", "combined")
PATHS = ("questions", "terms")


class Section(BaseModel):
    """A part of a recipe: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Arm(Section):
    """One way to answer, compared with the others on the same questions."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")
    mode: Literal["base", "rag", "finetuned", "combined"]
    constrain: bool = False
    """Decode under the JSON schema, so that the format cannot be wrong."""
    examples: Path | None = None
    """A JSONL file of worked examples, shown as earlier turns."""
    shots: int = Field(default=0, ge=0, le=20)
    """Worked examples drawn from what the adapter was trained on, where there is no file."""
    top_k: int | None = Field(default=None, ge=1, le=50)
    """Passages shown; none takes the configured number."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Longest answer in tokens; none takes the recipe's."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """0 is greedy; none takes the recipe's."""
    adapter: str | None = None
    """`name` or `name:version`, for a tuned arm; none takes the recipe's."""
    system: str | None = None
    """Another system text; none takes the configured one, which every other arm has."""
    engine: dict[str, Any] = {}
    """Keys of `[engine]` in groundtune.toml that are different for this arm: another model, or
    another server."""
    retrieval: dict[str, Any] = {}
    """Keys of `[retrieval]` that are different for this arm."""

    @model_validator(mode="after")
    def _sensible(self) -> "Arm":
        if self.adapter is not None and not self.tuned:
            raise ValueError(f"mode {self.mode!r} takes no adapter; use 'finetuned' or 'combined'")
        if (self.retrieval or self.top_k is not None) and not self.retrieves:
            raise ValueError(f"mode {self.mode!r} retrieves nothing; use 'rag' or 'combined'")
        if self.shots and self.examples is not None:
            raise ValueError("`shots` draws worked examples and `examples` names them: set one")
        return self

    def settings(self, configured: Settings) -> Settings:
        """Return the settings that this arm answers by.

        Raises:
            ConfigError: a key or value of `engine` or `retrieval` is wrong; names all of them.
        """
        changed = {
            "engine": configured.engine.model_dump() | self.engine,
            "retrieval": configured.retrieval.model_dump() | self.retrieval,
        }
        if self.system is not None:
            changed["answer"] = configured.answer.model_dump() | {"system": self.system}
            changed["voices"] = {}
        try:
            settings = Settings.model_validate(configured.model_dump() | changed)
        except ValidationError as error:
            raise ConfigError(explain(error, Settings, f"arm {self.name!r}")) from None
        key = {"api_key": configured.engine.api_key}  # never dumped, so it is carried over
        return settings.model_copy(update={"engine": settings.engine.model_copy(update=key)})

    @property
    def tuned(self) -> bool:
        """Whether an adapter answers."""
        return self.mode in TUNED

    @property
    def retrieves(self) -> bool:
        """Whether passages are shown."""
        return self.mode in RETRIEVING

    @property
    def plain(self) -> bool:
        """Whether nothing but the mode sets this arm apart: one of the four of the 2x2."""
        special = (self.examples, self.adapter, self.system, self.temperature, self.top_k)
        return not (self.constrain or self.shots or self.engine or self.retrieval) and not any(
            value is not None for value in special
        )


class Price(Section):
    """What a language model costs."""

    model: str = ""
    """The model as answers name it, such as `[engine] model`; empty is every other model."""
    prompt: float = Field(default=0.0, ge=0)
    """Of a million prompt tokens."""
    completion: float = Field(default=0.0, ge=0)
    """Of a million answer tokens."""
    hour: float = Field(default=0.0, ge=0)
    """Of an hour in which one answer after the other is made: the machine, or its energy."""


JudgedMetric = Literal[
    "faithfulness",
    "factual_correctness",
    "context_precision",
    "context_recall",
    "answer_relevancy",
    "noise_sensitivity",
    "rubric",
]


class JudgeSettings(Section):
    """A language model that scores answers, through ragas."""

    engine: dict[str, Any] = {}
    """Keys of `[engine]` that are different for the judge; a judge should be stronger than what it
    judges."""
    metrics: tuple[JudgedMetric, ...] = ("faithfulness", "factual_correctness")
    rubric: dict[str, str] = {}
    """For the metric `rubric`: `score1_description` to `score5_description`."""
    max_tokens: int = Field(default=1024, ge=16)
    """Longest output of the judge, in tokens."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    floor: float = Field(default=0.8, ge=0, le=1)
    """A metric is compared only where every arm has at least this share of its scores."""
    repeat_share: float = Field(default=0.1, ge=0, le=1)
    """Judgements that are made twice, to state the judge's own noise."""
    agreement: Path | None = None
    """JSONL of human labels, `{"question_id", "arm", "metric", "label": true or false}`."""

    @model_validator(mode="after")
    def _has_rubric(self) -> "JudgeSettings":
        if "rubric" in self.metrics and not self.rubric:
            raise ValueError("the metric 'rubric' needs [judge.rubric] score1_description to 5")
        return self


STANDARD: tuple[Arm, ...] = (
    *(Arm(name=mode, mode=mode) for mode in MODES),
    Arm(name="rag_examples", mode="rag", shots=3),
    Arm(name="rag_schema", mode="rag", constrain=True),
)
"""The 2x2, and the two rivals that need no training: worked examples, and a schema."""


class Recipe(Section):
    """One evaluation."""

    questions: Path
    """JSONL, one question a line."""
    collection: str = "default"
    limit: int | None = Field(default=None, ge=1)
    """Questions drawn, each kind in its share; none takes all."""
    seed: int = 0
    """Of the draw and of the resampling."""
    adapter: str | None = None
    """`name` or `name:version` for the tuned arms; none takes the default one."""
    leaks: Literal["refuse", "leave-out"] = "refuse"
    """What becomes of questions that are near-duplicates of an adapter's training rows: the run is
    refused, or they are left out and the report says so."""
    terms: Path | None = None
    """TOML with `[[term]]` tables (`prefer`, `avoid`): the house vocabulary."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Longest answer in tokens; none takes the configured length."""
    parallel: int = Field(default=2, ge=1, le=64)
    """Questions that are answered at the same time."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    """0 is greedy, and the same question gets the same answer."""
    repeat: int = Field(default=1, ge=1, le=100)
    """Answers to each question by each arm with a temperature above 0; scores are averaged."""
    resamples: int = Field(default=9999, ge=99)
    """Of the bootstrap."""
    judge: JudgeSettings | None = None
    """None judges nothing: every other metric needs no judge."""
    price: tuple[Price, ...] = ()
    """What an answer costs, by model; without it, cost is tokens and time."""
    arm: tuple[Arm, ...] = Field(default=STANDARD, min_length=1)

    @model_validator(mode="after")
    def _unique(self) -> "Recipe":
        names = [arm.name for arm in self.arm]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise ValueError(f"two arms are called {', '.join(double)}; names must differ")
        return self

    @property
    def standard(self) -> bool:
        """Whether the recipe names no arms: what cannot be carried out is left out then."""
        return "arm" not in self.model_fields_set

    def only(self, names: Sequence[str]) -> "Recipe":
        """Return the recipe with these arms alone, in the recipe's order.

        Raises:
            ConfigError: there is no arm of that name.
        """
        known = [arm.name for arm in self.arm]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ConfigError(
                f"No arm called {', '.join(map(repr, unknown))}. There are: {', '.join(known)}."
            )
        return self.model_copy(update={"arm": tuple(a for a in self.arm if a.name in names)})


def by_mode(arms: Sequence[Arm]) -> dict[Mode, Arm]:
    """Return those of the four plain arms of the 2x2 that `arms` holds."""
    found: dict[Mode, Arm] = {}
    for arm in arms:
        if arm.plain:
            found.setdefault(arm.mode, arm)
    return found


def read_recipe(path: Path) -> Recipe:
    """Read a recipe; paths in it are taken from its own folder.

    Raises:
        ConfigError: no such file, not TOML, or a wrong key or value; names all of them.
    """
    values = read_toml(path)
    _anchor(values, PATHS, path.parent)
    for arm in values.get("arm", ()):
        if isinstance(arm, dict):
            _anchor(arm, ("examples",), path.parent)
    if isinstance(values.get("judge"), dict):
        _anchor(values["judge"], ("agreement",), path.parent)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, Recipe, str(path))) from None


def read_examples(path: Path) -> tuple[Turn, ...]:
    """Read worked examples: `{"question", "answer": text or object, "passages": [{label, text}]}`.

    Raises:
        DataError: no such file, or bad lines; names all of them.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(f"The worked examples at {path} cannot be read: {why}.") from None
    turns, problems = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            turns.append(_turn(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            problems.append(f"{path}:{number}: not a worked example: {error!r}")
    if problems:
        raise DataError("\n".join(problems))
    return tuple(turns)


def read_avoided(path: Path) -> tuple[str, ...]:
    """Return every wording that the house vocabulary avoids, sorted.

    Raises:
        ConfigError: not a table of terms.
    """
    terms = read_toml(path).get("term", [])
    try:
        return tuple(sorted({str(word) for term in terms for word in term["avoid"]}))
    except (KeyError, TypeError):
        raise ConfigError(
            f"{path}: each [[term]] needs `prefer` and a list `avoid`.",
        ) from None


def _turn(row: Any) -> Turn:
    answer = row["answer"]
    text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
    passages = tuple(Passage(str(p["label"]), str(p["text"])) for p in row.get("passages", ()))
    return Turn(str(row["question"]), text, passages)


def _anchor(values: dict[str, Any], keys: Sequence[str], folder: Path) -> None:
    for key in keys:
        if isinstance(values.get(key), str):
            values[key] = folder / values[key]
