"""`groundtune eval obedience ADAPTER`: does a tuned model follow evidence against its training?"""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from assistant.adapter import Adapter
from assistant.engines.engine import Engine, Message, Request
from assistant.workspace import Workspace
from eval.altered import Altered, altered_rows, values_in
from eval.cache import Cache
from eval.choice import share
from eval.progress import Bar
from eval.statistics import difference, estimate
from eval.wording import all_text
from ingest.errors import EngineError, UsageError

Verdict = Literal["follows", "recalls", "neither"]
ARMS = ("rag", "combined", "finetuned")
"""The base model and the adapter with altered passages; and the adapter without any."""
CONTROL = "as_trained"
"""The adapter with the passages of its training, and thus the most that can be asked of it."""
ROWS = 80


def evaluate_obedience(
    workspace: Workspace,
    name: str | None,
    *,
    rows: int = ROWS,
    seed: int = 0,
    out: Path | None = None,
) -> dict[str, Any]:
    """Ask training questions of an adapter again, with other values in the evidence.

    An answer `follows` where it states a new value and no trained one, and `recalls` where it
    states a trained one, which stands nowhere in the prompt. `out` takes the answers, JSONL.

    Raises:
        NotFoundError: no such adapter, or its data set is gone.
        MismatchError: it is for another prompt or base model.
        UsageError: none of its rows can be altered.
        EngineError: the model failed.
    """
    if rows < 1:
        raise UsageError(f"--rows {rows}: at least 1 row is needed.")
    adapter = workspace.adapters.get(name)
    workspace.check_fit(adapter)
    train = workspace.home / "datasets" / adapter.manifest["dataset"]["name"] / "train.jsonl"
    possible = altered_rows(train, seed=seed)
    if not possible:
        raise UsageError(
            f"No training row of {adapter.reference} states a number, code or date of its "
            "passages: there is nothing to alter.",
        )
    chosen = possible[:rows]
    with Cache(workspace.home / "cache" / "obedience.sqlite") as cache:
        answers = asyncio.run(_answers(workspace, adapter, chosen, cache))
    verdicts = {
        arm: {row.id: verdict(said[row.id], row.values) for row in chosen}
        for arm, said in answers.items()
    }
    if out is not None:
        _write(out, chosen, answers, verdicts)
    clusters = {row.id: row.cluster for row in chosen}
    return {
        "adapter": adapter.reference,
        "rows": len(chosen),
        "possible": len(possible),
        "documents": len(set(clusters.values())),
        "obedience": {arm: _shares(verdicts[arm], clusters, seed) for arm in ARMS},
        "states_as_trained": asdict(
            estimate(_values(verdicts[CONTROL], "recalls"), clusters, seed=seed)
        ),
        "combined_minus_rag": asdict(
            difference(
                _values(verdicts["combined"], "follows"),
                _values(verdicts["rag"], "follows"),
                clusters,
                seed=seed,
            )
        ),
        "answers": None if out is None else str(out),
    }


def verdict(answer: str, values: Mapping[str, str]) -> Verdict:
    """Return whether `answer` states what the passages say now or what they said in training."""
    stated = values_in(all_text(answer))
    if stated & values.keys():
        return "recalls"
    return "follows" if stated & set(values.values()) else "neither"


def render(result: Mapping[str, Any]) -> str:
    """Return a table for people."""
    lines = [
        f"{result['adapter']}: {result['rows']} of {result['possible']} training rows that can be "
        f"altered, from {result['documents']} documents",
        "",
    ]
    titles = {
        "rag": "base model, altered passages",
        "combined": "adapter, altered passages",
        "finetuned": "adapter, no passages",
    }
    for arm, found in result["obedience"].items():
        said = ", ".join(f"{kind} {share(found[kind])}" for kind in ("follows", "recalls"))
        lines.append(f"  {titles[arm]}: {said}")
    lines.append(
        "  adapter, passages as in training: states the trained value "
        f"{share(result['states_as_trained'])}"
    )
    change = result["combined_minus_rag"]
    lines.append(f"  follows, adapter minus base: {share(change)}")
    return "\n".join(lines)


async def _answers(
    workspace: Workspace, adapter: Adapter, rows: Sequence[Altered], cache: Cache
) -> dict[str, dict[str, str]]:
    """Return arm -> row -> answer; those that are kept are not asked for again."""
    limit = workspace.settings.voice_of(adapter.name).max_tokens
    found: dict[str, dict[str, str]] = {arm: {} for arm in (*ARMS, CONTROL)}
    with Bar(len(found) * len(rows)) as bar:
        for arm in found:  # the base model first, so that the adapter is switched on once
            file = None if arm == "rag" else adapter
            for row in rows:
                prompts = {"finetuned": row.bare, CONTROL: row.trained}
                prompt = prompts.get(arm, row.prompt)
                key = _key(workspace, file, prompt, limit)
                kept = cache.get([key])
                if key not in kept:
                    kept = {key: await _say(workspace.engine, file, prompt, limit)}
                    cache.put(kept)
                found[arm][row.id] = kept[key]
                bar.advance()
    return found


async def _say(
    engine: Engine, adapter: Adapter | None, prompt: Sequence[Message], limit: int
) -> str:
    request = Request(prompt, limit, adapter=None if adapter is None else adapter.file)
    parts, ended = [], False
    async for piece in engine.stream(request):
        parts.append(piece.text)
        ended = ended or piece.usage is not None
    if not ended:
        raise EngineError(f"{engine.name} ended without saying that it was finished.")
    return "".join(parts)


def _key(
    workspace: Workspace, adapter: Adapter | None, prompt: Sequence[Message], limit: int
) -> str:
    rests_on = [
        workspace.base_sha256,
        workspace.settings.engine.kind,
        "" if adapter is None else f"{adapter.reference} {adapter.manifest.get('lora_sha256')}",
        [asdict(message) for message in prompt],
        limit,
    ]
    return hashlib.sha256(json.dumps(rests_on).encode()).hexdigest()


def _values(verdicts: Mapping[str, Verdict], kind: Verdict) -> dict[str, float | None]:
    return {row: float(found == kind) for row, found in verdicts.items()}


def _shares(
    verdicts: Mapping[str, Verdict], clusters: Mapping[str, str], seed: int
) -> dict[str, Any]:
    kinds: tuple[Verdict, ...] = ("follows", "recalls", "neither")
    return {kind: asdict(estimate(_values(verdicts, kind), clusters, seed=seed)) for kind in kinds}


def _write(
    out: Path,
    rows: Sequence[Altered],
    answers: Mapping[str, Mapping[str, str]],
    verdicts: Mapping[str, Mapping[str, Verdict]],
) -> None:
    lines = []
    for row in rows:
        said = {
            arm: {"answer": answers[arm][row.id], "verdict": verdicts[arm][row.id]}
            for arm in answers
        }
        line = {"id": row.id, "question": row.question, "values": row.values, **said}
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    out.write_text("".join(lines), encoding="utf-8")
