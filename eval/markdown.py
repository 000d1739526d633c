"""Numbers -> `report.md`: what the page says, but for pictures and single questions."""

from collections.abc import Iterator, Sequence

from eval.advice import advise
from eval.cell import signed, span
from eval.judge import JUDGED
from eval.judged import Judged
from eval.leaks import leak_sentence
from eval.picture import forest_rows
from eval.result import Report
from eval.score import COSTS, METRICS
from eval.summary import ALL, SLICE_TITLES, Summary
from eval.verdict import interval, percent, points, quantity, verdict

LABELS = {metric.name: metric.label for metric in (*METRICS, *JUDGED)}


def as_markdown(report: Report) -> str:
    """Return the short form: verdict and tables."""
    summary = report.summary
    advice = advise(summary)
    lines = [f"# {report.title}", "", report.created, "", f"**{advice.title}.**", ""]
    lines += [*(f"{reason}  " for reason in advice.reasons), "", "What would change it:", ""]
    lines += [*(f"- {change}" for change in advice.changes), ""]
    lines += [f"{n}. {sentence}" for n, sentence in enumerate(verdict(summary), start=1)]
    left_out = report.manifest.get("left_out") or {}
    notes = [f"Left out of the standard arms: {arm}. {why}" for arm, why in left_out.items()]
    notes += [said for said in (leak_sentence(report.manifest),) if said]
    lines += [line for note in notes for line in ("", note)]
    for slice_ in dict.fromkeys((summary.headline, ALL)):
        lines += ["", f"## {SLICE_TITLES[slice_]} (n = {summary.slices[slice_]})", ""]
        lines += _scores(summary, slice_)
    lines += ["", f"## Paired differences: {SLICE_TITLES[summary.headline]}", ""]
    lines += _table(("metric", "arms", "points", "95 % interval"), _differences(summary))
    if summary.factorials:
        lines += ["", f"## The 2x2: {SLICE_TITLES[summary.headline]}", ""]
        lines += _table(
            ("metric", "retrieval adds", "tuning adds", "interaction"), _effects(summary)
        )
    lines += ["", "## Knowing what it cannot know", ""]
    lines += _table(
        ("arm", "abstained", "rightly so", "unanswerable", "noticed", "risk-coverage area"),
        _abstentions(summary),
    )
    lines += ["", "## Cost of an answer", ""]
    lines += _table(
        ("arm", "failed", *(f"{cost.label} p50 / p95" for cost in COSTS)), _costs(summary)
    )
    if report.judged is not None:
        lines += ["", "## What a judge says", ""]
        lines += [" ".join((report.judged.sentence, *report.judged.remarks)), ""]
        lines += _table(("metric", *summary.arms), _judged(report.judged, summary.arms))
        lines += _comparisons(report.judged)
    return "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> list[str]:
    cells = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return [f"| {' | '.join(row)} |" for row in cells]


def _scores(summary: Summary, slice_: str) -> list[str]:
    def rows() -> Iterator[Sequence[str]]:
        for arm in summary.arms:
            means = summary.means[slice_][arm]
            yield [arm, *(f"{percent(means[m.name].mean)} {span(means[m.name])}" for m in METRICS)]

    return _table(("arm", *(metric.label for metric in METRICS)), rows())


def _differences(summary: Summary) -> Iterator[Sequence[str]]:
    for row in forest_rows(summary):
        found = row.difference
        mean = "not measured" if found.mean is None else points(found.mean)
        yield row.metric, row.label, mean, interval(found)


def _effects(summary: Summary) -> Iterator[Sequence[str]]:
    for metric, found in summary.factorials[summary.headline].items():
        effects = found.retrieval, found.tuning, found.interaction
        yield LABELS[metric], *(signed(effect) for effect in effects)


def _abstentions(summary: Summary) -> Iterator[Sequence[str]]:
    for arm in summary.arms:
        found, area = summary.abstention[arm], summary.risk[arm].area
        yield (
            arm,
            str(found.abstained),
            f"{percent(found.precision.mean)} {span(found.precision)}",
            str(found.unanswerable),
            f"{percent(found.recall.mean)} {span(found.recall)}",
            "no answer" if area is None else f"{area:.2f}",
        )


def _costs(summary: Summary) -> Iterator[Sequence[str]]:
    for arm in summary.arms:
        costs = [(summary.costs[arm][cost.name], cost.unit) for cost in COSTS]
        yield (
            arm,
            str(summary.failed[arm]),
            *(f"{quantity(c.p50, unit)} / {quantity(c.p95, unit)}" for c, unit in costs),
        )


def _judged(judged: Judged, arms: Sequence[str]) -> Iterator[Sequence[str]]:
    for metric, by_arm in judged.coverage.items():
        cells = [LABELS[metric]]
        for arm in arms:
            found = by_arm[arm]
            mean = "n/a" if metric in judged.refused else percent(found.mean.mean)
            asked = f"{mean} ({found.scored} of {found.asked} scored)"
            cells.append(asked if found.asked else "does not apply")
        yield cells


def _comparisons(judged: Judged) -> Iterator[str]:
    if judged.refused or judged.pairings:
        yield ""
    for metric, why in judged.refused.items():
        yield f"- {LABELS[metric]} is not compared: {why}."
    for pair in judged.pairings:
        yield f"- {LABELS[pair.metric]}, {pair.arm} − {pair.against}: {signed(pair.difference)}."
