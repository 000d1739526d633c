import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from assistant.adapter import AdapterStore
from assistant.answer import Answer, Ask
from assistant.choice import FILE, Choice, Chooser, trained_questions
from assistant.config import load
from assistant.preparation import make_embedder
from assistant.prompt import Passage, Turn, question_of, user_text
from ingest.embed import Embedder
from ingest.errors import DataError, MismatchError, NotFoundError, UsageError
from ingest.files import Upload
from tests.fakes import HashEmbedder, ScriptedEngine, SmallWorkspace, small_workspace

PUMPS = [
    "How tight is the pump collar?",
    "Which oil does the pump take?",
    "Why does the pump stop?",
]
BOOKS = ["How long may I keep a book?", "What does a lost book cost?", "Can I renew a book?"]


class CountingEmbedder(HashEmbedder):
    """Remembers how many texts it was given at a time."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.batches.append(len(texts))
        return super().embed(texts)


def make(home: Path, name: str, questions: Sequence[str], **manifest: object) -> None:
    """Make an adapter and its data set, as training leaves them."""
    dataset = home / "datasets" / f"{name}-set"
    dataset.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": user_text(q, [Passage("Manual", "It is so.")])},
                {"role": "assistant", "content": "So."},
            ],
            "source": str(number),
        }
        for number, q in enumerate(questions)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (dataset / "train.jsonl").write_text(lines, encoding="utf-8")
    folder = home / "adapters" / name / "v1"
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "prompt_fingerprint": "prompt",
        "base_sha256": "base",
        "created": name,
        "dataset": {"name": f"{name}-set", "sha256": f"{name} {len(questions)}"},
        **manifest,
    }
    (folder / "manifest.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    make(tmp_path, "pumps", PUMPS)
    make(tmp_path, "books", BOOKS)
    return tmp_path


def chooser(
    home: Path, embedder: Embedder | None = None, model: str = "m", threshold: float = 0.3
) -> Chooser:
    return Chooser(
        AdapterStore(home / "adapters"),
        home / "datasets",
        embedder or HashEmbedder(),
        embedding=lambda: model,
        threshold=threshold,
    )


def choose(chooser: Chooser, question: str) -> Choice:
    return chooser.choose(question, lambda adapter: None)


def test_the_adapter_with_the_nearest_training_questions_is_chosen(home: Path) -> None:
    choice = choose(chooser(home), "How long may I renew the book?")
    assert choice.adapter == "books:v1"
    assert list(choice.scores) == ["books:v1", "pumps:v1"]
    assert "books:v1 answers" in choice.body()["text"]


def test_below_the_threshold_no_adapter_is_chosen_and_the_score_says_why(home: Path) -> None:
    choice = choose(chooser(home), "Quantum chromodynamics explained briefly")
    assert choice.adapter is None
    assert max(choice.scores.values()) < choice.threshold
    assert "0.30 is needed" in choice.body()["text"]


def test_the_data_set_is_embedded_once_and_kept_beside_the_adapter(home: Path) -> None:
    choose(chooser(home), "book")
    assert {p.parent.parent.name for p in home.glob(f"adapters/*/v1/{FILE}")} == {"pumps", "books"}
    embedder = CountingEmbedder()
    later = chooser(home, embedder)
    assert choose(later, "book") == choose(later, "book")
    assert embedder.batches == [1, 1]


def test_vectors_of_another_embedding_model_or_data_set_are_made_anew(home: Path) -> None:
    choose(chooser(home), "book")
    embedder = CountingEmbedder()
    choose(chooser(home, embedder, model="other"), "book")
    assert sorted(embedder.batches) == [1, 3, 3]
    make(home, "books", [*BOOKS, "Where is the reading room?"])
    embedder = CountingEmbedder()
    choose(chooser(home, embedder, model="other"), "book")
    assert sorted(embedder.batches) == [1, 4]


def test_a_damaged_file_of_vectors_is_replaced(home: Path) -> None:
    first = choose(chooser(home), "book")
    (home / "adapters" / "books" / "v1" / FILE).write_bytes(b"\xff" * 40)
    assert choose(chooser(home), "book") == first
    assert choose(chooser(home), "book") == first


def test_an_adapter_that_does_not_fit_is_left_out_and_named(home: Path) -> None:
    def check(adapter: object) -> None:
        if getattr(adapter, "name", "") == "books":
            raise MismatchError("It was trained for another prompt.")

    choice = chooser(home).choose("How long may I keep a book?", check)
    assert "books:v1" not in choice.scores
    assert choice.left_out == {"books:v1": "It was trained for another prompt."}


def test_an_adapter_whose_data_set_is_gone_is_left_out_unless_its_vectors_are_kept(
    home: Path,
) -> None:
    train = home / "datasets" / "books-set" / "train.jsonl"
    content = train.read_text(encoding="utf-8")
    train.unlink()
    assert "gone" in choose(chooser(home), "a book").left_out["books:v1"]
    train.write_text(content, encoding="utf-8")
    choose(chooser(home), "a book")
    train.unlink()
    assert choose(chooser(home), "How long may I keep a book?").adapter == "books:v1"


@pytest.mark.parametrize("content", ["{", "[]\n", '{"messages": []}\n', ""])
def test_a_file_that_is_no_data_set_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"train\.jsonl"):
        trained_questions(path)


@pytest.mark.parametrize("passages", [[], [Passage("A > B", "One.\n\nTwo.")]])
def test_a_question_is_read_back_from_the_message_it_became(passages: list[Passage]) -> None:
    for question in ("How long?", "Two things: Question: a?\nand b?"):
        assert question_of(user_text(question, passages)) == question


def test_an_adapter_cannot_be_called_auto(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lets the question choose"):
        AdapterStore(tmp_path).next_version("auto")


@pytest.mark.model
def test_the_questions_of_two_real_houses_find_them(tmp_path: Path) -> None:
    for house, every in (("tarnfell", 6), ("orlwick", 2)):  # for the sake of speed
        rows = Path(f"examples/{house}/tickets.jsonl").read_text(encoding="utf-8").splitlines()
        make(tmp_path, house, [json.loads(row)["question"] for row in rows[::every]])
    settings = load(Path("examples/both.toml"), environ={}).settings
    real = chooser(tmp_path, make_embedder(settings), threshold=settings.answer.adapter_similarity)
    expected = {
        "How often is the seal of the Gudgeon 350 pump changed?": "tarnfell:v1",
        "What does E-163 on the Lamprey 9 mean?": "tarnfell:v1",
        "Until when can I bring back a book I borrowed from the van?": "orlwick:v1",
        "How many boxes of old photographs may one reader look at?": "orlwick:v1",
        "What is the capital of Australia?": None,
        "Which wine goes with grilled trout?": None,
    }
    assert {q: choose(real, q).adapter for q in expected} == expected


def opened(home: Path, **answer: object) -> SmallWorkspace:
    voices = {"books": {"system": "Dear reader.", "refusal": "Ask at the desk."}}
    make(home, "books", BOOKS, prompt_fingerprint="prompt Dear reader.")
    workspace = small_workspace(
        home, ScriptedEngine("Keep it."), answer=answer, voices=voices,
        retrieval={"min_similarity": -1.0},
    )  # fmt: skip
    text = b"# Loans\n\nA book may be kept for 21 days."
    workspace.pipeline.run([Upload("loans.md", None, lambda: text)], collection="default")
    return workspace


def ask(workspace: SmallWorkspace, question: str, **fields: object) -> Answer:
    return asyncio.run(workspace.assistant.answer(Ask(question, **fields)))  # type: ignore[arg-type]


def test_auto_answers_with_the_chosen_adapter_in_its_own_voice(home: Path) -> None:
    workspace = opened(home, system="Be brief.")
    answer = ask(workspace, "How long may I keep a book?", adapter="auto")
    assert (answer.mode, answer.adapter) == ("combined", "books:v1")
    request = workspace.engine.requests[0]  # type: ignore[attr-defined]
    assert request.messages[0].content == "Dear reader."
    assert request.adapter.name == "books:v1"
    assert answer.body()["choice"]["adapter"] == "books:v1"


def test_auto_without_an_adapter_near_enough_answers_as_retrieval_alone_does(home: Path) -> None:
    workspace = opened(home, system="Be brief.", adapter="auto", adapter_similarity=0.99)
    answer = ask(workspace, "How long may I keep some book?")
    plain = ask(workspace, "How long may I keep some book?", mode="rag")
    assert (answer.mode, answer.adapter) == ("rag", None)
    assert answer.choice is not None
    assert answer.choice.adapter is None
    auto, rag = workspace.engine.requests  # type: ignore[attr-defined]
    assert auto == rag
    assert plain.choice is None
    assert ask(workspace, "How long?", mode="finetuned").mode == "base"


def test_a_request_that_names_an_adapter_has_it_whatever_is_configured(home: Path) -> None:
    workspace = opened(home, adapter="auto")
    answer = ask(workspace, "How long may I keep a book?", adapter="pumps")
    assert (answer.adapter, answer.choice) == ("pumps:v1", None)
    with pytest.raises(NotFoundError, match="No adapter called 'boats'"):
        ask(workspace, "?", adapter="boats")


def test_a_follow_up_is_judged_with_what_it_leans_on(home: Path) -> None:
    workspace = opened(home, adapter_similarity=0.3)
    turn = Turn("How long may I keep a book?", "21 days.")
    question = "And for how many weeks?"
    assert ask(workspace, question, adapter="auto", history=(turn,)).adapter == "books:v1"
    assert ask(workspace, question, adapter="auto").adapter is None


def test_an_adapter_trained_for_another_voice_is_refused_by_name(home: Path) -> None:
    workspace = opened(home)
    make(home, "books", BOOKS, prompt_fingerprint="prompt")
    with pytest.raises(MismatchError, match="another prompt"):
        ask(workspace, "How long may I keep a book?", adapter="books")
    assert "books:v1" in ask(workspace, "book?", adapter="auto").choice.left_out  # type: ignore[union-attr]
