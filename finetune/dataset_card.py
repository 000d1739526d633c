"""What a person reads of a data set: its statistics and its card."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from finetune.example import Example

SIDES = ("rows", "train", "validation", "test")
KINDS = {
    "answer": "the passages hold the facts; the target cites them by number",
    "insufficient": "the passages lack a fact; the target is the refusal",
    "refusal": "nobody could answer; the target is the refusal",
    "no_evidence": "no passages; the target is the answer without sources",
    "correction": "somebody said what an answer should have been",
}
SHOWN_TAGS = 12


def describe(examples: Sequence[Example]) -> dict[str, Any]:
    """Return the statistics of one side, as its manifest holds them."""
    tags = Counter(tag for e in examples for tag in e.tags)
    kinds = {kind: tags[kind] for kind in sorted(KINDS) if tags[kind]}
    return {
        "rows": len(examples),
        "sources": len({e.source for e in examples}),
        "documents": sorted({document for e in examples for document in e.documents}),
        "kinds": kinds,
        "shares": {kind: round(n / len(examples), 3) for kind, n in kinds.items()},
        "tags": dict(tags.most_common()),
        "with_evidence": sum(bool(e.evidence) for e in examples),
        "turns": dict(sorted(Counter(str(len(e.prompt) // 2) for e in examples).items())),
        "answer_characters": percentiles([len(e.target) for e in examples]),
    }


def percentiles(values: Sequence[int]) -> dict[str, int]:
    """Return minimum, median, 95th percentile and maximum; empty for no values."""
    if not values:
        return {}
    ordered = sorted(values)
    last = len(ordered) - 1
    places = {"min": 0, "p50": last // 2, "p95": round(last * 0.95), "max": last}
    return {name: ordered[place] for name, place in places.items()}


def dataset_card(manifest: Mapping[str, Any]) -> str:
    """Return the README of a data set's folder."""
    sides = [side for side in SIDES if side in manifest]
    lines = [f"# Data set {manifest['name']}", "", _origin(manifest), ""]
    lines += [
        "| side | rows | sources | documents | with passages | answer, characters (median, 95 %) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for side in sides:
        d = manifest[side]
        length = d["answer_characters"]
        lines.append(
            f"| {side} | {d['rows']} | {d['sources']} | {len(d['documents'])} "
            f"| {d['with_evidence']} | {length.get('p50', 0)}, {length.get('p95', 0)} |"
        )
    lines += ["", "| tag | " + " | ".join(sides) + " |", "| --- |" + " --- |" * len(sides)]
    counted = Counter[str]()
    for side in sides:
        counted.update(manifest[side]["tags"])
    for tag, _ in counted.most_common(SHOWN_TAGS):
        lines.append(f"| {tag} | " + " | ".join(_n(manifest[s], tag) for s in sides) + " |")
    if len(counted) > SHOWN_TAGS:
        lines.append(f"| and {len(counted) - SHOWN_TAGS} more |" + " |" * len(sides))
    present = [kind for kind in KINDS if counted[kind]]
    if present:
        lines += ["", *(f"- `{kind}`: {KINDS[kind]}." for kind in present)]
    lines += ["", *_sources(manifest)]
    if len(sides) > 1:
        lines += ["", "No document and no conversation is on two sides."]
    if manifest.get("to_review"):
        lines += ["", f"`review.jsonl`: {manifest['to_review']} answers to look at; no rows."]
    return "\n".join(lines) + "\n"


def _origin(manifest: Mapping[str, Any]) -> str:
    parent = manifest.get("made_from")
    made = f"Made {manifest['created']}"
    return f"{made} from `{parent['name']}`: {manifest['how']}." if parent else f"{made}."


def _sources(manifest: Mapping[str, Any]) -> list[str]:
    lines = []
    for source in manifest.get("sources", ()):
        counts = ", ".join(f"{name} {n}" for name, n in source["counts"].items())
        file = f"`{source['file']}` (SHA-256 {source['sha256'][:12]}), " if source["file"] else ""
        lines.append(f"- {source['name']}: {file}{source['rows']} rows; {counts}")
    return lines


def _n(side: Mapping[str, Any], tag: str) -> str:
    return str(side["tags"].get(tag, 0))
