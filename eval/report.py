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
from eval.cell import between, count, signed
from eval.judge import JUDGED
from eval.leaks import leak_sentence
from eval.markdown import as_markdown
from eval.outcome import Outcome
from eval.picture import (
    NARROW,
    STYLE,
    factorial_picture,
    forest_picture,
    forest_rows,
    risk_picture,
    standalone,
)
from eval.question import clusters_of
from eval.result import Report
from eval.score import COSTS, METRICS
from eval.summary import DESCRIBED, SLICE_TITLES, TAGGED
from eval.table import as_script_data, table_of
from eval.verdict import percent, quantity, verdict

HTML = "report.html"
JSON = "report.json"
MARKDOWN = "report.md"
PICTURE = "picture.svg"
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
        "signed": signed,
        "between": between,
        "count": count,
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
        left_out=report.manifest.get("left_out") or {},
        leaks=leak_sentence(report.manifest),
        leaked=bool((report.manifest.get("leaks") or {}).get("leaks")),
        failures=[o for o in report.outcomes if o.answer is None],
    )


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
