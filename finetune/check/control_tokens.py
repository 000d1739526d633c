"""Control tokens of chat templates inside texts: they end a turn in the middle of a sentence."""

from assistant.prompt import CONTROL_TOKEN
from finetune.check.finding import Finding, Spot, Subject


def check_control_tokens(subject: Subject) -> list[Finding]:
    """List the rows with a control token in a message that is not the system's."""
    found = []
    for row in subject.rows:
        for message in row.example.messages:
            if message.role == "system":
                continue  # the owner's own, sent as it is
            match = CONTROL_TOKEN.search(message.content)
            named = [token for token in subject.control_tokens if token in message.content]
            if match or named:
                shown = named[0] if named else message.content[match.start() :][:24]  # type: ignore[union-attr]
                found.append(Spot(row, f"in the {message.role}'s message: {shown!r}"))
                break
    if not found:
        return [Finding("control tokens", "note", "No text holds a control token.")]
    return [
        Finding(
            "control tokens",
            "error",
            f"{len(found)} rows hold a control token of a chat template as text.",
            tuple(found),
            "neutralise",
        )
    ]
