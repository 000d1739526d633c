"""Search and ingestion against the libraries that they stand on."""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from assistant.config import Settings
from assistant.workspace import Workspace
from ingest.files import find_files
from ingest.stores.chroma import ChromaVectors
from tests.bench.ratio import compare

EXAMPLES = Path(__file__).parents[2] / "examples" / "tarnfell"
QUESTIONS = (
    "How tight do the sensor collars of the Burbot 20 go?",
    "What does E-433 mean on the sample cool box?",
    "What does the wind head cost?",
)


def measure(settings: Settings) -> Iterator[str]:
    """Yield the lines of search and ingestion."""
    with tempfile.TemporaryDirectory() as folder:
        home = settings.model_copy(update={"home": Path(folder)})
        with Workspace(home) as workspace:
            workspace.pipeline.run(find_files([str(EXAMPLES / "documents")]), collection="default")
            yield search(workspace)
            yield ingest(workspace)


def search(workspace: Workspace) -> str:
    """Hybrid search against one embedding, one raw Chroma query and one raw FTS query."""
    assert isinstance(workspace.index.vectors, ChromaVectors)
    [vectors] = workspace.index.vectors.graphs("default")
    registry = workspace.registry

    def ours() -> None:
        for question in QUESTIONS:
            workspace.retriever.search(question, k=3)

    def raw() -> None:
        for question in QUESTIONS:
            row = workspace.embedder.embed([question])
            vectors.query(query_embeddings=row.tolist(), n_results=30)
            registry.search(question, collection="default", limit=30)

    return compare("search, 3 questions", ours, raw)


def ingest(workspace: Workspace) -> str:
    """Ingestion of the sample company against the embedding model alone on the same chunks."""
    records = workspace.registry.documents()
    texts = [c.context for r in records for c in workspace.registry.document(r.id)[2]]
    uploads = find_files([str(EXAMPLES / "documents")])

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            fresh = Workspace(workspace.settings.model_copy(update={"home": Path(folder)}))
            fresh.__dict__["embedder"] = workspace.embedder  # loaded once for both
            fresh.pipeline.run(uploads, collection="default")
            fresh.close()

    alone = partial(workspace.embedder.embed, texts)
    return compare(
        "ingest, 40 documents", ours, alone, rounds=5
    )  # each takes a quarter of a minute
