"""Source code: to the letter, with what it defines as headings."""

import re

from ingest.document import Reading
from ingest.readers.job import Job
from ingest.readers.outline import Outline
from ingest.readers.text import text_of

DEFINITION = re.compile(
    r"(?:(?:export|default|public|private|protected|internal|static|abstract|final|async|pub"
    r"(?:\(\w+\))?|unsafe|data|sealed|open|partial|inline|const)\s+)*"
    r"(?:class|interface|struct|enum|trait|impl|module|namespace|object|protocol|record|type"
    r"|def|func|fn|fun|function|sub|procedure|create\s+(?:or\s+replace\s+)?(?:table|view|function))"
    r"\s+(?:\([^)]*\)\s*)?(?P<name>[A-Za-z_$][\w.$]*)",
    re.IGNORECASE,
)
"""A definition that begins in the first column."""
SECTION = re.compile(r"\[{1,2}(?P<name>[\w.\" -]+)\]{1,2}\s*$")
"""`[section]` of TOML and INI."""
LEADING = re.compile(r"(?:#(?!!)|//|/\*|\*|--|@|\s+\*)")
"""A comment or decorator that belongs to the definition below it."""


def read_source_code(content: bytes, name: str, job: Job) -> Reading:
    """Read code. Lines and indentation stay; a definition starts where its comment does."""
    lines = text_of(content).expandtabs(4).split("\n")
    outline = Outline(name)
    pending: list[str] = []
    for line in lines:
        found = DEFINITION.match(line) or SECTION.match(line)
        if found:
            start = len(pending)
            while start and LEADING.match(pending[start - 1]):
                start -= 1
            outline.paragraph("\n".join(pending[:start]).strip("\n"))
            pending = pending[start:]
            outline.heading(2, found["name"])
        pending.append(line.rstrip())
    outline.paragraph("\n".join(pending).strip("\n"))
    return outline.reading()
