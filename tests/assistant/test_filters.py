import pytest

from assistant.filters import matching, parse_filters
from ingest.document import Record
from ingest.errors import NotFoundError, UsageError


def record(source: str, kind: str, title: str, **metadata: str) -> Record:
    name = source.partition(".")[0]
    return Record(name, "default", source, title, "done", 1, None, "", None, None, kind, metadata)


RECORDS = [
    record("manuals/pump.md", "md", "Pump Manual", author="Desk"),
    record("manuals/drill.pdf", "pdf", "Drill Manual"),
    record("lists/prices.html", "html", "Prices", author="Sales"),
]


@pytest.mark.parametrize(
    ("filters", "sources"),
    [
        ({}, {"manuals/pump", "manuals/drill", "lists/prices"}),
        ({"source": "manuals/*"}, {"manuals/pump", "manuals/drill"}),
        ({"kind": ["pdf", "html"]}, {"manuals/drill", "lists/prices"}),
        ({"source": "manuals/*", "kind": "pdf"}, {"manuals/drill"}),
        ({"title": "pump manual"}, {"manuals/pump"}),
        ({"document_id": "lists/prices"}, {"lists/prices"}),
        ({"author": "sales"}, {"lists/prices"}),
    ],
)
def test_every_key_must_fit_by_one_of_its_values(
    filters: dict[str, str | list[str]], sources: set[str]
) -> None:
    assert matching(RECORDS, filters, "default") == sources


def test_an_unknown_key_names_the_nearest_and_all_there_are() -> None:
    with pytest.raises(UsageError, match=r"filtered by 'auther'") as error:
        matching(RECORDS, {"auther": "Sales"}, "default")
    assert "Did you mean 'author'?" in error.value.hint
    assert "source, kind, title, document_id, author" in error.value.hint


def test_a_filter_that_fits_no_document_says_which_and_what_there_is() -> None:
    with pytest.raises(NotFoundError, match="fits kind = 'docx' together with source") as error:
        matching(RECORDS, {"source": "manuals/*", "kind": "docx"}, "default")
    assert error.value.hint == "kind is one of: md, pdf"


def test_arguments_with_the_same_key_are_alternatives() -> None:
    assert parse_filters(["kind=pdf", "kind = md", "title=a=b"]) == {
        "kind": ["pdf", "md"],
        "title": ["a=b"],
    }


@pytest.mark.parametrize("argument", ["kind", "=pdf", "kind=", ""])
def test_an_argument_without_key_or_value_is_refused(argument: str) -> None:
    with pytest.raises(UsageError, match="is not KEY=VALUE"):
        parse_filters([argument])
