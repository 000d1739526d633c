from pathlib import Path

from assistant.engines.engine import Message
from assistant.prompt import Passage, build_messages
from finetune.dataset import Dataset
from finetune.example import Example, write_examples
from finetune.parity_prompts import parity_prompts, without_evidence

PASSAGES = (Passage("Heron", "Question: is this one?\n\nPassages:\nNo."), Passage("Egret", "Yes."))


def row(question: str, passages: tuple[Passage, ...] = PASSAGES) -> Example:
    prompt = build_messages("Be brief.", question, passages)
    return Example((*prompt, Message("assistant", "Yes.")), question)


def dataset(folder: Path, validation: list[Example], train: list[Example]) -> Dataset:
    write_examples(folder / "validation.jsonl", validation)
    write_examples(folder / "train.jsonl", train)
    return Dataset(folder, {})


def test_taking_the_evidence_away_leaves_what_a_question_without_any_is() -> None:
    for question in ("Which?", "One\nor\n\ntwo?", "Question: Passages:?"):
        messages = build_messages("Be brief.", question, PASSAGES)
        assert without_evidence(messages) == build_messages("Be brief.", question)


def test_a_question_without_evidence_stays_as_it_is() -> None:
    messages = build_messages("Be brief.", "Which?")
    assert without_evidence(messages) == messages


def test_each_held_out_row_is_asked_with_and_without_its_evidence(tmp_path: Path) -> None:
    held = [row("A?"), row("B?", ()), row("C?")]
    prompts = parity_prompts(dataset(tmp_path, held, [row("T?")]), 2)
    assert prompts == [
        build_messages("Be brief.", "A?", PASSAGES),
        build_messages("Be brief.", "A?"),
        build_messages("Be brief.", "B?"),
    ]


def test_training_rows_stand_in_where_too_few_were_held_out(tmp_path: Path) -> None:
    prompts = parity_prompts(dataset(tmp_path, [row("A?", ())], [row("T?", ())] * 3), 3)
    assert [messages[-1].content for messages in prompts] == [
        "Question: A?", "Question: T?", "Question: T?",
    ]  # fmt: skip
