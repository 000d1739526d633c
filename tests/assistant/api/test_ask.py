import json
from typing import Any

import pytest

from ingest.errors import (
    EngineError,
    EngineUnavailableError,
    GroundtuneError,
    MissingModelError,
)
from tests.assistant.api.conftest import PUMP, Serve, Service, events_of
from tests.fakes import ScriptedEngine

ASK = {"question": "How firmly do I tighten the latch screws of the Sculpin 14?", "mode": "rag"}


def with_pump(serve: Serve, engine: ScriptedEngine | None = None, **sections: Any) -> Service:
    service = serve(engine, **sections)
    assert service.upload("sculpin.md", PUMP)["status"] == "done"
    return service


def error_of(service: Service, body: dict[str, Any], status: int) -> dict[str, str]:
    response = service.client.post("/api/ask", json=body)
    assert response.status_code == status, response.text
    error: dict[str, str] = response.json()["error"]
    assert set(error) == {"code", "message", "hint"}
    return error


def test_an_answer_cites_the_words_it_rests_on(serve: Serve) -> None:
    service = with_pump(serve)
    body = service.client.post("/api/ask", json=ASK).json()
    assert body["answer"].startswith("The latch screws are tightened to 2.1 N.m.")
    [citation] = body["citations"]
    text = service.client.get(f"/api/documents/{citation['document_id']}").json()["text"]
    assert text[citation["start"] : citation["end"]] == citation["quote"]
    assert "2.1 N.m" in citation["quote"]
    assert body["usage"]["completion_tokens"] > 0
    assert not body["abstained"]


def test_the_base_arm_is_asked_without_passages(serve: Serve) -> None:
    service = with_pump(serve)
    assert service.client.post("/api/ask", json={**ASK, "mode": "base"}).status_code == 200
    assert "Passages" not in service.engine.requests[-1].messages[-1].content


def test_a_question_far_from_every_document_is_not_put_to_the_model(serve: Serve) -> None:
    service = with_pump(serve)
    body = service.client.post("/api/ask", json={**ASK, "question": "Zebra xylophone?"}).json()
    assert body["abstained"]
    assert body["citations"] == []
    assert service.engine.requests == []


def test_earlier_turns_and_a_schema_reach_the_model(serve: Serve) -> None:
    service = with_pump(serve)
    more = {"history": [{"question": "Hello?", "answer": "Hi."}], "schema": {"type": "object"}}
    assert service.client.post("/api/ask", json={**ASK, **more}).status_code == 200
    request = service.engine.requests[-1]
    assert [m.role for m in request.messages] == ["system", "user", "assistant", "user"]
    assert request.schema == {"type": "object"}


def test_a_stream_ends_with_the_body_that_is_sent_without_streaming(serve: Serve) -> None:
    service = with_pump(serve)
    whole = service.client.post("/api/ask", json=ASK).json()
    response = service.client.post("/api/ask", json={**ASK, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    events = events_of(response.text)
    names = [name for name, _ in events]
    assert names[0] == "evidence"
    assert names[-1] == "done"
    assert set(names[1:-1]) == {"text"}
    assert events[0][1]["evidence"][0]["source"] == "sculpin.md"
    done = events[-1][1]
    for changing in ("timings_ms", "request_id"):
        del done[changing], whole[changing]
    assert done == whole


def test_a_stream_that_breaks_ends_with_an_error_and_no_answer(serve: Serve) -> None:
    service = with_pump(serve, ScriptedEngine("one two three four", fail_after=2))
    events = events_of(service.client.post("/api/ask", json={**ASK, "stream": True}).text)
    assert [name for name, _ in events] == ["evidence", "text", "text", "error"]
    assert events[-1][1]["error"] == {
        "code": "engine_failed",
        "message": "The model fell over.",
        "hint": "Pick it up.",
    }


def test_a_bug_in_the_middle_of_a_stream_is_told_without_its_trace(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    bug = ZeroDivisionError("secret detail")
    service = with_pump(serve, ScriptedEngine("one two", fail_after=1, error=bug))
    response = service.client.post("/api/ask", json={**ASK, "stream": True})
    name, data = events_of(response.text)[-1]
    assert (name, data["error"]["code"]) == ("error", "internal")
    assert "secret detail" not in response.text
    named = [getattr(record, "fields", {}).get("request_id") for record in caplog.records]
    assert response.headers["x-request-id"] in named


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (EngineError, 502, "engine_failed"),
        (EngineUnavailableError, 503, "engine_unavailable"),
        (MissingModelError, 503, "missing_model"),
    ],
)
def test_a_failure_before_the_first_word_is_a_status_with_a_hint(
    serve: Serve, kind: type[GroundtuneError], status: int, code: str, stream: bool
) -> None:
    service = with_pump(serve, ScriptedEngine(fail_after=0, error=kind("No.", hint="Do this.")))
    error = error_of(service, {**ASK, "stream": stream}, status)
    assert (error["code"], error["hint"]) == (code, "Do this.")


def test_a_bug_is_a_500_whose_trace_only_the_log_has(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    bug = ZeroDivisionError("secret detail")
    service = with_pump(serve, ScriptedEngine("one two", fail_after=0, error=bug))
    error = error_of(service, ASK, 500)
    assert error["code"] == "internal"
    assert "secret" not in str(error)
    assert "secret detail" in caplog.text


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_mode_is_answered_with_those_there_are(serve: Serve, stream: bool) -> None:
    error = error_of(with_pump(serve), {**ASK, "mode": "magic", "stream": stream}, 404)
    assert "base, rag, finetuned, combined" in error["message"]


def test_an_unknown_collection_is_answered_with_those_there_are(serve: Serve) -> None:
    error = error_of(with_pump(serve), {**ASK, "collection": "attic"}, 404)
    assert "There are: default." in error["message"]


def test_a_tuned_arm_without_an_adapter_says_how_to_get_one(serve: Serve) -> None:
    error = error_of(with_pump(serve), {**ASK, "mode": "combined"}, 404)
    assert "groundtune finetune" in error["hint"]


def test_a_question_over_the_limit_is_refused(serve: Serve) -> None:
    service = with_pump(serve, limits={"question_chars": 20})
    assert "the limit is 20" in error_of(service, ASK, 413)["message"]


def test_every_problem_of_a_body_is_named_at_once(serve: Serve) -> None:
    error = error_of(serve(), {"top_n": 3, "history": "no"}, 422)
    assert error["code"] == "invalid_request"
    assert "top_n: there is no such field" in error["message"]
    assert "question: Field required" in error["message"]
    assert "history" in error["message"]


def test_a_body_that_is_not_json_is_told_so(serve: Serve) -> None:
    headers = {"content-type": "application/json"}
    response = serve().client.post("/api/ask", content=b"{no", headers=headers)
    assert response.status_code == 422
    assert response.json()["error"]["message"].startswith("The body is not JSON")


def test_a_search_returns_passages_and_asks_no_model(serve: Serve) -> None:
    service = with_pump(serve)
    response = service.client.post("/api/search", json={"query": "hose hours", "k": 1})
    [hit] = response.json()["hits"]
    assert "400 hours" in hit["text"]
    assert hit["heading"].endswith("Hose")
    assert service.engine.requests == []


def with_adapter(service: Service, **manifest: str) -> None:
    folder = service.workspace.adapters.folder / "house" / "v1"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_a_tuned_arm_answers_with_the_adapter_it_names(serve: Serve) -> None:
    service = with_pump(serve)
    with_adapter(service, prompt_fingerprint="prompt", base_sha256="base", created="2026-11-01")
    [listed] = service.client.get("/api/adapters").json()["adapters"]
    assert (listed["name"], listed["version"], listed["created"]) == ("house", "v1", "2026-11-01")
    body = service.client.post("/api/ask", json={**ASK, "mode": "combined"}).json()
    assert body["adapter"] == "house:v1"
    adapter = service.engine.requests[-1].adapter
    assert adapter is not None
    assert adapter.gguf.parent == service.workspace.home / "adapters" / "house" / "v1"
    error = error_of(service, {**ASK, "mode": "finetuned", "adapter": "other"}, 404)
    assert "There are: house:v1." in error["message"]


@pytest.mark.parametrize(
    ("prompt", "base", "what"),
    [("older", "base", "another prompt"), ("prompt", "older", "another base model")],
)
def test_an_adapter_for_another_prompt_or_model_is_refused(
    serve: Serve, prompt: str, base: str, what: str
) -> None:
    service = with_pump(serve)
    with_adapter(service, prompt_fingerprint=prompt, base_sha256=base)
    error = error_of(service, {**ASK, "mode": "finetuned", "stream": True}, 409)
    assert error["code"] == "mismatch"
    assert what in error["message"]


def test_a_model_without_room_is_unavailable_and_says_when_to_come_back(serve: Serve) -> None:
    full = EngineUnavailableError("There is no room.", hint="Ask again in a few seconds.")
    service = with_pump(serve, ScriptedEngine(fail_after=0, error=full))
    for stream in (False, True):  # a stream is refused before its first event
        response = service.client.post("/api/ask", json={**ASK, "stream": stream})
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) > 0
        assert response.json()["error"]["code"] == "engine_unavailable"


def test_one_word_can_name_mode_and_adapter(serve: Serve) -> None:
    service = with_pump(serve)
    body = {"question": ASK["question"], "model": "rag"}
    assert service.client.post("/api/ask", json=body).json()["mode"] == "rag"
    error = error_of(service, {**body, "model": "combined:tickets:v2"}, 404)
    assert "no tuned adapter" in error["message"]
    error = error_of(service, {**body, "model": "guess:tickets"}, 404)
    assert "'guess'" in error["message"]


def test_two_ways_to_name_the_mode_are_one_too_many(serve: Serve) -> None:
    error = error_of(with_pump(serve), {**ASK, "model": "rag"}, 422)
    assert "either `model` or" in error["message"]
