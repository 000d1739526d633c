"""Which languages the rows are in."""

from collections import Counter
from functools import cache
from typing import Any

from assistant.citations import spoken
from finetune.check.finding import Finding, Spot, Subject
from ingest.extras import require

SURE = 0.95
"""Least probability, 0 to 1, that a language is believed from."""
LETTERS = 60
"""Texts with fewer say too little."""
STRAY = 0.05
"""Share of the rows, 0 to 1, below which a language looks like an oversight."""


def check_languages(subject: Subject) -> list[Finding]:
    """Say which languages there are, and list the rows in those that are rare."""
    found: list[tuple[str, Spot]] = []
    unclear = 0
    for row in subject.rows:
        text = f"{row.example.question}\n{spoken(row.example.target)}"
        if sum(c.isalpha() for c in text) < LETTERS:
            unclear += 1
            continue
        language, probability = _identifier().classify(text)
        if language and probability >= SURE:
            found.append((language, Spot(row, f"{language} ({probability:.2f})")))
        else:
            unclear += 1
    counts = Counter(language for language, _ in found)
    mix = ", ".join(f"{name} {n}" for name, n in counts.most_common()) or "none told"
    said = f"Languages: {mix}; {unclear} rows too short or too mixed to tell."
    rare = {name for name, n in counts.items() if n < STRAY * len(found)}
    if not rare:
        return [Finding("languages", "note", said)]
    return [
        Finding(
            "languages",
            "warning",
            f"{sum(counts[name] for name in rare)} rows are in a language that few others are in. "
            + said,
            tuple(spot for language, spot in found if language in rare),
            advice="Leave them out, or add enough of them to be learnt.",
        )
    ]


@cache
def _identifier() -> Any:
    langid = require("py3langid.langid", extra="finetune")
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
