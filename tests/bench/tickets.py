"""Format and house terms on the tickets whose documents training never saw.

    GROUNDTUNE_HOME=.groundtune/demo python -m tests.bench.tickets [ADAPTER]

It takes the workspace of `groundtune demo`. The tickets are those that the recipe keeps for
validation, asked through all that serves: search, prompt, engine and adapter.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from eval.choice import share
from finetune.recipe import load_recipe
from finetune.rows import answer_text
from finetune.split import split_by_document
from finetune.ticket import Ticket, read_tickets
from tests.bench.commands import TARNFELL, groundtune, say

ARMS = ("base", "finetuned", "combined")
AIMS = {"format": 0.98, "terms": 0.95}


def main(adapter: str = "tarnfell") -> None:
    """Print each arm's share of valid formats and of answers in house terms."""
    data = load_recipe(TARNFELL / "finetune.toml").data
    assert data.tickets is not None
    split = split_by_document(
        read_tickets(data.tickets), heldout_fraction=data.heldout_fraction, seed=data.seed
    )
    with TemporaryDirectory() as folder:
        questions = Path(folder) / "questions.jsonl"
        questions.write_text("".join(map(_line, split.validation)), encoding="utf-8")
        recipe = Path(folder) / "eval.toml"
        arms = "".join(f'[[arm]]\nname = "{arm}"\nmode = "{arm}"\n' for arm in ARMS)
        recipe.write_text(
            f'questions = "{questions}"\nterms = "{TARNFELL / "terms.toml"}"\n'
            f'adapter = "{adapter}"\nmax_tokens = 128\nparallel = 1\n{arms}',
            encoding="utf-8",
        )
        result = groundtune("eval", "run", recipe)
    documents = {document for ticket in split.validation for document in ticket.documents}
    say(f"{len(split.validation)} tickets about {len(documents)} documents; {result['report']}")
    for arm in ARMS:
        found = result["summary"]["means"]["all"][arm]
        shares = ", ".join(f"{name} {share(found[name])}, aim {AIMS[name]}" for name in AIMS)
        say(f"{arm}: {shares}")


def _line(ticket: Ticket) -> str:
    row = {
        "id": ticket.id,
        "question": ticket.question,
        "reference": answer_text(ticket.answer),
        "documents": ticket.documents,
        "facts": ticket.facts,
        "answerable": bool(ticket.documents),
        "tags": ["heldout", *ticket.tags] if ticket.documents else ["unanswerable"],
    }
    return json.dumps(row, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main(*sys.argv[1:])
