"""A finding about a data set: what is wrong, how bad it is, and where."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from finetune.answer_format import AnswerFormat
from finetune.example import Example

Level = Literal["error", "warning", "note"]
"""An error stops a training run; a warning does not; a note says what is there."""
Remedy = Literal["", "drop", "neutralise"]
"""What `--fix` does with the rows of a finding: nothing, leaves them out, or breaks the control
tokens in them."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row, and where it stands."""

    side: str
    """`rows`, `train`, `validation` or `test`."""
    file: str
    line: int
    """Counted from 1."""
    example: Example

    @property
    def where(self) -> str:
        """`file:line`."""
        return f"{self.file}:{self.line}"


class Spot(NamedTuple):
    """A row that a finding is about."""

    row: Row
    reason: str = ""
    """What is wrong with this one; the other row where two are alike."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    level: Level
    message: str
    spots: tuple[Spot, ...] = ()
    remedy: Remedy = ""
    advice: str = ""
    """What to do about it."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {
            "check": self.check,
            "level": self.level,
            "message": self.message,
            "advice": self.advice,
            "fix": self.remedy,
            "rows": [
                {
                    "file": spot.row.file,
                    "line": spot.row.line,
                    "source": spot.row.example.source,
                    "reason": spot.reason,
                }
                for spot in self.spots
            ],
        }


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked, and what it is held against."""

    rows: Sequence[Row]
    answers: AnswerFormat
    """The declared format of answers."""
    lengths: Callable[[Sequence[Example]], Sequence[int]] | None = None
    """Tokens of each row, prompt and answer, as the base model counts them; None counts none."""
    window: int = 1024
    """Longest row, in tokens, that is trained on."""
    use: Literal["style", "knowledge"] = "style"
    """What the rows are to teach."""
    questions: Mapping[str, str] = field(default_factory=dict)
    """Evaluation questions, by id."""
    passages: Callable[[], Iterable[str]] | None = None
    """The texts of the index; None where there is none."""
    control_tokens: Sequence[str] = ()
    """Tokens of the base model that end or open a turn, besides the common ones."""

    def side(self, name: str) -> list[Row]:
        """Return the rows of one side."""
        return [row for row in self.rows if row.side == name]

    @property
    def learnt(self) -> list[Row]:
        """The rows that are trained on: those of `train`, or all where nothing is divided."""
        return self.side("train") or self.side("rows")


def read_rows(files: Mapping[str, Path], sides: Mapping[str, Sequence[Example]]) -> list[Row]:
    """Return the rows of every side with their places: one row a line."""
    return [
        Row(side, files[side].name, number, example)
        for side, examples in sides.items()
        for number, example in enumerate(examples, start=1)
    ]
