"""What the kinds of training rows are worth: the same tokens, other shares.

    GROUNDTUNE_HOME=.groundtune/demo python -m tests.bench.ablation [STEPS [VARIANT...]]

It takes a workspace with the sample company's index. What was trained or answered before is not
done again, so it can be stopped and goes on where it was.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from eval.choice import share
from tests.bench.commands import TARNFELL, groundtune, say, train

VARIANTS: dict[str, dict[str, float]] = {
    "plain": {"without_evidence": 1.0, "insufficient": 0.0, "refusals": 0.5},
    "aware": {"without_evidence": 0.0, "insufficient": 0.0, "refusals": 0.5},
    "aware-bare": {"without_evidence": 0.15, "insufficient": 0.0, "refusals": 0.5},
    "aware-bare-no-refusals": {"without_evidence": 0.15, "insufficient": 0.0, "refusals": 0.0},
    "aware-bare-refusals": {"without_evidence": 0.15, "insufficient": 0.1, "refusals": 1.0},
}
"""Name -> the shares of `[data]` in its recipe; the third is the one that is shipped."""
ARMS = ("finetuned", "combined")
METRICS = ("grounded", "facts", "format", "abstention")
KINDS = ("heldout", "unanswerable")
QUESTIONS = 68
"""All held-out and unanswerable ones."""
OBEDIENCE_ROWS = 20


def main(steps: str = "45", *names: str) -> None:
    """Print each variant's scores on the held-out and the unanswerable questions."""
    with TemporaryDirectory() as folder:
        for name in names or VARIANTS:
            for line in _variant(name, int(steps), Path(folder)):
                say(line)


def _variant(name: str, steps: int, folder: Path) -> list[str]:
    adapter = f"{name}-{steps}"
    trained = train(adapter, {"max_steps": steps, **VARIANTS[name]})
    manifest = json.loads((trained / "manifest.json").read_text(encoding="utf-8"))
    counts = manifest["counts"]
    lines = [
        f"{name}: {counts['train_rows']} rows, {counts['rows_trained_on']} seen, "
        f"{counts['tokens_trained_on']} tokens in {counts['steps']} steps, "
        f"validation loss {manifest['losses']['validation'][-1][1]}"
    ]
    asked = ("--limit", str(QUESTIONS))
    result = groundtune("eval", "run", _evaluation(adapter, folder), *asked)
    for arm in ARMS:
        for scope in KINDS:
            found = result["summary"]["means"][scope][arm]
            shares = ", ".join(
                f"{metric} {share(found[metric])} (n = {found[metric]['n']})"
                for metric in METRICS
                if found[metric]["mean"] is not None
            )
            lines.append(f"{name} {arm} {scope}: {shares}")
    if VARIANTS[name]["without_evidence"] < 1:  # else no row has passages that could be altered
        rows = str(OBEDIENCE_ROWS)
        obeyed = groundtune("eval", "obedience", adapter, "--rows", rows)["obedience"]
        for arm in ("rag", "combined"):
            told = ", ".join(
                f"{kind} {share(obeyed[arm][kind])}" for kind in ("follows", "recalls")
            )
            lines.append(f"{name} {arm}, altered passages (n = {rows}): {told}")
    return lines


def _evaluation(adapter: str, folder: Path) -> Path:
    rows: list[dict[str, Any]] = [
        json.loads(line)
        for line in (TARNFELL / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    kept = [row for row in rows if set(KINDS) & set(row["tags"]) or not row["answerable"]]
    questions = folder / "questions.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    arms = "".join(f'[[arm]]\nname = "{arm}"\nmode = "{arm}"\n' for arm in ARMS)
    recipe = folder / "eval.toml"
    recipe.write_text(
        f'questions = "{questions}"\nterms = "{TARNFELL / "terms.toml"}"\nadapter = "{adapter}"\n'
        f"max_tokens = 128\nparallel = 1\n{arms}",
        encoding="utf-8",
    )
    return recipe


if __name__ == "__main__":
    main(*sys.argv[1:])
