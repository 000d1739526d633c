"""`make bench`: speed as a ratio against the raw library, measured in the same run.

A ratio above 1 says that ours takes longer; for tokens per second, one below 1. Nothing is
asserted: a timed test fails for reasons that are not ours. `python -m tests.bench engine` measures
one subject.
"""

import sys
from collections.abc import Callable, Iterator

from assistant.config import Settings, load
from tests.bench import (
    choice,
    dataset,
    engine,
    evaluation,
    index,
    ingestion,
    injection,
    memory,
    scale,
    service,
    tuning,
)

SUBJECTS: dict[str, Callable[[Settings], Iterator[str]]] = {
    "index": index.measure,
    "engine": engine.measure,
    "ingestion": ingestion.measure,
    "again": ingestion.again,
    "memory": memory.measure,
    "scale": scale.measured,
    "service": service.measure,
    "injection": injection.measure,
    "tuning": tuning.measure,
    "evaluation": evaluation.measure,
    "page": evaluation.measure_page,
    "choice": choice.measure,
    "dataset": dataset.measure,
}


def main(names: list[str]) -> None:
    """Print the lines of the subjects called `names`, or of all."""
    settings = load(index.EXAMPLES / "groundtune.toml").settings
    for name in names or SUBJECTS:
        for result in SUBJECTS[name](settings):
            sys.stdout.write(result + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
