"""What a search shows of a real index, and what it leaves out."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from assistant.commands.search import render
from assistant.local import LocalWorkspace
from assistant.rerank import CrossEncoderReranker
from assistant.retrieve import Retriever
from ingest.errors import ConfigError, NotFoundError, UsageError
from ingest.files import find_files
from tests.fakes import HashEmbedder, ScriptedEngine, SmallWorkspace, small_workspace

CARE = (
    "Before the pump is lowered, check that the collar sits firmly, that the cable is dry, and "
    "that no sand is left in the inlet; a worn inlet strainer is changed on the same day."
)
FILES = {
    "sb-7-rev-a.md": "# Bulletin SB-7 revision A\n\nThe pump collar is tightened to 8 N·m.",
    "sb-7-rev-b.md": "# Bulletin SB-7 revision B\n\nThe pump collar is tightened to 9 N·m now.",
    "manual.md": f"# Pump manual\n\n## Care\n\n{CARE}\n\n"
    "## Oil\n\nChange the oil every 90 days.\n\n"
    "## Winter\n\nDrain the pump before the first frost.",
    "copy.md": f"# Pump manual, printed\n\n{CARE}",
    "drill.txt": "The drill has no pump and no collar, but a chuck.",
}


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[SmallWorkspace]:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    opened = small_workspace(tmp_path / "w", ScriptedEngine())
    opened.pipeline.run(find_files([str(folder)]), collection="default")
    yield opened
    opened.close()


def says(workspace: SmallWorkspace, source: str, supersedes: str) -> None:
    """Let a document say of itself what it supersedes, as a reader would."""
    (record,) = [r for r in workspace.registry.documents("default") if r.source == source]
    with workspace.registry.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE documents SET metadata = json_object('supersedes', ?) WHERE id = ?",
            (supersedes, record.id),
        )


def sources(workspace: SmallWorkspace, query: str, **options: object) -> list[str]:
    hits = workspace.retriever.search(query, k=9, **options)  # type: ignore[arg-type]
    return [hit.chunk.source for hit in hits]


def test_a_superseded_document_is_left_out_while_its_successor_is_there(
    workspace: SmallWorkspace,
) -> None:
    both = sources(workspace, "SB-7 collar torque")
    assert {"sb-7-rev-a.md", "sb-7-rev-b.md"} <= set(both)
    says(workspace, "sb-7-rev-b.md", "SB-7 rev A")
    assert sources(workspace, "SB-7 collar torque") == [s for s in both if s != "sb-7-rev-a.md"]
    (successor,) = [r for r in workspace.registry.documents() if r.source == "sb-7-rev-b.md"]
    workspace.index.delete(successor.id)
    assert "sb-7-rev-a.md" in sources(workspace, "SB-7 collar torque")


def test_superseded_passages_can_be_had_behind_the_current_ones_and_say_so(
    workspace: SmallWorkspace,
) -> None:
    says(workspace, "sb-7-rev-b.md", "sb-7-rev-a.md")
    hits = workspace.retriever.search(
        "revision A collar tightened to 8 N·m", k=3, include_superseded=True
    )
    labels = [(hit.chunk.source, hit.superseded_by) for hit in hits]
    assert labels[-1] == ("sb-7-rev-a.md", "sb-7-rev-b.md")
    assert all(newer is None for _, newer in labels[:-1])


def test_a_superseded_document_is_shown_where_the_filter_leaves_its_successor_out(
    workspace: SmallWorkspace,
) -> None:
    says(workspace, "sb-7-rev-b.md", "sb-7-rev-a.md")
    assert sources(workspace, "collar", filters={"source": "*rev-a*"}) == ["sb-7-rev-a.md"]


def test_what_is_left_out_makes_room_for_what_is_further_down(workspace: SmallWorkspace) -> None:
    says(workspace, "sb-7-rev-b.md", "sb-7-rev-a.md")
    narrow = Retriever(workspace.index, candidates=1, dense_weight=0.5, sentences=0)
    hits = narrow.search("The pump collar is tightened to 8 N·m", k=4)
    assert len(hits) == 4
    assert "sb-7-rev-a.md" not in [hit.chunk.source for hit in hits]
    narrow.close()


def test_what_is_left_out_at_the_end_makes_room_as_well(workspace: SmallWorkspace) -> None:
    says(workspace, "sb-7-rev-b.md", "sb-7-rev-a.md")
    narrow = Retriever(workspace.index, candidates=1, dense_weight=0.5, sentences=0)
    query = "chuck drill, SB-7 revision A collar"
    for k in range(1, 6):
        assert len(narrow.search(query, k=k)) == k
    narrow.close()


def test_a_passage_that_stands_twice_is_shown_once_with_both_places(
    workspace: SmallWorkspace,
) -> None:
    first = workspace.retriever.search(CARE, k=1)[0]
    other = {"manual.md": "copy.md", "copy.md": "manual.md"}[first.chunk.source]
    assert [copy.source for copy in first.copies] == [other]
    assert sources(workspace, CARE).count(other) == (2 if other == "manual.md" else 0)


def test_filters_keep_a_search_to_the_documents_that_fit(workspace: SmallWorkspace) -> None:
    assert sources(workspace, "pump collar", filters={"kind": "txt"}) == ["drill.txt"]
    assert set(sources(workspace, "pump", filters={"source": ["sb-*", "drill*"]})) == {
        "sb-7-rev-a.md", "sb-7-rev-b.md", "drill.txt",
    }  # fmt: skip
    with pytest.raises(NotFoundError, match="fits kind = 'pdf'"):
        sources(workspace, "pump", filters={"kind": "pdf"})
    with pytest.raises(UsageError, match="filtered by 'kin'"):
        sources(workspace, "pump", filters={"kin": "pdf"})


@pytest.mark.parametrize("budget", [12, 30, 400])
def test_a_passage_grows_by_its_neighbours_within_the_budget(
    workspace: SmallWorkspace, budget: int
) -> None:
    wide = Retriever(
        workspace.index, candidates=9, dense_weight=0.5, sentences=0, neighbour_tokens=budget
    )
    plain = workspace.retriever.search("change the oil every 90 days", k=1)[0].chunk
    hits = wide.search("change the oil every 90 days", k=9)
    for hit in hits:
        text = workspace.registry.document(hit.chunk.document_id)[1]
        assert text[hit.chunk.start : hit.chunk.end] == hit.chunk.text
    grown = hits[0].chunk
    assert grown.id == plain.id
    assert plain.text in grown.text
    if len(HashEmbedder().tokenize(plain.text)) < budget:
        assert len(HashEmbedder().tokenize(grown.text)) <= budget
    assert ("frost" in grown.text) == (budget >= 30)
    assert ("Before the pump" in grown.text) == (budget >= 400)
    # What a better passage took in is not shown again.
    assert sum("frost" in hit.chunk.text for hit in hits) == 1
    wide.close()


class Backwards:
    """Ranks by how early in the alphabet the text begins."""

    name = "backwards"

    def __init__(self) -> None:
        self.read: list[str] = []

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        self.read = list(texts)
        return [-float(ord(text[0])) for text in texts]


def test_a_reranker_orders_what_it_reads_and_the_rest_stays_behind(
    workspace: SmallWorkspace,
) -> None:
    model = Backwards()
    again = Retriever(
        workspace.index, candidates=9, dense_weight=0.7, sentences=0, reranker=model,
        rerank_candidates=4,
    )  # fmt: skip
    plain = workspace.retriever.rank("pump collar oil drill", limit=9)
    hits = again.rank("pump collar oil drill", limit=9)
    assert model.read == [hit.chunk.context for hit in plain[:4]]
    assert [hit.chunk.id for hit in hits[4:]] == [hit.chunk.id for hit in plain[4:]]
    assert [hit.rerank for hit in hits[:4]] == sorted(
        (-float(ord(t[0])) for t in model.read), reverse=True
    )
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert {hit.fused for hit in hits} == {hit.fused for hit in plain}
    again.close()


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random cross-encoder of two layers, with a vocabulary of letters."""
    return _save_cross_encoder(tmp_path_factory.mktemp("rank") / "one", labels=1)


def _save_cross_encoder(folder: Path, labels: int) -> Path:
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder.mkdir(parents=True)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, num_labels=labels,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_any_cross_encoder_of_sentence_transformers_ranks(
    workspace: SmallWorkspace, cross_encoder: Path, tmp_path: Path
) -> None:
    settings = {"rerank": f"file:{cross_encoder}", "top_k": 3}
    opened = small_workspace(workspace.home, ScriptedEngine(), retrieval=settings)
    hits = opened.retriever.search("pump collar", k=3)
    scores = [hit.rerank for hit in hits if hit.rerank is not None]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 3
    opened.close()


def test_a_model_that_classifies_is_refused_as_a_reranker(tmp_path: Path) -> None:
    folder = _save_cross_encoder(tmp_path / "three", labels=3)
    with pytest.raises(ConfigError, match="gives 3 scores a pair; one is needed"):
        CrossEncoderReranker("file:three", folder)


def test_an_explained_search_shows_both_ranks_and_what_was_left_out(
    workspace: SmallWorkspace,
) -> None:
    says(workspace, "sb-7-rev-b.md", "sb-7-rev-a.md")
    body = LocalWorkspace(workspace).search(f"8 collar {CARE}", k=9, explain=True)
    first = body["hits"][0]
    how = first["explanation"]
    assert {how["dense_rank"], how["bm25_rank"]} <= {1, 2}  # its copy has the other place
    assert first["score"] == how["fused"] > 0.9
    assert {(item["why"], item["by"]) for item in body["dropped"]} == {
        ("superseded", "sb-7-rev-b.md"),
        ("duplicate", first["source"]),
    }
    text = render(body)
    assert f"dense rank {how['dense_rank']} (cosine {how['cosine']:.3f})" in text
    assert f"BM25 rank {how['bm25_rank']} (score {how['bm25']:.2f})" in text
    assert f"also in: {first['also_in'][0]['source']}" in text
    assert "superseded by sb-7-rev-b.md" in text
    plain = LocalWorkspace(workspace).search("collar")
    assert plain.keys() == {"hits"}
    assert "explanation" not in plain["hits"][0]


@pytest.mark.parametrize(
    "query", ["the of and", "???", "x" * 8000, "насос", "水泵", "مضخة 20", "\x00", "a\ud800b"]
)
def test_any_query_is_searched_for(workspace: SmallWorkspace, query: str) -> None:
    assert len(workspace.retriever.search(query, k=3)) == 3


def test_more_passages_than_there_are_gives_all_of_them(workspace: SmallWorkspace) -> None:
    hits = workspace.retriever.search("pump", k=500)
    ids = [hit.chunk.id for hit in hits] + [copy.id for hit in hits for copy in hit.copies]
    assert sorted(ids) == sorted(workspace.index.vectors.ids())


def test_an_empty_collection_finds_nothing_and_no_filter_fits_it(
    workspace: SmallWorkspace,
) -> None:
    assert sources(workspace, "pump", collection="empty") == []
    with pytest.raises(NotFoundError, match="No document of collection 'empty' fits"):
        sources(workspace, "pump", collection="empty", filters={"kind": "md"})
