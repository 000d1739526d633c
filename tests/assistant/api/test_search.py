from tests.assistant.api.conftest import PUMP, Serve


def test_a_search_is_filtered_and_explained_over_http(serve: Serve) -> None:
    service = serve()
    service.upload("sculpin.md", PUMP)
    service.upload("printed.md", PUMP)
    body = {"query": "hose hours of the Sculpin 14", "k": 2, "explain": True}
    found = service.client.post("/api/search", json=body).json()
    hit = found["hits"][0]
    other = ({"sculpin.md", "printed.md"} - {hit["source"]}).pop()
    assert [copy["source"] for copy in hit["also_in"]] == [other]
    assert hit["superseded_by"] is None
    assert hit["explanation"]["dense_rank"] == 1
    assert ("duplicate", other) in {(item["why"], item["source"]) for item in found["dropped"]}
    body = {"query": "hose", "filters": {"kind": ["md", "pdf"], "source": "print*"}}
    found = service.client.post("/api/search", json=body).json()
    assert {hit["source"] for hit in found["hits"]} == {"printed.md"}
    assert found.keys() == {"hits"}
    assert "explanation" not in found["hits"][0]


def test_a_filter_that_fits_nothing_is_answered_with_what_there_is(serve: Serve) -> None:
    service = serve()
    service.upload("sculpin.md", PUMP)
    for path, body in (
        ("/api/search", {"query": "hose"}),
        ("/api/ask", {"question": "hose?", "mode": "rag"}),
    ):
        reply = service.client.post(path, json={**body, "filters": {"kind": "pdf"}})
        assert reply.status_code == 404
        assert reply.json()["error"]["hint"] == "kind is one of: md"
        reply = service.client.post(path, json={**body, "filters": {"kindd": "md"}})
        assert reply.status_code == 400
        assert "Did you mean 'kind'?" in reply.json()["error"]["hint"]


def test_an_abstention_says_what_was_searched(serve: Serve) -> None:
    service = serve(retrieval={"min_similarity": 0.9})
    service.upload("sculpin.md", PUMP)
    body = {"question": "How loud is the hose?", "mode": "rag"}
    answer = service.client.post("/api/ask", json=body).json()
    assert answer["abstained"]
    assert service.engine.requests == []
    searched = answer["searched"]
    assert searched["text"] == ("I searched 1 document in collection default; nearest: Sculpin 14.")
    assert searched["nearest"][0]["source"] == "sculpin.md"
    answer = service.client.post("/api/ask", json={**body, "mode": "base"}).json()
    assert answer["searched"] is None
    assert answer["strength"] is None


def test_a_follow_up_is_searched_for_with_what_it_leans_on(serve: Serve) -> None:
    service = serve(retrieval={"sentences": 1})
    service.upload("sculpin.md", PUMP)
    service.upload("other.md", b"# Loach 6\n\nAnd that: nothing comes after it.")
    history = [{"question": "How long does the hose of the Sculpin 14 last?", "answer": "Long."}]
    body = {"question": "and after that?", "mode": "rag", "history": history}
    service.client.post("/api/ask", json=body)
    assert "400 hours" in service.engine.requests[-1].messages[-1].content
    service.client.post("/api/ask", json={**body, "history": []})
    assert "400 hours" not in service.engine.requests[-1].messages[-1].content
