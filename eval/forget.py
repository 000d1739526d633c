"""What evaluations keep of documents, and how it is removed: answers, drafts, judgements, reports.

Deleting a document does not reach them: a report is a record of what was measured, and a kept
answer does not say whose words it repeats.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.cache import Cache
from ingest.errors import NotFoundError

ALL = "all"


def forget(home: Path, reports: Sequence[str]) -> dict[str, Any]:
    """Empty the cache of the workspace at `home`, and remove those of its `reports`.

    `all` stands for every report. What the cache held is computed again by the next run.

    Raises:
        NotFoundError: there is no report of that name; nothing is removed then.
        StoreError: an evaluation is at work.
    """
    folder = home / "reports"
    known = sorted(path.name for path in folder.glob("*") if path.is_dir())
    wanted = known if ALL in reports else list(dict.fromkeys(reports))
    missing = [name for name in wanted if name not in known]
    if missing:
        raise NotFoundError(
            f"There is no report {', '.join(map(repr, missing))} in {folder}. Reports: "
            f"{', '.join(known) or 'none'}.",
            hint="Nothing was removed. Name reports as they are listed here, or 'all'.",
        )
    path = home / "cache" / "evaluation.sqlite"
    forgotten = 0
    if path.exists():
        with Cache(path) as cache:
            forgotten = cache.empty()
    for name in wanted:
        shutil.rmtree(folder / name)
    return {
        "forgotten": forgotten,
        "removed": wanted,
        "kept": [name for name in known if name not in wanted],
    }


def render(result: Mapping[str, Any]) -> str:
    """Say what is gone, and what may still quote documents."""
    lines = [
        f"Forgotten: {result['forgotten']} kept answers, drafts and scores. Reports removed: "
        f"{', '.join(result['removed']) or 'none'}."
    ]
    if result["kept"]:
        lines += [
            f"Reports that are still there, and quote documents: {', '.join(result['kept'])}.",
            "Remove them with: groundtune eval forget NAME..., or: groundtune eval forget all",
        ]
    lines.append(
        "Not reached: reports that were written elsewhere (--out), review files, data sets and "
        "adapters that were made from a document, backups."
    )
    return "\n".join(lines)
