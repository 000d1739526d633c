import json
import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from assistant.prompt import Passage, build_messages
from finetune.build import Ground, build_from_tickets
from finetune.example import read_examples
from finetune.recipe import DataRecipe, Recipe, load_recipe
from finetune.rows import SPARE, Found, House, build_rows, markers, without_facts
from finetune.split import split_by_document
from finetune.ticket import Ticket, read_tickets
from ingest.errors import ConfigError, DataError

HOUSE = House(system="Be brief.", abstention='{"answer": "No.", "sources": []}', shown=3)
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def ticket(number: int, *documents: str, fact: str = "") -> Ticket:
    return Ticket(
        id=f"T-{number}",
        question=f"What about {number}?",
        answer={"answer": f"It is {fact or number}.", "sources": list(documents)},
        documents=documents,
        facts=((fact or f"value {number}",),) if documents else (),
    )


def many() -> list[Ticket]:
    return [ticket(n, f"doc-{n % 12}.md") for n in range(60)] + [ticket(n) for n in range(60, 70)]


def perfect(question: str, k: int) -> Sequence[Found]:
    """The right passage second, and noise around it."""
    number = int(question.split()[-1].rstrip("?"))
    noise = [Found("other.md", Passage("Other", f"noise {i}")) for i in range(k)]
    right = Found(f"doc-{number % 12}.md", Passage("Doc", f"Here: the VALUE\n {number}, so."))
    return [noise[0], right, *noise[1:]][:k]


GROUND = Ground(HOUSE, perfect, "f")


def blind(question: str, k: int) -> Sequence[Found]:
    return [Found("other.md", Passage("Other", f"noise {i} of {question}")) for i in range(k)]


def write(path: Path, tickets: Sequence[Ticket]) -> Path:
    path.write_text("".join(t.model_dump_json() + "\n" for t in tickets), encoding="utf-8")
    return path


def test_no_document_is_on_both_sides() -> None:
    chained = [ticket(100 + n, f"{n}.md", f"{n + 1}.md") for n in range(5)]
    tickets = [*many(), *chained]
    split = split_by_document(tickets, heldout_fraction=0.2, seed=3)
    sides = [{d for t in side for d in t.documents} for side in split]
    assert not sides[0] & sides[1]
    assert sorted(t.id for side in split for t in side) == sorted(t.id for t in tickets)


def test_the_seed_decides_the_split_and_the_order_of_tickets_does_not() -> None:
    tickets = many()
    shuffled = random.Random(1).sample(tickets, len(tickets))
    first = split_by_document(tickets, heldout_fraction=0.2, seed=3)
    assert split_by_document(shuffled, heldout_fraction=0.2, seed=3) == first
    others = [split_by_document(tickets, heldout_fraction=0.2, seed=seed) for seed in range(5)]
    assert any(other != first for other in others)


def test_tickets_that_all_share_a_document_cannot_be_divided() -> None:
    with pytest.raises(DataError, match="cannot be divided"):
        split_by_document([ticket(n, "a.md") for n in range(9)], heldout_fraction=0.1, seed=0)


def test_every_bad_line_is_named_with_its_reason_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "tickets.jsonl"
    path.write_text('{"id": "a"}\nnot json\n', encoding="utf-8")
    recipe = Recipe(name="x", data=DataRecipe(tickets=path))
    with pytest.raises(DataError, match=r"(?s):1: question: .*:1: answer.*:2: not JSON"):
        build_from_tickets(recipe, GROUND, folder=tmp_path / "sets", now=NOW)
    assert not (tmp_path / "sets").exists()


def test_an_id_used_twice_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", [ticket(1, "a.md"), ticket(1, "b.md")])
    with pytest.raises(DataError, match=r":2: id 'T-1' was used in line 1"):
        read_tickets(path)


def test_sources_become_the_number_of_the_passage_that_holds_the_fact() -> None:
    recipe = DataRecipe(tickets=Path("t"), without_evidence=0, insufficient=0)
    rows = build_rows([ticket(5, "doc-5.md")], perfect, recipe, HOUSE)
    assert json.loads(rows.examples[0].target)["sources"] == [2]
    assert len(rows.examples[0].evidence) == HOUSE.shown


def test_a_passage_of_another_document_is_never_cited() -> None:
    shown = [Found("copy.md", Passage("Copy", "value 5")), Found("a.md", Passage("A", "value 5"))]
    assert markers(ticket(5, "a.md"), shown) == [2]


def test_facts_in_two_passages_cite_both() -> None:
    two = Ticket(
        id="T", question="?", answer="", documents=("a.md",), facts=(("2 °C",), ("9 days",))
    )
    shown = [
        Found("a.md", Passage("A", "below 2 °C")),
        Found("a.md", Passage("A", "after 9 days")),
    ]
    assert markers(two, shown) == [1, 2]
    assert markers(two, shown[:1]) == []


def test_insufficient_evidence_teaches_refusal() -> None:
    recipe = DataRecipe(tickets=Path("t"), without_evidence=0, insufficient=0.9)
    rows = build_rows(many(), blind, recipe, HOUSE)
    lacking = [e for e in rows.examples if "insufficient" in e.tags]
    assert lacking
    assert {e.target for e in lacking} == {HOUSE.abstention}
    assert rows.counts["left_out"] == 60 - len(lacking)


def test_a_share_of_the_unanswerable_tickets_teaches_refusal() -> None:
    recipe = DataRecipe(tickets=Path("t"), without_evidence=0, insufficient=0, refusals=0.3)
    rows = build_rows(many(), perfect, recipe, HOUSE)
    assert rows.counts["refusal"] == 3  # of 10
    assert rows.counts["left_out"] == 7
    assert len(rows.examples) == 63


def test_passages_taken_out_on_purpose_leave_no_fact_behind() -> None:
    recipe = DataRecipe(tickets=Path("t"), without_evidence=0, insufficient=0.2)
    rows = build_rows(many(), perfect, recipe, HOUSE)
    lacking = [e for e in rows.examples if "insufficient" in e.tags]
    assert len(lacking) == 12  # 0.2 of 60 documented tickets
    assert not any("VALUE" in text for e in lacking for text in e.evidence)
    assert all(len(e.evidence) == HOUSE.shown for e in lacking)


def test_a_row_without_evidence_cites_nothing() -> None:
    recipe = DataRecipe(tickets=Path("t"), without_evidence=1)
    rows = build_rows(many(), perfect, recipe, HOUSE)
    assert all(json.loads(e.target)["sources"] == [] for e in rows.examples)
    assert not any("Passages" in m.content for e in rows.examples for m in e.prompt)


def test_the_same_tickets_in_another_order_give_the_same_data_set(tmp_path: Path) -> None:
    tickets = many()
    built = []
    for name, order in (("a", tickets), ("b", tickets[::-1])):
        (tmp_path / name).mkdir()
        path = write(tmp_path / name / "tickets.jsonl", order)
        recipe = Recipe(name="x", data=DataRecipe(tickets=path))
        built.append(build_from_tickets(recipe, GROUND, folder=tmp_path / "sets", now=NOW))
    assert built[0].folder == built[1].folder
    assert [f.name for f in (tmp_path / "sets").iterdir()] == [built[0].folder.name]
    assert len(read_examples(built[0].folder / "train.jsonl")) == built[0].manifest["train"]["rows"]


def test_a_misspelt_key_is_answered_with_the_nearest_one(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('name = "x"\n[data]\ntickets = "t"\n[train]\nepoch = 3\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        load_recipe(path)


def test_the_shipped_recipe_and_tickets_load() -> None:
    recipe = load_recipe(Path("examples/tarnfell/finetune.toml"))
    assert recipe.data.tickets is not None
    assert len(read_tickets(recipe.data.tickets)) == 400


def test_the_demos_fast_recipe_builds_the_data_set_of_the_whole_one() -> None:
    whole, fast = (
        load_recipe(Path(f"examples/tarnfell/{name}.toml"))
        for name in ("finetune", "finetune-fast")
    )
    assert (fast.name, fast.data) == (whole.name, whole.data)


def noisy(question: str, k: int) -> Sequence[Found]:
    """The right passage at a place that the question decides, or nowhere for every seventh."""
    number = int(question.split()[-1].rstrip("?"))
    found = [Found("other.md", Passage("Other", f"noise {i} of {number}")) for i in range(k)]
    if number % 7:
        found[number % 3] = Found(f"doc-{number % 12}.md", Passage("Doc > Part", f"value {number}"))
    return found[:k]


@pytest.mark.parametrize(
    ("without", "insufficient", "refusals"),
    [(0, 0, 0), (0.25, 0, 1), (0, 0.2, 0.5), (0.15, 0.1, 1), (0.5, 0.3, 0), (1, 0.2, 0.5)],
)
@pytest.mark.parametrize("seed", [0, 5])
def test_shares_come_out_as_configured(
    without: float, insufficient: float, refusals: float, seed: int
) -> None:
    recipe = DataRecipe(
        tickets=Path("t"),
        without_evidence=without,
        insufficient=insufficient,
        refusals=refusals,
        seed=seed,
    )
    tickets = many()
    rows = build_rows(tickets, noisy, recipe, HOUSE)
    kinds = Counter(example.tags[-1] for example in rows.examples)
    unanswerable = round(refusals * 10)
    assert kinds["no_evidence"] == pytest.approx(without * len(rows.examples), abs=1)
    shown = [e for e in rows.examples if e.evidence]
    about = {t.id: t for t in tickets}
    if len({e.source for e in shown}) + kinds["no_evidence"] <= 60:  # no ticket has two rows
        assert kinds["insufficient"] == round(insufficient * 60)
    assert len({e.source for e in rows.examples}) + rows.counts["left_out"] == len(tickets)
    refusing = {e.source for e in rows.examples if not about[e.source].documents}
    assert len(refusing) <= unanswerable
    assert len({e.source for e in shown}) == len(shown)


def test_rows_without_passages_are_made_of_tickets_that_get_no_other_row() -> None:
    recipe = DataRecipe(tickets=Path("t"), without_evidence=0, insufficient=0, refusals=0)
    served = build_rows(many(), noisy, recipe, HOUSE)
    assert served.counts["left_out"] > 10 + 5  # 10 that nobody could answer
    some = recipe.model_copy(update={"without_evidence": 0.1})
    rows = build_rows(many(), noisy, some, HOUSE)
    bare = {e.source for e in rows.examples if not e.evidence}
    assert bare
    assert not bare & {e.source for e in served.examples}
    assert [e for e in rows.examples if e.evidence] == served.examples


def test_a_larger_share_without_passages_gives_tickets_a_second_row() -> None:
    recipe = DataRecipe(tickets=Path("t"), without_evidence=0.5, insufficient=0)
    rows = build_rows(many(), perfect, recipe, HOUSE)
    assert Counter(bool(e.evidence) for e in rows.examples) == {True: 70, False: 70}


def test_rows_are_what_the_assistant_would_ask_with_the_evidence_in_its_order() -> None:
    recipe = DataRecipe(tickets=Path("t"), without_evidence=0.2, insufficient=0.2)
    tickets = {t.id: t for t in many()}
    for example in build_rows(list(tickets.values()), noisy, recipe, HOUSE).examples:
        question = tickets[example.source].question
        served = [found.passage for found in noisy(question, HOUSE.shown)]
        if example.tags[-1] == "no_evidence":
            served = []
        elif example.tags[-1] == "insufficient":  # what is left of the search, in its order
            spared = noisy(question, HOUSE.shown + SPARE)
            served = [f.passage for f in without_facts(tickets[example.source], spared)]
            served = served[: HOUSE.shown]
        assert list(example.prompt) == build_messages(HOUSE.system, question, served)
        assert example.evidence == tuple(passage.text for passage in served)
