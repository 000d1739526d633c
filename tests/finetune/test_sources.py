import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from assistant.engines.engine import Engine, Message, Request
from assistant.prompt import Passage, Turn, build_messages
from finetune.answer_format import AnswerFormat
from finetune.example import Example
from finetune.harvest import harvest, kind_of
from finetune.recipe import DataRecipe, load_recipe
from finetune.rows import Found, House
from finetune.sources.documents import Writing, write_questions
from finetune.sources.feedback import take_feedback
from finetune.sources.source import Desk, Harvest, SourceRecipe
from ingest.document import Chunk
from ingest.errors import ConfigError, DataError, EngineError
from tests.fakes import ScriptedEngine

HOUSE = House(system="Be brief.", abstention="I cannot find this.", shown=2)
FREE = AnswerFormat(None)


def nothing(question: str, k: int) -> Sequence[Found]:
    return []


def no_desk(cache: Path = Path()) -> Desk:
    @contextmanager
    def engine(keys: Mapping[str, Any]) -> Iterator[Engine]:
        raise AssertionError("no engine is needed")
        yield

    return Desk(lambda: iter(()), lambda: [], engine, cache)


@contextmanager
def no_bar(title: str) -> Iterator[Any]:
    yield lambda done, total: None


def take(path: Path, *, retrieve: Any = nothing, **keys: Any) -> Harvest:
    source = SourceRecipe(path=path, **keys)
    return harvest(source, DataRecipe(), HOUSE, retrieve, no_desk(), bar=no_bar)


def write(path: Path, *values: Any) -> Path:
    path.write_text("".join(json.dumps(v) + "\n" for v in values), encoding="utf-8")
    return path


OPENAI = {
    "messages": [
        {"role": "system", "content": "You are somebody else."},
        {"role": "user", "content": "How tight?"},
        {"role": "assistant", "content": "3 N·m."},
        {"role": "user", "content": "And the lid?"},
        {"role": "assistant", "content": "2 N·m."},
    ]
}
SHAREGPT = {
    "id": "c7",
    "conversations": [
        {"from": "human", "value": "How tight?"},
        {"from": "gpt", "value": "3 N·m."},
        {"from": "human", "value": "And the lid?"},
        {"from": "gpt", "value": "2 N·m."},
    ],
}
ALPACA = {"instruction": "How tight?", "input": "The collar.", "output": "3 N·m."}


@pytest.mark.parametrize("log", [OPENAI, SHAREGPT], ids=["OpenAI", "ShareGPT"])
def test_every_answer_of_a_chat_becomes_a_row_in_the_prompt_that_serves(
    tmp_path: Path, log: dict[str, Any]
) -> None:
    rows = take(write(tmp_path / "log.jsonl", log)).examples
    assert [row.target for row in rows] == ["3 N·m.", "2 N·m."]
    second = build_messages("Be brief.", "And the lid?", history=[Turn("How tight?", "3 N·m.")])
    assert list(rows[1].prompt) == second
    assert len({row.source for row in rows}) == 1, "both turns belong to one conversation"


def test_an_alpaca_row_asks_instruction_and_input(tmp_path: Path) -> None:
    (row,) = take(write(tmp_path / "log.jsonl", ALPACA)).examples
    assert row.question == "How tight?\n\nThe collar."
    assert (row.source, row.target) == ("log:1", "3 N·m.")


def test_a_log_may_be_one_json_array(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text(json.dumps([ALPACA, ALPACA], indent=1), encoding="utf-8")
    assert [row.source for row in take(path).examples] == ["log:0", "log:1"]


def test_a_system_text_of_a_log_gives_way_to_that_which_serves_and_is_counted(
    tmp_path: Path,
) -> None:
    found = take(write(tmp_path / "log.jsonl", OPENAI))
    assert {row.messages[0].content for row in found.examples} == {"Be brief."}
    assert found.counts["system_texts_replaced"] == 1


def test_control_tokens_in_a_log_become_ordinary_text(tmp_path: Path) -> None:
    row = {"instruction": "Say <|im_end|>", "output": "<|im_start|>system"}
    (example,) = take(write(tmp_path / "log.jsonl", row)).examples
    assert "<|im_" not in "".join(m.content for m in example.messages)


USER, ASSISTANT = {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"messages": [USER]}, "the assistant's, and it is missing"),
        ({"messages": [USER, USER, ASSISTANT]}, "turn 2 is the user's, expected the assistant's"),
        ({"messages": [ASSISTANT]}, "turn 1 is the assistant's, expected the user's"),
        ({"messages": [{"role": "robot", "content": "?"}, ASSISTANT]}, "role 'robot'"),
        ({"messages": [USER, {"role": "assistant", "content": " "}]}, "turn 2.*is empty"),
        ({"messages": [{"role": "user"}, ASSISTANT]}, "there is no 'content'"),
        ({"conversations": [{"from": "alien", "value": "?"}]}, "is ShareGPT, and .* are OpenAI"),
        ({"text": "once upon a time"}, "neither OpenAI, ShareGPT nor Alpaca: it has the keys text"),
        ([1], "expected a JSON object, got list"),
    ],
)
def test_a_wrong_line_of_a_log_is_named_with_its_reason(
    tmp_path: Path, line: Any, reason: str
) -> None:
    path = write(tmp_path / "log.jsonl", {"messages": [USER, ASSISTANT]}, line)
    with pytest.raises(DataError, match=rf"log\.jsonl:2: .*{reason}"):
        take(path, kind="chat")


def test_all_wrong_lines_are_named_at_once_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    good = json.dumps({"messages": [USER, ASSISTANT]})
    path.write_text(f'{good}\n{{"messages": []}}\nno json\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"(?s):2: OpenAI: .*:3: not JSON"):
        take(path)


@pytest.mark.parametrize("content", [b"", b" \n\n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "log.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=r"log\.jsonl is empty"):
        take(tmp_path / "log.jsonl")


def test_a_file_that_is_not_utf_8_is_refused_with_the_line_and_the_cure(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes("question,answer\na,b\nWärme?,ja\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"(?s)log\.csv:3: not UTF-8: byte 0xe4.*iconv"):
        take(tmp_path / "log.csv")


def test_utf_16_is_recognised_by_its_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("question,answer\na,b\n", encoding="utf-16")
    with pytest.raises(DataError, match="iconv -f UTF-16 -t UTF-8"):
        take(tmp_path / "log.csv")


def table(path: Path, *rows: Mapping[str, str], delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tickets_are_read_by_the_columns_that_are_named(tmp_path: Path, delimiter: str) -> None:
    row = {"Nr": "17", "Betreff": "How tight?", "Antwort": "3 N·m, no more.", "Labels": "torque"}
    found = take(
        table(tmp_path / "tickets.csv", row, delimiter=delimiter),
        columns={"id": "Nr", "question": "Betreff", "answer": "Antwort"},
        evidence=False,
        tags=("mail",),
    )
    (example,) = found.examples
    assert (example.source, example.question, example.target) == (
        "tickets:17",
        "How tight?",
        "3 N·m, no more.",
    )
    assert example.tags == ("mail", "torque", "no_evidence")


def test_usual_column_names_need_no_mapping(tmp_path: Path) -> None:
    path = write(tmp_path / "faq.jsonl", {"Prompt": "How tight?", "Response": "3 N·m."})
    assert take(path, evidence=False).examples[0].source == "faq:1"


def test_a_column_that_is_not_there_is_answered_with_the_nearest(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", {"Subject": "a", "Reply": "b"})
    with pytest.raises(ConfigError, match=r"did you mean 'Reply'"):
        take(path, columns={"answer": "Repyl"})


def test_empty_cells_are_named_by_the_line_they_stand_in(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('question,answer\n"two\nlines",x\nq,\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"t\.csv:4: the answer is empty"):
        take(path)


def test_a_schema_that_the_answers_violate_stops_the_build(tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "required": ["answer"]}', encoding="utf-8")
    rows = [{"question": "a", "answer": '{"answer": "x"}'}, {"question": "b", "answer": "plain"}]
    path = write(tmp_path / "t.jsonl", *rows)
    with pytest.raises(DataError, match=r"t\.jsonl:2: the answer is not JSON"):
        take(path, schema_file=schema, evidence=False)


def test_a_passage_that_supports_an_answer_is_shown_and_one_that_does_not_is_not(
    tmp_path: Path,
) -> None:
    def search(question: str, k: int) -> Sequence[Found]:
        text = "The collar of the Burbot is tightened to 3.2 N·m with the key."
        return [Found("burbot.md", Passage("Burbot", text))]

    path = write(
        tmp_path / "faq.jsonl",
        {"question": "How tight?", "answer": "Tightened to 3.2 N·m with the collar key."},
        {"question": "How tight is it?", "answer": "Tightened to 9.9 N·m with the collar key."},
    )
    data = DataRecipe(without_evidence=0)
    source = SourceRecipe(path=path)
    found = harvest(source, data, HOUSE, search, no_desk(), bar=no_bar)
    held, bare = sorted(found.examples, key=lambda e: e.source)
    assert (held.documents, len(held.evidence)) == (("burbot.md",), 1)
    assert (bare.documents, bare.evidence) == ((), ())
    assert found.counts["unsupported"] == 1


def chunk(number: int, text: str) -> Chunk:
    return Chunk(f"c{number}", "d", "default", f"{number}.md", "T", (), None, 0, 9, text, 0)


TEXTS = ("The lid screws take 2.1 N·m.", "The brush lasts 9000 sweeps of the arm.")
CHUNKS = [chunk(n, text) for n, text in enumerate(TEXTS)]
WRITING = Writing(per_passage=2, passages=0, min_support=0.6, seed=0, parallel=1)


def reply(*pairs: tuple[str, str, str]) -> str:
    keys = ("question", "answer", "quote")
    return json.dumps({"pairs": [dict(zip(keys, pair, strict=True)) for pair in pairs]})


def writer(request: Request) -> str:
    if "9000" in request.messages[-1].content:
        return reply(
            ("When is the brush due?", "It lasts 9000 sweeps of the arm.", TEXTS[1]),
            ("How long does it last?", "It lasts 7000 sweeps of the arm.", TEXTS[1]),
        )
    return reply(
        ("What do the lid screws take?", "They take 2.1 N·m.", TEXTS[0]),
        ("What does the passage say?", "They take 2.1 N·m.", TEXTS[0]),
        ("How firm is the lid?", "They take 2.1 N·m.", "A quote of its own making."),
        ("What do the lid screws take??", "2.1 N·m", TEXTS[0]),
    )


def test_questions_about_documents_are_kept_only_if_the_passage_bears_them_out(
    tmp_path: Path,
) -> None:
    written = write_questions(
        CHUNKS, ScriptedEngine(writer), WRITING, title="documents", cache=tmp_path
    )
    assert sorted(t.question for t in written.tickets) == [
        "What do the lid screws take?",
        "When is the brush due?",
    ]
    assert {t.documents for t in written.tickets} == {("0.md",), ("1.md",)}
    dropped = {key: n for key, n in written.counts.items() if key.startswith("dropped")}
    assert dropped == {
        "dropped: the passage does not support the answer": 1,
        "dropped: the question speaks of the passage": 1,
        "dropped: the quote is not in the passage": 1,
        "dropped: it repeats another question": 1,
    }
    assert written.counts["pairs"] == written.counts["kept"] + sum(dropped.values())


def test_a_run_that_was_cut_off_goes_on_and_asks_for_nothing_twice(tmp_path: Path) -> None:
    def falls_over(request: Request) -> str:
        if "9000" in request.messages[-1].content:
            raise EngineError("The model fell over.")
        return writer(request)

    first = ScriptedEngine(falls_over)
    with pytest.raises(EngineError, match="fell over"):
        write_questions(CHUNKS, first, WRITING, title="d", cache=tmp_path)
    second = ScriptedEngine(writer)
    resumed = write_questions(CHUNKS, second, WRITING, title="d", cache=tmp_path)
    assert len(second.requests) == 1
    fresh = write_questions(
        CHUNKS, ScriptedEngine(writer), WRITING, title="d", cache=tmp_path / "other"
    )
    assert resumed == fresh


def test_a_reply_that_is_not_what_was_asked_for_is_counted(tmp_path: Path) -> None:
    engine = ScriptedEngine("Certainly! Here are some questions.")
    written = write_questions(CHUNKS, engine, WRITING, title="d", cache=tmp_path)
    assert written.tickets == []
    assert written.counts["dropped: the reply is not as asked"] == 2


def opinion(number: int, rating: str, correction: str | None = None) -> dict[str, Any]:
    evidence = {"marker": 1, "source": "a.md", "title": "A", "heading": "B", "text": "38 N·m."}
    return {
        "request_id": f"r{number}",
        "rating": rating,
        "correction": correction,
        "comment": None,
        "question": "How tight?",
        "answer": "Very.",
        "history": [["Hello?", "Hi."]],
        "mode": "rag",
        "adapter": None,
        "evidence": [evidence],
    }


def test_a_correction_becomes_a_row_with_the_evidence_and_history_of_its_answer() -> None:
    opinions = [opinion(2, "down"), opinion(1, "down", "To 38 N·m."), opinion(3, "up")]
    found = take_feedback(opinions, title="feedback", system="S", tags=(), answers=FREE)
    (row,) = found.examples
    served = build_messages(
        "S", "How tight?", [Passage("A > B", "38 N·m.")], history=[Turn("Hello?", "Hi.")]
    )
    assert row == Example(
        (*served, Message("assistant", "To 38 N·m.")),
        "feedback:r1",
        ("correction",),
        ("38 N·m.",),
        ("a.md",),
    )
    assert [item["request_id"] for item in found.review] == ["r2"]
    assert found.counts == {"corrections": 1, "to_review": 1, "liked": 1}


def test_a_source_that_reads_no_file_refuses_one_and_one_that_does_needs_it() -> None:
    with pytest.raises(ConfigError, match="reads no file"):
        kind_of(SourceRecipe(kind="feedback", path=Path("x")))
    with pytest.raises(ConfigError, match="has no path"):
        kind_of(SourceRecipe(kind="table"))


def test_a_recipe_names_one_place_that_rows_come_from(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('name = "x"\n[data]\ndataset = "y"\n[[source]]\nkind = "feedback"\n', "utf-8")
    with pytest.raises(ConfigError, match="given are 2 of the three"):
        load_recipe(path)


def test_a_file_of_a_source_is_taken_from_the_folder_of_the_recipe(tmp_path: Path) -> None:
    write(tmp_path / "faq.jsonl", {"question": "a", "answer": "b"})
    path = tmp_path / "r.toml"
    path.write_text('name = "x"\n[[source]]\npath = "faq.jsonl"\n', encoding="utf-8")
    assert load_recipe(path).source[0].path == tmp_path / "faq.jsonl"
    path.write_text('name = "x"\n[[source]]\npath = "gone.jsonl"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"source\[0\]\.path = 'gone\.jsonl'"):
        load_recipe(path)
