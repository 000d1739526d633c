"""Numbers -> one self-contained HTML page, `report.json` and `report.md`."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eval.outcome import Outcome
from eval.picture import STYLE, Row, factorial_picture, forest_picture, standalone
from eval.question import Question, clusters_of
from eval.recipe import Arm
from eval.score import COSTS, METRICS, Score
from eval.statistics import Estimate
from eval.summary import ALL, HELDOUT, Comparison, Summary
from eval.verdict import interval, percent, points, verdict
from eval.wording import parsed

HTML = "report.html"
JSON = "report.json"
MARKDOWN = "report.md"
PICTURE = "picture.svg"
FORESTED = ("grounded", "facts", "format")
SLICE_TITLES = {
    ALL: "All questions",
    HELDOUT: "Documents that no training ticket touches",
    "seen": "Documents that tickets touch, other facts",
    "superseded": "A newer revision replaces the fact",
    "two-documents": "The answer stands in two documents",
    "unanswerable": "The documents do not say",
    "style": "Nothing to look up: style only",
    "other": "Other questions",
}
SLICE_METRICS = ("grounded", "facts", "format", "abstention")


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a report is made of."""

    title: str
    created: str
    """UTC, ISO 8601."""
    arms: tuple[Arm, ...]
    questions: tuple[Question, ...]
    outcomes: tuple[Outcome, ...]
    cards: tuple[Mapping[str, Score], ...]
    """Scores of `outcomes`, in their order."""
    summary: Summary
    manifest: Mapping[str, Any]
    """Hashes, versions, seed, resolved recipe, timings."""
    parallel: int
    """Questions that were answered at the same time."""


def write_report(report: Report, folder: Path) -> dict[str, Path]:
    """Write the report into `folder`; return file name -> path."""
    paths = {name: folder / name for name in (HTML, JSON, MARKDOWN, PICTURE)}
    paths[HTML].write_text(as_html(report), encoding="utf-8")
    paths[MARKDOWN].write_text(as_markdown(report), encoding="utf-8")
    s = report.summary
    picture = factorial_picture(s.modes, s.means[s.headline])
    paths[PICTURE].write_text(standalone(picture), encoding="utf-8")
    # Last: its existence means that the report is complete.
    text = json.dumps(as_dict(report), ensure_ascii=False, indent=1)
    paths[JSON].write_text(text + "\n", encoding="utf-8")
    return paths


def as_dict(report: Report) -> dict[str, Any]:
    """Return the report as plain values."""
    clusters = clusters_of(report.questions)
    return {
        "title": report.title,
        "created": report.created,
        "sentences": list(verdict(report.summary)),
        "summary": asdict(report.summary),
        "manifest": dict(report.manifest),
        "questions": [
            {
                "id": question.id,
                "question": question.question,
                "reference": question.reference,
                "documents": list(question.documents),
                "kind": question.kind,
                "tags": list(question.tags),
                "cluster": clusters[question.id],
            }
            for question in report.questions
        ],
        "scores": [
            {
                "question_id": outcome.question_id,
                "arm": outcome.arm,
                "repeat": outcome.repeat,
                "answer": None if outcome.answer is None else outcome.answer.answer,
                "error": outcome.error,
                "scores": {name: asdict(score) for name, score in card.items()},
            }
            for outcome, card in zip(report.outcomes, report.cards, strict=True)
        ],
    }


def as_html(report: Report) -> str:
    """Return the page: no script, no network, everything escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "signed": _signed,
        "between": _between,
        "count": _count,
        "quantity": _quantity,
        "pretty": _pretty,
        "unbroken": _unbroken,
    }
    summary = report.summary
    return environment.get_template("report.html").render(
        report=report,
        summary=summary,
        sentences=verdict(summary),
        metrics=METRICS,
        costs=COSTS,
        slice_titles=SLICE_TITLES,
        slice_metrics=[m for m in METRICS if m.name in SLICE_METRICS],
        pic_style=STYLE,
        picture=factorial_picture(summary.modes, summary.means[summary.headline]),
        forest=forest_picture(forest_rows(summary), "Paired differences between arms"),
        factorials=summary.factorials.get(summary.headline, {}),
        items=_items(report),
        manifest=_flat(report.manifest),
        parallel=report.parallel,
        failures=[o for o in report.outcomes if o.answer is None],
    )


def as_markdown(report: Report) -> str:
    """Return the short form: verdict and tables."""
    summary = report.summary
    lines = [f"# {report.title}", "", report.created, ""]
    lines += [f"{n}. {sentence}" for n, sentence in enumerate(verdict(summary), start=1)]
    for slice_ in dict.fromkeys((summary.headline, ALL)):
        lines += ["", f"## {SLICE_TITLES[slice_]} (n = {summary.slices[slice_]})", ""]
        lines += _markdown_table(summary, slice_)
    lines += ["", f"## Paired differences: {SLICE_TITLES[summary.headline]}", ""]
    lines += ["| metric | arms | points | 95 % interval |", "| --- | --- | ---: | --- |"]
    for row in forest_rows(summary):
        found = row.difference
        mean = "not measured" if found.mean is None else points(found.mean)
        lines.append(f"| {row.metric} | {row.label} | {mean} | {interval(found)} |")
    lines += ["", "## Cost of an answer", ""]
    lines.append("| arm | failed | " + " | ".join(f"{c.label} p50 / p95" for c in COSTS) + " |")
    lines.append("| --- | ---: |" + " ---: |" * len(COSTS))
    for arm in summary.arms:
        cells = [
            f"{_quantity(summary.costs[arm][c.name].p50, c.unit)} / "
            f"{_quantity(summary.costs[arm][c.name].p95, c.unit)}"
            for c in COSTS
        ]
        lines.append(f"| {arm} | {summary.failed[arm]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def forest_rows(summary: Summary) -> list[Row]:
    """Return the differences worth a picture: each arm against base, combined against the rest."""
    focus = summary.modes.get("combined", summary.arms[-1])
    first = summary.modes.get("base", summary.arms[0])
    rows = []
    for metric in FORESTED:
        pairs = [(arm, first) for arm in summary.arms if arm not in (first, focus)]
        pairs += [(focus, arm) for arm in summary.arms if arm != focus]
        for arm, against in pairs:
            found = summary.compare(metric, arm, against)
            if found is not None:
                rows.append(Row(metric, f"{arm} − {against}", found))
    return rows


def _markdown_table(summary: Summary, slice_: str) -> list[str]:
    lines = ["| arm | " + " | ".join(m.label for m in METRICS) + " |"]
    lines.append("| --- |" + " ---: |" * len(METRICS))
    for arm in summary.arms:
        means = summary.means[slice_][arm]
        cells = [f"{percent(means[m.name].mean)} {_span(means[m.name])}" for m in METRICS]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return lines


def _items(report: Report) -> list[dict[str, Any]]:
    """Return each question with what every arm made of it."""
    by_place = {
        (o.question_id, o.arm): (o, card)
        for o, card in zip(report.outcomes, report.cards, strict=True)
        if o.repeat == 0
    }
    items = []
    for question in report.questions:
        cells = [(arm, *by_place[question.id, arm.name]) for arm in report.arms]
        right = [arm.name for arm, _, card in cells if _succeeded(question, card)]
        items.append({"question": question, "cells": cells, "right": right})
    return items


def _succeeded(question: Question, card: Mapping[str, Score]) -> bool:
    metric = "abstention" if not question.answerable else "grounded" if question.facts else "format"
    return card[metric].value == 1


def _span(estimate: Estimate) -> str:
    """Return interval, n and what was left out, in brackets."""
    parts = [part for part in (_between(estimate), _count(estimate)) if part]
    return f"({', '.join(parts)})"


def _between(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{100 * estimate.low:.0f} to {100 * estimate.high:.0f}"


def _count(estimate: Estimate) -> str:
    left_out = f", {estimate.unscored} unscored" if estimate.unscored else ""
    return f"n={estimate.n}{left_out}"


def _signed(comparison: Comparison | Estimate) -> str:
    found = comparison.difference if isinstance(comparison, Comparison) else comparison
    if found.mean is None:
        return f"not measured: {found.why}"
    words = "" if found.seen else "; no difference seen"
    return f"{points(found.mean)} points ({interval(found)}{words})"


def _quantity(value: float | None, unit: str) -> str:
    if value is None:
        return "n/a"
    if unit == "ms":
        return f"{value / 1000:.1f} s" if value >= 1000 else f"{value:.0f} ms"
    return f"{value:.2f}" if unit in ("share", "price") else f"{value:.0f}"


def _unbroken(sentence: str) -> str:
    """Return the sentence with its numbers kept on one line."""
    return re.sub(r"(?<=\d) (?=%)|(?<=n) (?==)|(?<==) (?=\d)", "\u00a0", sentence)


def _pretty(answer: str) -> str:
    """Return a JSON answer with a line for each key, prose as it is."""
    value = parsed(answer)
    if not isinstance(value, dict | list):
        return answer
    return json.dumps(value, ensure_ascii=False, indent=1)


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{key}.")
        elif isinstance(value, Sequence) and value and isinstance(value[0], Mapping):
            for n, inner in enumerate(value, start=1):
                rows += _flat(inner, f"{prefix}{key}[{n}].")
        else:
            rows.append((prefix + key, str(value)))
    return rows
