"""All findings about a data set: one report, for a terminal, a browser and a program."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.check.balance import check_balance
from finetune.check.contradictions import check_contradictions
from finetune.check.control_tokens import check_control_tokens
from finetune.check.counts import check_counts
from finetune.check.duplicates import check_duplicates
from finetune.check.finding import Finding, Subject
from finetune.check.format import check_format
from finetune.check.languages import check_languages
from finetune.check.leakage import check_leakage
from finetune.check.lengths import check_lengths, histogram
from finetune.check.personal import check_personal
from finetune.check.secrets import check_secrets
from finetune.check.tags import check_tags

CHECKS = (
    check_counts,
    check_duplicates,
    check_contradictions,
    check_format,
    check_tags,
    check_languages,
    check_personal,
    check_secrets,
    check_control_tokens,
    check_balance,
    check_leakage,
)
ORDER = {"error": 0, "warning": 1, "note": 2}
TEMPLATE = Path(__file__).parent / "report.html.j2"
SHOWN_ROWS = 200
"""Rows that the page lists for a finding; report.json has all."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, worst first."""

    name: str
    findings: tuple[Finding, ...]
    sides: dict[str, int]
    """Rows of each side."""
    lengths: tuple[int, ...]
    """Tokens of each row; empty where none were counted."""
    window: int

    @property
    def errors(self) -> list[Finding]:
        """What stops a training run."""
        return [f for f in self.findings if f.level == "error"]

    @property
    def warnings(self) -> list[Finding]:
        """What does not."""
        return [f for f in self.findings if f.level == "warning"]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON types; `passed` is false if there is an error."""
        return {
            "dataset": self.name,
            "passed": not self.errors,
            "errors": len(self.errors),
            "warnings": len(self.warnings),
            "sides": self.sides,
            "window": self.window,
            "histogram": [list(b) for b in histogram(self.lengths, self.window)]
            if self.lengths
            else [],
            "findings": [finding.as_dict() for finding in self.findings],
        }


def check(subject: Subject, *, name: str) -> Report:
    """Run every check over the rows of `subject`."""
    findings: list[Finding] = []
    for one in CHECKS:
        findings += one(subject)
    lengths: Sequence[int] = ()
    if subject.lengths is not None:
        lengths = subject.lengths([row.example for row in subject.rows])
        findings += check_lengths(subject, lengths)
    sides: dict[str, int] = {}
    for row in subject.rows:
        sides[row.side] = sides.get(row.side, 0) + 1
    ordered = sorted(findings, key=lambda f: ORDER[f.level])
    return Report(name, tuple(ordered), sides, tuple(lengths), subject.window)


def write_report(report: Report, folder: Path) -> dict[str, Path]:
    """Write the page and the JSON into `folder`; return what each is called -> path."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {"html": folder / "check.html", "json": folder / "check.json"}
    paths["html"].write_text(as_html(report), encoding="utf-8")
    text = json.dumps(report.as_dict(), ensure_ascii=False, indent=1)
    paths["json"].write_text(text + "\n", encoding="utf-8")
    return paths


def as_html(report: Report) -> str:
    """Return the page: one file, no script, no network, everything escaped."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    bins = histogram(report.lengths, report.window) if report.lengths else []
    page: str = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        report=report, bins=bins, most=max((n for _, n in bins), default=1), shown=SHOWN_ROWS
    )
    return page


def as_text(report: dict[str, Any], *, rows: int = 5) -> str:
    """Return what a terminal shows of a report, `rows` rows a finding."""
    from io import StringIO

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    colours = {"error": "bold red", "warning": "yellow", "note": "green"}
    sides = ", ".join(f"{side} {n}" for side, n in report["sides"].items())
    table = Table(
        title=f"{report['dataset']}: {sides}", title_justify="left", show_lines=True, expand=True
    )
    table.add_column("", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("finding", ratio=1)
    for finding in report["findings"]:
        text = Text(finding["message"])
        for spot in finding["rows"][:rows]:
            text.append(f"\n  {spot['file']}:{spot['line']}  {spot['reason']}", style="dim")
        if (more := len(finding["rows"]) - rows) and more > 0:
            text.append(f"\n  and {more} more", style="dim")
        if finding["fix"]:
            text.append("\n  --fix mends it", style="italic")
        if finding["advice"]:
            text.append(f"\n  {finding['advice']}", style="italic")
        level = finding["level"]
        table.add_row(Text(level, style=colours[level]), finding["check"], text)
    out = StringIO()
    console = Console()
    Console(file=out, width=console.width, force_terminal=console.is_terminal).print(table)
    return out.getvalue().rstrip()
