"""Numbers -> one self-contained HTML page, `report.json` and `report.md`."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eval.advice import advise, goal_of
from eval.judge import JUDGED
from eval.outcome import Outcome
from eval.picture import (
    NARROW,
    STYLE,
    Row,
    factorial_picture,
    forest_picture,
    risk_picture,
    standalone,
)
from eval.question import clusters_of
from eval.result import Report
from eval.score import COSTS, METRICS
from eval.statistics import Estimate
from eval.summary import (
    ALL,
    COMPARED,
    DESCRIBED,
    HELDOUT,
    TAGGED,
    Comparison,
    Summary,
    pairs_of_interest,
)
from eval.table import as_script_data, table_of
from eval.verdict import interval, percent, points, quantity, verdict

HTML = "report.html"
JSON = "report.json"
MARKDOWN = "report.md"
PICTURE = "picture.svg"
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
TEMPLATES = Path(__file__).parent / "templates"


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
        "advice": asdict(advise(report.summary)),
        "sentences": list(verdict(report.summary)),
        "summary": asdict(report.summary),
        "judged": None if report.judged is None else asdict(report.judged),
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
                **_judged_row(report, outcome),
            }
            for outcome, card in zip(report.outcomes, report.cards, strict=True)
        ],
    }


def _judged_row(report: Report, outcome: Outcome) -> dict[str, Any]:
    """Return the judge's scores of an answer; nothing where no judge was asked."""
    if report.judged is None or outcome.repeat:
        return {}
    scores = {
        metric: report.judgements.get((outcome.arm, outcome.question_id, metric))
        for metric in report.judged.coverage
    }
    return {"judged": {m: None if s is None else asdict(s) for m, s in scores.items()}}


def as_html(report: Report) -> str:
    """Return the page: no network, one script of its own, everything escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
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
        "quantity": quantity,
        "unbroken": _unbroken,
    }
    summary = report.summary
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    return environment.get_template("report.html").render(
        report=report,
        summary=summary,
        advice=advise(summary),
        sentences=verdict(summary),
        metrics=METRICS,
        judged=report.judged,
        judged_labels={metric.name: metric.label for metric in JUDGED},
        goal=next(m for m in METRICS if m.name == (goal_of(summary) or "grounded")),
        priced=any(summary.costs[arm]["price"].n for arm in summary.arms),
        costs=[c for c in COSTS if any(summary.costs[a][c.name].n for a in summary.arms)],
        slice_titles=SLICE_TITLES,
        slice_metrics=[m for m in METRICS if m.name in TAGGED],
        pic_style=STYLE,
        picture=factorial_picture(summary.modes, summary.means[summary.headline]),
        narrow=factorial_picture(summary.modes, summary.means[summary.headline], NARROW),
        forest=forest_picture(forest_rows(summary), "Paired differences between arms"),
        more=forest_picture(forest_rows(summary, DESCRIBED), "Further paired differences"),
        risk=risk_picture(summary.risk),
        factorials=summary.factorials.get(summary.headline, {}),
        data=as_script_data(table_of(report)),
        kinds=sorted({question.kind for question in report.questions}),
        tags=sorted({tag for question in report.questions for tag in question.tags}),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        manifest=_flat(report.manifest),
        parallel=report.parallel,
        cached=sum(outcome.cached for outcome in report.outcomes),
        leaks=leak_sentence(report.manifest),
        leaked=bool((report.manifest.get("leaks") or {}).get("leaks")),
        failures=[o for o in report.outcomes if o.answer is None],
    )


def as_markdown(report: Report) -> str:
    """Return the short form: verdict and tables."""
    summary = report.summary
    advice = advise(summary)
    lines = [f"# {report.title}", "", report.created, "", f"**{advice.title}.**", ""]
    lines += [*(f"{reason}  " for reason in advice.reasons), "", "What would change it:", ""]
    lines += [*(f"- {change}" for change in advice.changes), ""]
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
            f"{quantity(summary.costs[arm][c.name].p50, c.unit)} / "
            f"{quantity(summary.costs[arm][c.name].p95, c.unit)}"
            for c in COSTS
        ]
        lines.append(f"| {arm} | {summary.failed[arm]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def leak_sentence(manifest: Mapping[str, Any]) -> str:
    """Say what the search for questions that an adapter was trained on found; empty without one."""
    search = manifest.get("leaks") or {}
    ids = sorted({leak["question_id"] for leak in search.get("leaks", ())})
    said = []
    if search.get("rows"):
        rows = ", ".join(f"{n} of {adapter}" for adapter, n in search["rows"].items())
        found = "None of the questions is a near-duplicate of one"
        if ids:
            found = f"{len(ids)} questions are near-duplicates of one and were left out"
            found += f": {', '.join(ids[:10])}{', ...' if len(ids) > 10 else ''}"
        said.append(f"Questions of training rows looked at: {rows}. {found}.")
    for adapter, why in search.get("unknown", {}).items():
        said.append(f"Whether {adapter} was trained on these questions is unknown: {why}.")
    return " ".join(said)


def forest_rows(summary: Summary, metrics: Sequence[str] = COMPARED) -> list[Row]:
    """Return the differences worth a picture: each arm against base, combined against the rest."""
    pairs = pairs_of_interest(summary.arms, summary.modes)
    rows = []
    for metric in metrics:
        for arm, against in pairs:
            found = summary.compare(metric, arm, against)
            if found is not None and (found.n or metric in COMPARED):
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


def _unbroken(sentence: str) -> str:
    """Return the sentence with its numbers kept on one line."""
    return re.sub(r"(?<=\d) (?=%)|(?<=[np]) (?==)|(?<==) (?=\d)", "\u00a0", sentence)


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
