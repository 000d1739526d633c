from pathlib import Path

import pytest

from ingest.document import Block, Reading
from ingest.read import read_document
from ingest.supersedes import superseded_by

SAMPLES = Path(__file__).parents[2] / "examples" / "tarnfell" / "documents"


def said(text: str) -> str:
    return superseded_by(Reading("T", (Block(text),)))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("Supersedes SB-104 rev. A", "SB-104 rev. A"),
        ("Supersedes SB-104 rev. A.\n\nMore.", "SB-104 rev. A"),
        ("Supersedes: pump-2024.md", "pump-2024.md"),
        (
            "Revision: B Valid from: 2025-02-17 Supersedes: a-rev-a.docx Issued by: T",
            "a-rev-a.docx",
        ),
        ("Bulletin: SB-301 | Supersedes: sb-301-rev-a.md | Unit: Ember", "sb-301-rev-a.md"),
        ("- Supersedes: sb-401-rev-1.md\n- Unit: Linnet", "sb-401-rev-1.md"),
        ("This list replaces the 2025 price list.", "the 2025 price list"),
        ("This price list 2026 replaces the price list of 2025. It", "the price list of 2025"),
        (
            "Valid now. This bulletin supersedes SB-104 revision A in full.",
            "SB-104 revision A in full",
        ),
        ("This edition of the manual was cut. This manual supersedes edition 3", "edition 3"),
        ("Replaces: Bulletin SB-99", "Bulletin SB-99"),
    ],
)
def test_what_a_document_supersedes_is_quoted(text: str, what: str) -> None:
    assert said(text) == what


@pytest.mark.parametrize(
    "text",
    [
        "Supersedes: none",
        "Supersedes: n/a",
        "Replaces: TF-3124-1",
        "Part: Fuel cap; Replaces: TF-3124-1; Price: EUR 4.00",
        "Part: Fuel cap; Supersedes: manual part 4; Price: EUR 4.00",
        "The new bush replaces the old one of the 2024 manual.",
        "This list is replaced by the 2026 price list.",
        "This bulletin is superseded by SB-105.",
        "This manual tells how a crew replaces the filter.",
        "This policy replaces the device within 3 days.",
        "This edition supersedes all previous editions.",
        "A higher digit replaces a lower one, but never the other way round.",
        "Tarnfell brings a replacement and replaces the guide of the rope.",
        "A calibration replaces the bump test that falls in the same week.",
        "Ask whether this document or another one replaces the list.",
        "Nobody knows what supersedes: the rule or the exception.",
        "Text. " * 500 + "Supersedes: late.md",
    ],
)
def test_prose_is_not_taken_for_a_notice(text: str) -> None:
    assert said(text) == ""


def test_the_sample_company_has_its_four_pairs() -> None:
    found = {}
    for path in sorted(SAMPLES.rglob("*.*")):
        document = read_document(
            path.read_bytes(), source=path.name, collection="c", path=None, document_id="d"
        )
        if "supersedes" in document.metadata:
            found[path.name] = document.metadata["supersedes"]
    assert found == {
        "ground-sb-203-rev-b.md": "ground-sb-203-rev-a.docx",
        "power-sb-301-ember-48-rev-b.md": "power-sb-301-ember-48-rev-a.md",
        "water-gudgeon-350-field-manual-rev-c.pdf": "water-gudgeon-350-field-manual-rev-b.md",
        "weather-sb-401-linnet-4-bump-test-rev-2.md": "weather-sb-401-linnet-4-bump-test-rev-1.md",
    }
