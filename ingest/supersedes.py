"""What a document says it supersedes, in its own words."""

import re

from ingest.document import Reading

WHERE = 2000
"""Characters from the start that are searched: such notices stand in front."""

NOUN = (
    r"(?:bulletin|catalogue|catalog|circular|directive|document|edition|form|guide|guideline"
    r"|instruction|instructions|issue|leaflet|list|manual|memo|notice|policy|price list"
    r"|procedure|release|report|revision|specification|standard|terms|version)s?"
)
END = (
    r"(?=[.;]?\s*(?:[\n|]|$)"
    r"|(?<![Rr]ev)(?<![Nn]o)(?<![Nn]r)(?<![Ee]d)(?<![Vv]er)(?<![Vv]ol)[.;] +[A-Z])"
)
"""Where such a statement ends: with its line or sentence, but not after `rev.`"""
LABEL = re.compile(
    r"(?:^|[\n|]|(?<=\S)(?=\s))[ \t*•-]*(?P<verb>Supersedes|Replaces)[ \t]*:[ \t]*"
    r"(?P<what>[^\n|;]+?)(?=\s*(?:[\n|;]|$)|\s+[A-Z][\w-]*(?: [a-z]\w*){0,3}:\s)"
)
"""`Supersedes: SB-104 rev. A`, on a line of its own or before the next `Label:`."""
OPENING = re.compile(rf"(?:^|\n|(?<=[.!:] ))Supersedes (?P<what>[^\n|;:]+?){END}")
"""`Supersedes SB-104 rev. A.`"""
SENTENCE = re.compile(
    rf"\b(?:This|The present)(?: [\w-]+){{0,3}} {NOUN}(?: [A-Z0-9][\w.-]*){{0,2}} "
    rf"(?:hereby |fully )?(?:supersedes|replaces) (?P<what>[^\n;]+?){END}"
)
"""`This list replaces the 2025 price list.`"""
VERB = re.compile("[Ss]upersedes|[Rr]eplaces")
"""In each of the three; most documents have none, and are looked through once instead."""
CALLED = re.compile(rf"(?i:\b(?:rev\b|{NOUN}\b)|\.[a-z]{{2,5}}\b)")
"""A document, called so, or by its file's name."""
NUMBERED = re.compile(r"\b[A-Z]{2,}[- ]?\d")
"""`SB-104`: a document where a document is said to be superseded, else perhaps a part."""
NOTHING = re.compile(r"(?:none|n/?a|nothing|no\b.*|not applicable|-+|–|—)\.?", re.IGNORECASE)
EVERYTHING = re.compile(r"(?:all|any|every)\b", re.IGNORECASE)


def superseded_by(reading: Reading) -> str:
    """Return what `reading` says it supersedes, verbatim; empty if it says no such thing.

    Strict on purpose: what is overlooked is found beside its successor, what is taken for a
    successor by mistake hides a valid document. So a table's row does not count (a part replaces
    a part), nor a sentence about anything else than this document and another one.
    """
    text = "\n\n".join(block.text for block in reading.blocks)[:WHERE]
    for pattern in (LABEL, OPENING, SENTENCE) if VERB.search(text) else ():
        for found in pattern.finditer(text):
            what = found["what"].strip(" \t*_`\"'").removesuffix(".")
            line = text[text.rfind("\n", 0, found.start("what")) + 1 : found.start("what")]
            if ";" in line or NOTHING.fullmatch(what) or EVERYTHING.match(what):
                continue
            verb = found.groupdict().get("verb", "")
            is_numbered = verb != "Replaces" and NUMBERED.search(what)
            if verb == "Supersedes" or is_numbered or CALLED.search(what):
                return what
    return ""
