"""`/v1`, through the official client, on a real socket."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import openai
import pytest
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

from assistant.api.app import create_app
from assistant.engines.engine import Request
from ingest.errors import EngineUnavailableError
from ingest.files import Upload
from tests.assistant.api.conftest import PUMP, listening, tuned
from tests.fakes import ScriptedEngine, SmallWorkspace, small_workspace

QUESTION = "How firmly do I tighten the latch screws of the Sculpin 14?"
REPLY = "The latch screws [7] are tightened to 2.1 N.m [1]."
HOUSE = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "sources": {"x-citations": True}},
}


class Talk(NamedTuple):
    client: openai.OpenAI
    engine: ScriptedEngine
    workspace: SmallWorkspace
    url: str

    def ask(self, *messages: tuple[str, str], model: str = "rag", **more: Any) -> Any:
        turns = [{"role": role, "content": text} for role, text in messages or [("user", QUESTION)]]
        return self.client.chat.completions.create(model=model, messages=turns, **more)  # type: ignore[call-overload]


Start = Callable[..., Talk]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(engine: ScriptedEngine | None = None, **sections: Any) -> Talk:
            engine = engine or ScriptedEngine(REPLY)
            workspace = small_workspace(tmp_path / "home", engine, **sections)
            workspace.pipeline.run([Upload("sculpin.md", None, lambda: PUMP)], collection="default")
            url = stack.enter_context(listening(create_app(workspace)))
            client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
            stack.callback(client.close)
            return Talk(client, engine, workspace, url)

        yield begin


def joined(chunks: list[Any]) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def test_an_answer_carries_its_citations_as_annotations_and_in_full(start: Start) -> None:
    talk = start()
    completion = talk.ask()
    [choice] = completion.choices
    text = choice.message.content
    assert text == "The latch screws are tightened to 2.1 N.m. [1]"
    assert choice.finish_reason == "stop"
    [note] = choice.message.annotations
    place = note.url_citation
    assert text[place.start_index : place.end_index] == "[1]"
    assert place.title == "Sculpin 14"
    grounding = completion.groundtune
    [citation] = grounding["citations"]
    assert place.url == f"{talk.url}/api/documents/{citation['document_id']}"
    assert "2.1 N.m" in citation["quote"]
    [sentence] = grounding["support"]
    assert sentence["markers"] == [1]
    assert 0.5 <= sentence["score"] <= 1
    assert grounding["markers_removed"] == 1  # [7] was nobody's
    usage = completion.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0


def test_a_stream_adds_up_to_the_whole_answer(start: Start) -> None:
    talk = start()
    whole = talk.ask()
    chunks = list(talk.ask(stream=True, stream_options={"include_usage": True}))
    assert joined(chunks) == whole.choices[0].message.content
    *_, last, usage = chunks
    assert last.choices[0].finish_reason == "stop"
    assert last.choices[0].delta.annotations == [
        n.model_dump() for n in whole.choices[0].message.annotations
    ]
    assert last.groundtune["citations"] == whole.groundtune["citations"]
    assert usage.choices == []
    assert usage.usage == whole.usage
    assert len({c.id for c in chunks}) == 1


def test_without_the_option_no_usage_is_streamed(start: Start) -> None:
    assert all(chunk.usage is None and chunk.choices for chunk in start().ask(stream=True))


def test_a_json_answer_is_streamed_with_its_citations_corrected(start: Start) -> None:
    talk = start(ScriptedEngine('{"answer": "Tighten them to 2.1 N.m.", "sources": [9]}'))
    form = {"type": "json_schema", "json_schema": {"name": "house", "schema": HOUSE}}
    chunks = list(talk.ask(stream=True, response_format=form))
    assert json.loads(joined(chunks)) == {"answer": "Tighten them to 2.1 N.m.", "sources": [1]}
    assert chunks[-1].groundtune["markers_removed"] == 1
    assert talk.engine.requests[-1].schema == HOUSE
    talk.ask(response_format={"type": "json_object"})
    assert talk.engine.requests[-1].schema == {"type": "object"}


def test_the_parameters_of_a_generation_reach_the_model(start: Start) -> None:
    talk = start()
    completion = talk.ask(max_tokens=3, stop=[" to"], seed=-1, temperature=0.7, user="anna")
    request = talk.engine.requests[-1]
    assert (request.max_tokens, request.stop) == (3, (" to",))
    assert (request.seed, request.temperature) == (2**32 - 1, 0.7)
    assert completion.choices[0].finish_reason == "length"
    talk.ask(max_tokens=3, max_completion_tokens=50, stop="firm")
    assert (talk.engine.requests[-1].max_tokens, talk.engine.requests[-1].stop) == (50, ("firm",))


def test_a_stop_text_ends_the_answer(start: Start) -> None:
    assert start().ask(stop=" are").choices[0].message.content == "The latch screws"


def test_earlier_turns_are_shown_to_the_model(start: Start) -> None:
    talk = start()
    talk.ask(("user", "Hello?"), ("assistant", "Hi."), ("user", "Well."), ("user", QUESTION))
    messages = talk.engine.requests[-1].messages
    assert [m.role for m in messages] == ["system", "user", "assistant", "user"]
    assert messages[2].content == "Hi."
    assert f"Well.\n\n{QUESTION}" in messages[3].content


def test_a_conversation_that_outgrows_the_window_loses_its_oldest_turns_first(start: Start) -> None:
    talk = start(ScriptedEngine(REPLY, context_tokens=400))
    old = [("user", "word " * 60), ("assistant", "word " * 60)]
    completion = talk.ask(*old, *old, ("user", "Hello?"), ("assistant", "Hi."), ("user", QUESTION))
    assert completion.groundtune["history_dropped"] == 2
    assert completion.groundtune["evidence_dropped"] == 0
    assert [m.content for m in talk.engine.requests[-1].messages][2] == "Hi."


def test_system_messages_stand_below_the_houses_own(start: Start) -> None:
    talk = start()
    completion = talk.ask(("system", "Be brief."), ("developer", "In Latin."), ("user", QUESTION))
    house = talk.workspace.settings.answer.system
    said = talk.engine.requests[-1].messages[0].content
    assert said == f"{house}\n\nBe brief.\n\nIn Latin."
    assert completion.groundtune["system"] == "added"
    assert talk.ask().groundtune["system"] == "none"


def test_a_tuned_arm_is_asked_as_it_was_trained(start: Start) -> None:
    talk = start()
    tuned(talk.workspace, "house:v1")
    completion = talk.ask(("system", "Be brief."), ("user", QUESTION), model="combined:house:v1")
    assert talk.engine.requests[-1].messages[0].content == talk.workspace.settings.answer.system
    assert completion.groundtune["system"] == "left_out"
    assert completion.groundtune["adapter"] == "house:v1"
    assert completion.model == "combined:house:v1"


def test_the_models_are_the_arms_with_their_adapters(start: Start) -> None:
    talk = start()
    assert [m.id for m in talk.client.models.list()] == ["base", "rag"]
    tuned(talk.workspace, "house:v1")
    ids = [m.id for m in talk.client.models.list()]
    arms = ["base", "rag", "finetuned", "combined"]
    auto = ["finetuned:auto", "combined:auto"]
    assert ids == [*arms, *auto, "finetuned:house:v1", "combined:house:v1"]
    assert talk.client.models.retrieve("combined:house:v1").created > 0
    assert all(talk.ask(model=name).choices for name in ids)
    with pytest.raises(openai.NotFoundError, match="no model 'gpt'"):
        talk.client.models.retrieve("gpt")


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model_is_named(start: Start, stream: bool) -> None:
    with pytest.raises(openai.NotFoundError, match="base, rag, finetuned, combined") as caught:
        start().ask(model="gpt-4o", stream=stream)
    assert caught.value.code == "not_found"
    assert caught.value.type == "invalid_request_error"


@pytest.mark.parametrize(
    ("more", "param", "message"),
    [
        ({"top_p": 0.5}, None, "top_p is not supported"),
        ({"n": 2}, None, "n is not supported"),
        ({"tools": [{"type": "function"}]}, None, "tools is not supported"),
        ({"extra_body": {"colour": 1}}, None, "colour: there is no such field"),
        ({"temperature": 3}, "temperature", "less than or equal to 2"),
        ({"stop": ["a"] * 5}, "stop", "at most 4"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "give the schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": 1}}}},
            "response_format.json_schema.schema",
            "not a JSON schema",
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(
    start: Start, more: dict[str, Any], param: str | None, message: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=message) as caught:
        start().ask(**more)
    if param is not None:
        assert caught.value.param == param


@pytest.mark.parametrize(
    "messages",
    [
        [("user", "Hi."), ("assistant", "Hi.")],
        [("assistant", "Hi."), ("user", "x")],
        [("user", " ")],
    ],
)
def test_a_conversation_without_an_open_question_is_refused(
    start: Start, messages: list[tuple[str, str]]
) -> None:
    with pytest.raises(openai.BadRequestError, match="question"):
        start().ask(*messages)


def test_a_picture_is_refused(start: Start) -> None:
    part = {"type": "image_url", "image_url": {"url": "data:,"}}
    with pytest.raises(openai.BadRequestError):
        start().client.chat.completions.create(
            model="rag",
            messages=[{"role": "user", "content": [part]}],  # type: ignore[list-item]
        )


def test_a_question_over_the_limit_is_told_as_clients_know_it(start: Start) -> None:
    with pytest.raises(openai.BadRequestError, match="the limit is 10") as caught:
        start(limits={"question_chars": 10}).ask()
    assert caught.value.code == "context_length_exceeded"


def test_a_stream_that_breaks_raises_in_the_client(start: Start) -> None:
    talk = start(ScriptedEngine("one two three", fail_after=2))
    with pytest.raises(openai.APIError, match="fell over"):
        list(talk.ask(stream=True))


def test_a_full_queue_is_a_503_to_come_back_to(start: Start) -> None:
    full = EngineUnavailableError("There is no room.")
    with pytest.raises(openai.InternalServerError, match="no room") as caught:
        start(ScriptedEngine("x", fail_after=0, error=full)).ask()
    assert caught.value.status_code == 503
    assert caught.value.response.headers["retry-after"] == "5"


def test_llama_index_talks_to_it_as_to_any_server_of_its_kind(start: Start) -> None:
    talk = start()
    model = OpenAILike(
        model="rag", api_base=f"{talk.url}/v1", api_key="none", is_chat_model=True, max_retries=0
    )
    assert str(model.complete(QUESTION)) == "The latch screws are tightened to 2.1 N.m. [1]"
    turns = [ChatMessage(role="system", content="Be brief."), ChatMessage(content=QUESTION)]
    pieces = [piece.delta for piece in model.stream_chat(turns)]
    assert "".join(filter(None, pieces)) == "The latch screws are tightened to 2.1 N.m. [1]"
    asked: Request = talk.engine.requests[-1]
    assert asked.messages[0].content.endswith("Be brief.")
