"""A source of training rows: what a recipe says of it, and what comes out of it."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from assistant.config import Section
from assistant.engines.engine import Engine
from finetune.example import Example
from ingest.document import Chunk


class SourceRecipe(Section):
    """Where rows come from: one `[[source]]` of a recipe."""

    kind: Literal["auto", "chat", "table", "documents", "feedback"] = "auto"
    """`chat` reads logs (OpenAI, ShareGPT or Alpaca), `table` tickets or questions with answers,
    `documents` has a model write questions about the indexed documents, `feedback` takes what
    people said about answers. `auto` tells chat and table apart by the content of the file."""
    path: Path | None = None
    """The file of a chat log or a table: JSONL, JSON, CSV or TSV; from the recipe's folder."""
    name: str = ""
    """Leads the source of each of its rows; empty takes the file's name without its ending."""
    columns: dict[str, str] = {}
    """Of a table: what its columns are called, by `id`, `question`, `answer`, `documents`, `facts`
    and `tags`; those left out are looked for under their usual names."""
    tags: tuple[str, ...] = ()
    """Put on each of its rows."""
    evidence: bool = True
    """Of a table: show the passages that search returns for each question; false shows none."""
    schema_file: Path | None = None
    """A JSON schema that its answers must meet; from the recipe's folder."""
    engine: dict[str, Any] = {}
    """Of documents: keys of `[engine]` that name the model that writes; empty takes the one that
    serves. A stronger one writes better questions."""
    per_passage: int = Field(default=1, ge=1, le=10)
    """Of documents: questions asked for about each passage."""
    passages: int = Field(default=0, ge=0)
    """Of documents: most passages that are asked about, drawn at random; 0 takes all."""
    min_support: float = Field(default=0.6, ge=0, le=1)
    """Of documents: share of an answer's telling words that its passage must hold, 0 to 1."""

    @property
    def title(self) -> str:
        """What its rows are called after."""
        if self.name:
            return self.name
        return self.kind if self.path is None else self.path.stem


@dataclass(slots=True)
class Harvest:
    """What came out of a source."""

    examples: list[Example] = field(default_factory=list)
    review: list[dict[str, Any]] = field(default_factory=list)
    """What a person has to look at before it can be learnt from."""
    counts: Counter[str] = field(default_factory=Counter)
    """What was taken, replaced and dropped, and why."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What a workspace offers to sources besides files; nothing is loaded before it is called."""

    chunks: Callable[[], Iterator[Chunk]]
    """Every passage of the collection."""
    opinions: Callable[[], list[dict[str, Any]]]
    """What was said about answers in the collection, as `Feedback.list` gives it."""
    engine: Callable[[Mapping[str, Any]], AbstractContextManager[Engine]]
    """The language model that some keys of `[engine]` name."""
    cache: Path
    """A folder for replies that are paid for once."""
