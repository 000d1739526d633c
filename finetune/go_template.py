"""A chat template in Ollama's language, for people who call a deployed model without us.

Groundtune itself renders prompts from the model's own (Jinja) chat template and sends them raw.
"""

import json
from collections.abc import Callable, Sequence

from assistant.engines.engine import Message

Render = Callable[[Sequence[Message]], str]
"""Messages -> the prompt text, up to where the answer begins."""

RAW = "{{ .Prompt }}"
"""Puts nothing around a prompt."""

# Ollama's templates know the messages and their roles; what stands before each depends on who spoke
# before.
TEMPLATE = """\
{{- $last := "" }}
{{- range .Messages }}
{{- if eq .Role "system" }}{{ %(before_system)s }}
{{- else if eq .Role "assistant" }}{{ %(user_to_assistant)s }}
{{- else if eq $last "" }}{{ %(before_user)s }}
{{- else if eq $last "system" }}{{ %(system_to_user)s }}
{{- else }}{{ %(assistant_to_user)s }}
{{- end }}{{ .Content }}{{ $last = .Role }}
{{- end }}
{{- if eq $last "user" }}{{ %(to_answer)s }}{{ end }}"""

SYSTEM, USER, ASSISTANT, LAST = ("MARK-SYSTEM", "MARK-USER", "MARK-ASSISTANT", "MARK-LAST")

CONVERSATIONS = (
    (Message("user", 'Is "5 %" {{ enough }}?'),),
    (Message("system", "Answer in one\nline."), Message("user", "9.5 N·m?")),
    (Message("user", "One?"), Message("assistant", "Yes."), Message("user", "Two?")),
    (
        Message("system", "Be brief."),
        Message("user", "One?"),
        Message("assistant", "Yes."),
        Message("user", "Two?"),
        Message("assistant", "No."),
        Message("user", "Why?"),
    ),
)
"""What both templates must render alike."""


def go_template(render: Render) -> str | None:
    """Return a template that renders as `render` does; None if it is not that simple.

    It is read off what `render` puts between marked messages. Whether a server renders the same is
    for `differences` to say.
    """
    whole = render(
        [
            Message("system", SYSTEM),
            Message("user", USER),
            Message("assistant", ASSISTANT),
            Message("user", LAST),
        ]
    )
    pieces = _between(whole, (SYSTEM, USER, ASSISTANT, LAST))
    alone = _between(render([Message("user", USER)]), (USER,))
    if pieces is None or alone is None:
        return None
    values = {
        "before_system": pieces[0],
        "system_to_user": pieces[1],
        "user_to_assistant": pieces[2],
        "assistant_to_user": pieces[3],
        "to_answer": pieces[4],
        "before_user": alone[0],
    }
    return TEMPLATE % {key: _literal(text) for key, text in values.items()}


def differences(ours: Render, theirs: Render) -> list[str]:
    """Return what `theirs` renders otherwise than `ours`, one line a conversation."""
    found = []
    for messages in CONVERSATIONS:
        expected, got = ours(messages), theirs(messages)
        if expected != got:
            found.append(f"expected {expected!r}, the server renders {got!r}")
    return found


def _between(text: str, marks: Sequence[str]) -> list[str] | None:
    if any(text.count(mark) != 1 for mark in marks):
        return None
    pieces = []
    for mark in marks:
        before, _, text = text.partition(mark)
        pieces.append(before)
    return [*pieces, text]


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a JSON string is a Go string
