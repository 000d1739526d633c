"""Strength: how likely it is that the evidence found is enough to answer.

What is measured is what can be seen without asking a language model: how near the passages
are and whether the question's telling words stand in them.
`groundtune calibrate` turns these numbers into one, fitted on questions with known outcomes.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assistant.hit import Hit
from ingest.errors import DataError
from ingest.stores.dialect import STOP_WORDS

WORD = re.compile(r"[^\W_]+(?:[-.,/·][^\W_]+)*")
STEM = 5
"""Letters by which two words count as forms of one: "tighten" and "tightened"."""
COMMON = 20
"""A word that so many passages hold tells little; how many hold it is counted no further."""
Count = Callable[[str, int], int]
"""(word, limit) -> how many passages of the collection hold the word, at most `limit`."""


def features(question: str, hits: Sequence[Hit], count: Count) -> dict[str, float]:
    """Return what is known of the evidence `hits` for `question`, best first, by name.

    `cosine`: of the best passage, -1 to 1. `score`: of the best piece of evidence, as it was
    ranked. `bm25`: of the best passage, for each telling word of the question. `words`: share of
    the question's telling words that stand in the evidence, rare ones counting more. `unknown`:
    share of them that stand in no passage at all. `codes`: share of its numbers and codes that
    stand in the evidence; 1 where it has none.
    """
    telling = list(dict.fromkeys(w for w in _words(question) if w not in STOP_WORDS))
    rarity = {
        word: 1 - math.log1p(count(word, COMMON)) / math.log1p(COMMON + 1) for word in telling
    }
    said = " ".join(hit.chunk.context for hit in hits)
    stems = {word[:STEM] for word in _words(said)}
    codes = [word for word in telling if any(c.isdigit() for c in word)]
    return {
        "cosine": max((h.similarity for h in hits if h.similarity is not None), default=0.0),
        "score": hits[0].score if hits else 0.0,
        "bm25": max((h.bm25 or 0.0 for h in hits), default=0.0) / max(len(telling), 1),
        "words": _share([w for w in telling if w[:STEM] in stems], telling, rarity),
        "unknown": sum(count(w, 1) == 0 for w in telling) / max(len(telling), 1),
        "codes": _share([c for c in codes if c in _words(said)], codes, dict.fromkeys(codes, 1.0)),
    }


@dataclass(frozen=True, slots=True)
class Calibration:
    """A logistic regression over the features: plain numbers, so that reading one runs nothing."""

    fingerprint: str
    """Of everything that shapes the evidence; the numbers mean nothing for another index."""
    collection: str
    names: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    weights: tuple[float, ...]
    """Of the features less their mean, divided by their scale."""
    bias: float
    threshold: float
    """Evidence below is not enough; 0 to 1."""
    rule: str
    """What chose the threshold."""
    fitted: Mapping[str, Any]
    """On what, and how well it did there, cross-fitted."""

    def strength(self, values: Mapping[str, float]) -> float:
        """Return the probability that the evidence is enough, 0 to 1."""
        rows = zip(self.names, self.means, self.scales, self.weights, strict=True)
        x = self.bias + sum(w * (values[name] - mean) / scale for name, mean, scale, w in rows)
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, x))))


def fingerprint(embedding: str, settings: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the name of all that shapes the evidence: 16 hex digits.

    Args:
        embedding: the embedding model's fingerprint, so that it may have another name.
        settings: the sections `ingest` and `retrieval`; how large a file may be, and the rule for
            the time without a calibration, shape no evidence.
    """
    chunks = {key: settings["ingest"][key] for key in ("chunk_tokens", "chunk_overlap")}
    search = {key: v for key, v in settings["retrieval"].items() if key != "min_similarity"}
    # How evidence is ranked has changed since its scores were first calibrated.
    ranking = "kinds of answers" if search.get("sentences", 1) else "scores and ranks"
    parts = json.dumps([embedding, chunks, search, ranking], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def read_calibration(folder: Path, collection: str) -> Calibration | None:
    """Return the calibration of a collection in the workspace `folder`; None if there is none.

    Raises:
        DataError: the file is damaged.
    """
    path = calibration_path(folder, collection)
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        lists = {key: tuple(row[key]) for key in ("names", "means", "scales", "weights")}
        return Calibration(**{**row, **lists})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"The calibration at {path} cannot be read: {error!r}.",
            hint="groundtune calibrate QUESTIONS.jsonl",
        ) from None


def write_calibration(calibration: Calibration, folder: Path) -> Path:
    """Store a calibration in the workspace `folder`, in one moment, and return its place."""
    path = calibration_path(folder, calibration.collection)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(calibration), indent=1), encoding="utf-8")
    fresh.replace(path)
    return path


def calibration_path(folder: Path, collection: str) -> Path:
    """Return where the calibration of a collection lies in the workspace `folder`."""
    return folder / "calibrations" / f"{collection}.json"


def _share(found: Sequence[str], of: Sequence[str], weights: Mapping[str, float]) -> float:
    total = sum(weights[word] for word in of)
    return sum(weights[word] for word in found) / total if total else 1.0


def _words(text: str) -> list[str]:
    return WORD.findall(text.casefold())
