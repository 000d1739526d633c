"""A comparison in words, and as JUnit XML for a build server."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

from eval.compare import Comparison, Judgement
from eval.score import COSTS, METRICS
from eval.verdict import points

UNITS = {metric.name: metric.unit for metric in (*METRICS, *COSTS)}
SHOWN_CHARS = 160


def render_comparison(body: Mapping[str, Any]) -> str:
    """Return what `eval compare` prints: changes, the worst answers, and the gate.

    `body` is that of `Comparison.body`.
    """
    lines = [f"{body['b']} against {body['a']}: {body['questions']} questions, paired.", ""]
    seen = [c for c in body["changes"] if c["words"] != "no difference seen"]
    for change in seen:
        unit = UNITS[change["metric"]]
        lines.append(
            f"{change['words']}: {change['arm']} {change['metric']} "
            f"{_amount(change['before'], unit)} -> {_amount(change['after'], unit)} "
            f"({_gap(change['difference'], unit)})"
        )
    rest = len(body["changes"]) - len(seen)
    lines.append(f"{rest} of {len(body['changes'])} arms and metrics: no difference seen.")
    lines += _detectable(body)
    if body["worst"]:
        lines += ["", f"The {len(body['worst'])} worst changes:"]
        for worse in body["worst"]:
            lines += [
                f"  {worse['question_id']} {worse['arm']} {worse['metric']} "
                f"{points(-worse['drop'])}: {worse['question']}",
                f"    before: {_short(worse['before'])}",
                f"    after:  {_short(worse['after'])}",
            ]
    if body["judgements"]:
        lines += ["", f"Gate: {'passed' if body['passed'] else 'FAILED'}"]
        lines += [f"  {_rule(judgement)}" for judgement in body["judgements"]]
    return "\n".join(lines)


def write_junit(comparison: Comparison, path: Path) -> None:
    """Write the gate's rules as JUnit XML, one test case each."""
    cases = comparison.judgements
    suite = xml.Element(
        "testsuite",
        name="groundtune eval compare",
        tests=str(len(cases)),
        failures=str(sum(not case.passed for case in cases)),
        errors="0",
    )
    for case in cases:
        element = xml.SubElement(suite, "testcase", classname=case.arm, name=case.metric)
        if not case.passed:
            xml.SubElement(element, "failure", message=case.why).text = _of_case(case)
        else:
            xml.SubElement(element, "system-out").text = _of_case(case)
    xml.indent(suite)
    path.parent.mkdir(parents=True, exist_ok=True)
    xml.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def _of_case(case: Judgement) -> str:
    unit = UNITS[case.metric]
    gap = {"mean": case.difference.mean, "low": case.difference.low, "high": case.difference.high}
    return f"{case.why}: {_gap({**gap, 'n': case.difference.n}, unit)}, margin {case.margin:g}"


def _rule(judgement: Mapping[str, Any]) -> str:
    unit = UNITS[judgement["metric"]]
    stops = judgement["detectable"]
    would = "" if stops is None else f"; stops {_amount(stops, unit)} 8 times in 10"
    return (
        f"{'ok  ' if judgement['passed'] else 'FAIL'} {judgement['arm']} {judgement['metric']}: "
        f"{judgement['why']} ({_gap(judgement['difference'], unit)}; margin "
        f"{_amount(judgement['margin'], unit)}, p = {judgement['p']:.2g}{would})"
    )


def _detectable(body: Mapping[str, Any]) -> list[str]:
    """Say what the comparison could have seen, by its most coarse share."""
    powers = [
        (change["power"]["detectable"], change)
        for change in body["changes"]
        if UNITS[change["metric"]] == "share" and change["power"]["detectable"] is not None
    ]
    if not powers:
        return []
    detectable, change = max(powers, key=lambda pair: float(pair[0]))
    return [
        f"With these questions, a change of {points(detectable)} points in {change['metric']} of "
        f"{change['arm']} is seen 8 times in 10; to see 5 points you need about "
        f"{change['power']['needed']} questions."
    ]


def _gap(difference: Mapping[str, Any], unit: str) -> str:
    if difference["mean"] is None:
        return "not measured"
    words = f"{_signed(difference['mean'], unit)}"
    if difference["low"] is not None and difference["high"] is not None:
        low, high = _signed(difference["low"], unit), _signed(difference["high"], unit)
        words += f", 95 % interval {low} to {high}"
    return f"{words}, n = {difference['n']}"


def _signed(value: float, unit: str) -> str:
    return f"{points(value)} points" if unit == "share" else f"{value:+.0f} {unit}"


def _amount(value: float, unit: str) -> str:
    return f"{100 * value:.1f} %" if unit == "share" else f"{value:.0f} {unit}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARS else f"{line[: SHOWN_CHARS - 1]}…"
