"""The pictures of a report, as SVG.

Colours are variables, so that light, dark and print each have their own. Blue, orange and green are
told apart by colour-blind readers too, and every bar is named.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup, escape

from eval.risk import RiskCoverage
from eval.score import METRICS
from eval.statistics import Estimate
from eval.summary import COMPARED, Summary
from eval.verdict import percent, points

STYLE = """
.pic{--ink:#1c2430;--soft:#5b6675;--line:#d9dee5;--card:#f6f8fa;--best:#e8f4f0;
--grounded:#00795a;--facts:#0072b2;--format:#c77700}
@media (prefers-color-scheme:dark){.pic{--ink:#e8ecf1;--soft:#9aa5b4;--line:#37414e;--card:#1b222b;
--best:#14302a;--grounded:#3ecfa4;--facts:#56b4e9;--format:#f0b040}}
@media print{.pic{--ink:#000;--soft:#444;--line:#bbb;--card:#fff;--best:#eef6f3;--grounded:#00795a;
--facts:#0072b2;--format:#c77700}}
.pic{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
.pic text{fill:var(--ink);font-size:13px}.pic .soft{fill:var(--soft)}.pic .small{font-size:12px}
.pic .big{font-size:38px;font-weight:650;letter-spacing:-1px}
.pic .large{font-size:30px;font-weight:650;letter-spacing:-.5px}
.pic .name{font-size:15px;font-weight:650}
.pic .end{text-anchor:end}.pic .mid{text-anchor:middle}
.pic .card{fill:var(--card);stroke:var(--line)}
.pic .card.best{fill:var(--best);stroke:var(--grounded)}
.pic .track{fill:var(--line);opacity:.6}.pic .axis{stroke:var(--line)}
.pic .zero{stroke:var(--soft);stroke-width:1.5}.pic .whisker{stroke:var(--ink);stroke-width:1.6}
.pic .fill-grounded{fill:var(--grounded)}.pic .fill-facts{fill:var(--facts)}
.pic .fill-format{fill:var(--format)}.pic .line-grounded{stroke:var(--grounded)}
.pic .line-facts{stroke:var(--facts)}.pic .line-format{stroke:var(--format)}
.pic .line-other{stroke:var(--soft)}.pic .fill-other{fill:var(--soft)}
.pic .curve,.pic .end-point{fill:none;stroke-width:2.5}
.pic .c0{stroke:#0072b2}.pic .c1{stroke:#c77700}
.pic .c2{stroke:#00795a}.pic .c3{stroke:#b0518f}.pic .c4{stroke:#7a6ff0}.pic .c5{stroke:#8a8a8a}
.pic .span{stroke-width:3;stroke-linecap:round}.pic .hollow{fill:var(--card);stroke-width:2.5}
"""
BARS = (("grounded", "Grounded"), ("facts", "Facts right"), ("format", "Format valid"))
LABELS = {metric.name: metric.label for metric in METRICS}
CELLS = (("base", 0, 0), ("rag", 1, 0), ("finetuned", 0, 1), ("combined", 1, 1))
WIDTH = 764
"""Of the plots, in the units of their own coordinates; the page scales them."""
GAP = 12
COLUMNS = ("without your documents", "with your documents")
ROWS = ("not tuned", "tuned")


class Frame(NamedTuple):
    """Measures of the 2x2."""

    left: int
    """Room for the names of the rows; 0 puts them above their row."""
    top: int
    between: int
    """From one row to the next."""
    cell_width: int
    cell_height: int
    bar: int
    """Where a bar begins, from the left of its cell; the name of the bar stands before it."""


WIDE = Frame(left=74, top=34, between=GAP, cell_width=276, cell_height=176, bar=100)
NARROW = Frame(left=0, top=44, between=34, cell_width=164, cell_height=148, bar=12)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a forest plot."""

    metric: str
    label: str
    difference: Estimate


def standalone(svg: Markup) -> str:
    """Return a picture as a file of its own."""
    opening = '<svg xmlns="http://www.w3.org/2000/svg" class='
    styled = str(svg).replace("<svg class=", opening, 1)
    return styled.replace(">", f"><style>{STYLE}</style>", 1) + "\n"


def factorial_picture(
    modes: Mapping[str, str], means: Mapping[str, Mapping[str, Estimate]], frame: Frame = WIDE
) -> Markup:
    """Draw the 2x2: retrieval across, tuning down, each cell with its shares and intervals."""
    known = {m: means[a]["grounded"].mean or 0.0 for m, a in modes.items()}
    best = max(known, key=lambda mode: known[mode]) if any(known.values()) else ""
    parts = []
    for column, label in enumerate(COLUMNS):
        middle = _left(frame, column) + frame.cell_width / 2
        parts.append(_text(middle, frame.top - (14 if frame.left else 30), label, "mid soft"))
    for row, label in enumerate(ROWS):
        y = _top(frame, row)
        if frame.left:
            parts.append(_text(frame.left - 10, y + frame.cell_height / 2, label, "end soft"))
        else:
            parts.append(_text(2, y - 8, label, "soft"))
    for mode, column, row in CELLS:
        x, y = _left(frame, column), _top(frame, row)
        parts.append(
            Markup('<rect class="card{}" x="{}" y="{}" width="{}" height="{}" rx="10"/>').format(
                " best" if mode == best else "", x, y, frame.cell_width, frame.cell_height
            )
        )
        if mode in modes:
            parts.append(_cell(modes[mode], means[modes[mode]], x, y, frame))
        else:
            parts.append(_text(x + 12, y + 30, f"{mode}: not in this run", "soft small"))
    height = _top(frame, 1) + frame.cell_height + 4
    if not frame.left:
        parts.append(_legend(height + 16))
        height += 24
    width = _left(frame, 1) + frame.cell_width + 2
    return _svg(width, height, "The four arms: grounded answers, facts and format", parts)


def _left(frame: Frame, column: int) -> int:
    return frame.left + 1 + column * (frame.cell_width + GAP)


def _top(frame: Frame, row: int) -> int:
    return frame.top + row * (frame.cell_height + frame.between)


def _cell(name: str, means: Mapping[str, Estimate], x: float, y: float, frame: Frame) -> Markup:
    whole, wide = means["grounded"], bool(frame.left)
    right = x + frame.cell_width - 14
    pad = 18 if wide else 12
    parts = [_text(x + pad, y + 28, name, "name")]
    if wide:
        parts.append(_text(x + pad, y + 72, percent(whole.mean), "big"))
        parts.append(_text(right, y + 56, "grounded answers", "end soft small"))
        parts.append(_text(right, y + 72, _range(whole), "end soft small"))
    else:
        parts.append(_text(x + pad, y + 62, percent(whole.mean), "large"))
        parts.append(_text(x + pad, y + 80, _range(whole), "soft small"))
    first, step = (98, 26) if wide else (94, 18)
    scale = frame.cell_width - frame.bar - 62  # "100 %" stands behind it
    for place, (metric, label) in enumerate(BARS):
        found, line, left = means[metric], y + first + place * step, x + frame.bar
        if wide:
            parts.append(_text(x + pad, line + 9, label, "small"))
        parts.append(_rect("track", left, line, scale, 11))
        if found.mean is None:
            parts.append(_text(right, line + 10, "n/a", "end soft small"))
            continue
        parts.append(_rect(f"fill-{metric}", left, line, scale * found.mean, 11))
        if found.low is not None and found.high is not None:
            a, b, middle = left + scale * found.low, left + scale * found.high, line + 5.5
            parts.append(_line("whisker", a, middle, b, middle))
            parts += [_line("whisker", at, line + 2, at, line + 9) for at in (a, b)]
        parts.append(_text(right, line + 10, percent(found.mean), "end small"))
    return Markup("").join(parts)


def _legend(y: float) -> Markup:
    parts = []
    for place, (metric, label) in enumerate(BARS):
        x = 2 + place * 114
        parts.append(_rect(f"fill-{metric}", x, y - 10, 11, 11))
        parts.append(_text(x + 17, y, label, "soft small"))
    return Markup("").join(parts)


def risk_picture(curves: Mapping[str, RiskCoverage]) -> Markup:
    """Draw risk against coverage: how many given answers are wrong when only the surest are."""
    left, right, top, bottom = 64.0, 520.0, 18.0, 300.0
    parts = [_line("axis", left, bottom, right, bottom), _line("axis", left, top, left, bottom)]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = left + share * (right - left), bottom - share * (bottom - top)
        parts.append(_text(x, bottom + 18, percent(share), "mid soft small"))
        parts.append(_text(left - 8, y + 4, percent(share), "end soft small"))
    parts.append(_text((left + right) / 2, bottom + 38, "share of questions answered", "mid soft"))
    parts.append(_text(left, 10, "wrong among the answers given", "soft small"))
    for n, (arm, curve) in enumerate(curves.items()):
        y = top + 14 + 24 * n
        parts.append(_line(f"curve c{n % 6}", right + 24, y - 4, right + 48, y - 4))
        area = "no answer" if curve.area is None else f"area {curve.area:.2f}"
        parts.append(_text(right + 56, y, f"{arm}: {area}", "small"))
        places = [
            f"{left + p.coverage * (right - left):.1f},{bottom - p.risk * (bottom - top):.1f}"
            for p in curve.points
        ]
        parts.append(
            Markup('<polyline class="curve c{}" points="{}"/>').format(n % 6, " ".join(places))
        )
        for place in places[-1:]:
            x_, y_ = place.split(",")
            parts.append(
                Markup('<circle class="end-point c{}" cx="{}" cy="{}" r="4"/>').format(
                    n % 6, x_, y_
                )
            )
    return _svg(WIDTH, bottom + 52, "Risk against coverage", parts)


def forest_rows(summary: Summary, metrics: Sequence[str] = COMPARED) -> list[Row]:
    """Return the differences of the headline slice on `metrics`, metric by metric."""
    return [
        Row(metric, f"{c.arm} − {c.against}", c.difference)
        for metric in metrics
        for c in summary.comparisons
        if (c.slice, c.metric) == (summary.headline, metric)
        and (c.difference.n or metric in COMPARED)
    ]


def forest_picture(rows: Sequence[Row], title: str) -> Markup:
    """Draw paired differences with their intervals; a hollow dot is no difference seen."""
    left, right, step = 250, 560, 26
    reach = _reach(rows)

    def at(value: float) -> float:
        return (left + right) / 2 + value / reach * (right - left) / 2

    parts: list[Markup] = []
    y = 18
    group = ""
    for row in rows:
        if row.metric != group:
            group = row.metric
            parts.append(_text(8, y + 4, LABELS[group], "name"))
            y += step
        parts += _forest_row(row, y, at)
        y += step
    axis = [_line("zero", at(0), 8, at(0), y - 8)]
    for tick in (-reach, -reach / 2, 0.0, reach / 2, reach):
        axis.append(_line("axis", at(tick), 8, at(tick), y - 8) if tick else Markup(""))
        axis.append(_text(at(tick), y + 10, points(tick), "mid soft small"))
    axis.append(_text(at(0), y + 28, "percentage points", "mid soft small"))
    return _svg(WIDTH, y + 36, title, axis + parts)


def _forest_row(row: Row, y: float, at: Callable[[float], float]) -> list[Markup]:
    found, colour = row.difference, row.metric if row.metric in dict(BARS) else "other"
    parts = [_text(232, y + 4, row.label, "end")]
    if found.mean is None:
        return [*parts, _text(576, y + 4, "not measured", "soft small")]
    words = points(found.mean)
    if found.low is not None and found.high is not None:
        parts.append(_line(f"span line-{colour}", at(found.low), y, at(found.high), y))
        words += f"  [{points(found.low)}, {points(found.high)}]"
    dot = f"fill-{colour}" if found.seen else f"hollow line-{colour}"
    parts.append(
        Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="5.5"/>').format(
            dot, at(found.mean), y
        )
    )
    parts.append(_text(576, y + 4, words, "small"))
    return parts


def _reach(rows: Sequence[Row]) -> float:
    ends = [
        abs(end)
        for row in rows
        for end in (row.difference.mean, row.difference.low, row.difference.high)
        if end is not None
    ]
    largest = max(ends, default=1.0)
    return next((reach for reach in (0.2, 0.5, 1.0) if largest <= reach), largest)


def _range(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"n = {estimate.n}"
    return f"{100 * estimate.low:.0f} to {percent(estimate.high)}, n = {estimate.n}"


def _svg(width: float, height: float, title: str, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg class="pic" viewBox="0 0 {:.0f} {:.0f}" role="img"><title>{}</title>{}</svg>'
    ).format(width, height, title, Markup("").join(parts))


def _text(x: float, y: float, words: str, style: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(
        style, x, y, escape(words)
    )


def _rect(style: str, x: float, y: float, width: float, height: float) -> Markup:
    return Markup(
        '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{}" rx="3"/>'
    ).format(style, x, y, max(width, 0.0), height)


def _line(style: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
        style, x1, y1, x2, y2
    )
