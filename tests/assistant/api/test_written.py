import json

from assistant.api.written import PAGE, written
from tests.assistant.api.conftest import Serve


def test_what_is_written_in_pieces_reads_as_if_it_were_written_at_once() -> None:
    text = ('"quoted" \\ back\nnew \U0001f4a7 line\u2028' * PAGE)[: 3 * PAGE + 7]
    body = {
        "text": text,
        "chunk_list": [{"text": text[:9]}, {}],
        "none": None,
        "empty": "",
        "l": [],
    }
    response = written(body)
    assert json.loads(bytes(response.body)) == body
    assert response.headers["content-type"] == "application/json"


def test_a_long_document_comes_back_whole(serve: Serve) -> None:
    service = serve()
    lines = "".join(f"Part {n} is tightened to {n}.5 N·m.\n\n" for n in range(6000))
    assert service.upload("long.md", f"# Long\n\n{lines}".encode())["status"] == "done"
    [listed] = service.documents()
    shown = service.client.get(f"/api/documents/{listed['id']}").json()
    assert len(shown["text"]) > PAGE
    assert "Part 5999 is tightened to 5999.5 N·m." in shown["text"]
    assert len(shown["chunk_list"]) == listed["chunks"] > 100
    for chunk in shown["chunk_list"]:
        assert shown["text"][chunk["start"] : chunk["end"]] == chunk["text"]
