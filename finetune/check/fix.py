"""What can be mended without a person's judgement, mended in a new version."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from assistant.engines.engine import Message
from assistant.prompt import neutralise
from finetune.check.finding import Finding, Row
from finetune.example import Example


@dataclass(frozen=True, slots=True)
class Mended:
    """The rows as they are after it."""

    sides: dict[str, list[Example]]
    counts: Counter[str]
    """`dropped` and `neutralised` rows; nothing where there was nothing to mend."""


def mend(rows: Sequence[Row], findings: Sequence[Finding]) -> Mended:
    """Leave out the rows of findings to `drop`, and break the control tokens of the others.

    What is dropped repeats another row, or is measured by and learnt from at once; then it is the
    learnt one that goes. Texts that are neutralised gain a space inside each control token, as they
    would on their way into a served prompt.
    """
    dropped = {s.row.where for f in findings if f.remedy == "drop" for s in f.spots}
    broken = {s.row.where for f in findings if f.remedy == "neutralise" for s in f.spots} - dropped
    sides: dict[str, list[Example]] = {row.side: [] for row in rows}
    for row in rows:
        if row.where in broken:
            sides[row.side].append(_neutralised(row.example))
        elif row.where not in dropped:
            sides[row.side].append(row.example)
    counts = Counter({"dropped": len(dropped), "neutralised": len(broken)})
    return Mended(sides, +counts)


def _neutralised(example: Example) -> Example:
    messages = tuple(
        m if m.role == "system" else Message(m.role, neutralise(m.content))
        for m in example.messages
    )
    return replace(example, messages=messages)
