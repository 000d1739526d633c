"""`groundtune eval choice NAME=QUESTIONS.jsonl ...`: does a question find its adapter?"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from assistant.workspace import Workspace
from eval.statistics import Estimate, estimate
from ingest.errors import DataError, UsageError

NONE = "none"
"""Stands for no adapter: the name of questions that none of them is for."""


@dataclass(frozen=True, slots=True)
class Case:
    """A question, and whom it is for."""

    id: str
    question: str
    expected: str
    """Name of an adapter, or `none`."""
    cluster: str
    """Its first document; questions about one document count as one draw."""


class Scored(NamedTuple):
    """A case and what the adapters scored."""

    case: Case
    scores: Mapping[str, float]
    """Name of an adapter -> similarity, the best first."""

    def chosen(self, threshold: float) -> str:
        """Return the adapter that is chosen where `threshold` is needed, or `none`."""
        name, score = next(iter(self.scores.items()), (NONE, threshold))
        return name if score >= threshold else NONE


class Sides(NamedTuple):
    """Cases to choose a threshold by, and cases to measure it on."""

    dev: list[Scored]
    test: list[Scored]


def evaluate_choice(sets: Sequence[str], workspace: Workspace, *, seed: int = 0) -> dict[str, Any]:
    """Put the questions of `sets` to the chooser of `workspace` and return how it fared.

    A set is `NAME=FILE`, where NAME is an adapter's or `none`, and FILE holds questions or tickets.
    Half of the cases, whole documents, choose a threshold; the other half measures it, and the
    configured one too.

    Raises:
        UsageError: a set is not `NAME=FILE`, or names no adapter that can be chosen.
        DataError: a file cannot be read.
    """
    cases = [case for text in sets for case in read_cases(*_named(text))]
    scored: list[Scored] = []
    for case in cases:
        choice = workspace.chooser.choose(case.question, workspace.check_fit)
        names = {reference.partition(":")[0]: score for reference, score in choice.scores.items()}
        scored.append(Scored(case, names))
        missing = {case.expected} - {NONE, *names}
        if missing:
            why = "; ".join(f"{name}: {text}" for name, text in choice.left_out.items())
            raise UsageError(
                f"There is no adapter {case.expected!r} to choose.{f' {why}' if why else ''}",
                hint="groundtune adapters list",
            )
    sides = halves(scored, seed=seed)
    fitted = fit_threshold(sides.dev)
    configured = workspace.settings.answer.adapter_similarity
    return {
        "cases": len(scored),
        "dev": len(sides.dev),
        "fitted": _body(sides.test, fitted, seed),
        "configured": _body(sides.test, configured, seed),
    }


def read_cases(name: str, path: Path) -> list[Case]:
    """Read the questions in `path`, JSONL with a `question` a line, as cases for `name`.

    Raises:
        DataError: it cannot be read, is empty, or holds lines without a question.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [(n, json.loads(line)) for n, line in enumerate(lines, start=1) if line.strip()]
        cases = [_case(name, path, number, row) for number, row in rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} does not hold questions: {error!r}.",
            hint='A line is {"question": "..."}; questions and tickets have more keys.',
        ) from None
    if not cases:
        raise DataError(f"{path} holds no questions.")
    return cases


def halves(scored: Sequence[Scored], *, seed: int) -> Sides:
    """Divide cases in two: each set in halves, and no document on both sides."""
    sides = Sides([], [])
    for expected in sorted({s.case.expected for s in scored}):
        own = [s for s in scored if s.case.expected == expected]
        clusters = sorted({s.case.cluster for s in own}, key=lambda name: _lot(seed, name))
        dev: set[str] = set()
        for cluster in clusters:
            size = sum(s.case.cluster in dev for s in own)
            if size + sum(s.case.cluster == cluster for s in own) <= (len(own) + 1) // 2:
                dev.add(cluster)
        for s in own:
            (sides.dev if s.case.cluster in dev else sides.test).append(s)
    return sides


def fit_threshold(scored: Sequence[Scored]) -> float:
    """Return the threshold with the most right choices, each set weighing the same.

    Where several are as good, the middle of the widest range of them.
    """
    tops = sorted({next(iter(s.scores.values()), 0.0) for s in scored})
    edges = [-1.0, *tops, 1.0]
    middles = [(low + high) / 2 for low, high in zip(edges, edges[1:], strict=False)]
    best = max(balanced(scored, middle) for middle in middles)
    ranges: list[tuple[float, float]] = []
    for middle, low, high in zip(middles, edges, edges[1:], strict=False):
        if balanced(scored, middle) < best:
            continue
        if ranges and ranges[-1][1] == low:
            ranges[-1] = (ranges[-1][0], high)
        else:
            ranges.append((low, high))
    low, high = max(ranges, key=lambda ends: ends[1] - ends[0])
    return round((low + high) / 2, 3)


def outcome(scored: Sequence[Scored], threshold: float, *, seed: int) -> dict[str, Estimate]:
    """Return the shares of right, wrongly routed and missed cases at `threshold`."""
    clusters = {s.case.id: s.case.cluster for s in scored}
    kinds = {s.case.id: _kind(s, threshold) for s in scored}
    return {
        kind: estimate({i: float(k == kind) for i, k in kinds.items()}, clusters, seed=seed)
        for kind in ("right", "wrong", "missed")
    }


def render(result: Mapping[str, Any]) -> str:
    """Return a table for people."""
    lines = [f"{result['cases']} questions, {result['dev']} of them to choose the threshold by."]
    for title, key in (("Fitted", "fitted"), ("Configured", "configured")):
        part = result[key]
        lines += ["", f"{title} threshold {part['threshold']:.3f} (answer.adapter_similarity):"]
        for name, group in part["sets"].items():
            shares = ", ".join(f"{kind} {share(found)}" for kind, found in group.items())
            lines.append(f"  {name}: {shares}, n = {group['right']['n']}")
    return "\n".join(lines)


def _named(text: str) -> tuple[str, Path]:
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise UsageError(
            f"{text!r}: expected NAME=QUESTIONS.jsonl, where NAME is an adapter's, or none.",
            hint="groundtune eval choice house=questions.jsonl none=others.jsonl",
        )
    return name, Path(file)


def _case(name: str, path: Path, number: int, row: Mapping[str, Any]) -> Case:
    own = f"{name}/{row.get('id', number)}"
    documents = row.get("documents") or [own]
    return Case(own, str(row["question"]), name, f"{name}/{min(documents)}")


def _body(scored: Sequence[Scored], threshold: float, seed: int) -> dict[str, Any]:
    names = sorted({s.case.expected for s in scored})
    groups = {name: [s for s in scored if s.case.expected == name] for name in names}
    found = {
        name: {kind: asdict(e) for kind, e in outcome(group, threshold, seed=seed).items()}
        for name, group in {**groups, "all": list(scored)}.items()
    }
    return {"threshold": threshold, "sets": found}


def _kind(scored: Scored, threshold: float) -> str:
    chosen = scored.chosen(threshold)
    if chosen == scored.case.expected:
        return "right"
    return "missed" if chosen == NONE else "wrong"


def balanced(scored: Sequence[Scored], threshold: float) -> float:
    """Return the mean over sets of the share of right choices."""
    names = sorted({s.case.expected for s in scored})
    shares = []
    for name in names:
        own = [s for s in scored if s.case.expected == name]
        shares.append(sum(s.chosen(threshold) == name for s in own) / len(own))
    return sum(shares) / len(shares)


def share(found: Mapping[str, Any]) -> str:
    """Return a share with its interval, where it has one."""
    text = f"{found['mean']:.2f}"
    return text if found["low"] is None else f"{text} ({found['low']:.2f} to {found['high']:.2f})"


def _lot(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()
