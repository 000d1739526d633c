from typing import Any

from tests.assistant.api.conftest import PUMP, Serve, Service, events_of

ASK = {"question": "How firmly do I tighten the latch screws of the Sculpin 14?", "mode": "rag"}


def with_pump(serve: Serve) -> Service:
    service = serve()
    service.upload("sculpin.md", PUMP)
    return service


def opinions(service: Service) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = service.client.get("/api/feedback").json()["feedback"]
    return found


def test_an_answer_is_rated_by_the_name_it_came_with(serve: Serve) -> None:
    service = with_pump(serve)
    response = service.client.post("/api/ask", json=ASK)
    answer = response.json()
    assert answer["request_id"] == response.headers["x-request-id"]
    said = {"request_id": answer["request_id"], "rating": "down", "correction": "To 2.2 N.m."}
    assert service.client.post("/api/feedback", json=said).status_code == 200
    [item] = opinions(service)
    assert (item["question"], item["answer"]) == (ASK["question"], answer["answer"])
    assert item["correction"] == "To 2.2 N.m."
    assert [e["marker"] for e in item["evidence"] if e["cited"]] == [
        c["marker"] for c in answer["citations"]
    ]


def test_a_streamed_answer_and_one_of_v1_can_be_rated_too(serve: Serve) -> None:
    service = with_pump(serve)
    streamed = service.client.post("/api/ask", json={**ASK, "stream": True})
    ids = [events_of(streamed.text)[-1][1]["request_id"]]
    chat = {"model": "rag", "messages": [{"role": "user", "content": ASK["question"]}]}
    completion = service.client.post("/v1/chat/completions", json=chat).json()
    ids.append(completion["groundtune"]["request_id"])
    for request_id in ids:
        said = {"request_id": request_id, "rating": "up"}
        assert service.client.post("/api/feedback", json=said).status_code == 200
    assert [item["request_id"] for item in opinions(service)] == ids[::-1]


def test_what_cannot_be_a_rating_is_refused(serve: Serve) -> None:
    client = serve().client
    good = {"request_id": "0" * 32, "rating": "up"}
    assert client.post("/api/feedback", json=good).status_code == 404
    for wrong in ({"rating": "meh"}, {"request_id": "../x"}, {"comment": "x" * 5000}, {"x": 1}):
        assert client.post("/api/feedback", json={**good, **wrong}).status_code == 422


def test_a_deleted_documents_answers_can_no_longer_be_read(serve: Serve) -> None:
    service = with_pump(serve)
    answer = service.client.post("/api/ask", json=ASK).json()
    service.client.post("/api/feedback", json={"request_id": answer["request_id"], "rating": "up"})
    [document] = service.documents()
    service.client.delete(f"/api/documents/{document['id']}")
    assert opinions(service) == []
