"""Evaluation on a real Ray cluster of two nodes on this machine, with a model that is scripted."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from assistant.config import Settings
from assistant.engines.engine import Engine, Request
from eval.command import run
from eval.evaluate import evaluate
from eval.recipe import Arm, Recipe
from ingest.errors import EngineError, EngineUnavailableError, UsageError
from tests.fakes import ScriptedEngine
from tests.rig import NOW, Rig, numbers, reply

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own

ARMS = (
    Arm(name="base", mode="base"),
    Arm(name="rag", mode="rag"),
    Arm(name="sampled", mode="rag", temperature=0.5),
)


@pytest.fixture(scope="module")
def machines() -> Iterator[Any]:
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    args = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=args)
    cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    cluster.wait_for_nodes(timeout=180)
    yield cluster
    cluster.shutdown()


def make(settings: Settings) -> Engine:
    """Answer as the engine here does; one question breaks."""

    def slowly(request: Request) -> str:
        time.sleep(0.01)
        if request.temperature and "of the Wick 12?" in request.messages[-1].content:
            raise EngineError("out of memory", hint="Add some.")
        return reply(request)

    return ScriptedEngine(slowly)


def test_a_cluster_gives_the_answers_of_one_process_and_survives_a_lost_machine(
    machines: Any, rig: Rig, recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    from eval.cluster import Cluster

    rig.scripted._reply = make(rig.settings)._reply  # type: ignore[attr-defined]
    alone = evaluate(recipe(*ARMS), rig, now=NOW, out=tmp_path / "alone")
    asked = len(rig.scripted.requests)
    (rig.home / "cache" / "evaluation.sqlite").unlink()
    with Cluster(machines.address, make) as cluster:
        assert cluster.workers(threads=1) == (2, 1)
        shared = evaluate(recipe(*ARMS), rig, now=NOW, out=tmp_path / "shared", cluster=cluster)
    assert len(rig.scripted.requests) == asked  # nothing was asked here
    assert json.dumps(numbers(shared)) == json.dumps(numbers(alone))
    assert shared["unanswered"] == 1

    (rig.home / "cache" / "evaluation.sqlite").unlink()
    lost = machines.list_all_nodes()[1]
    with Cluster(machines.address, make) as cluster:
        engine = cluster.engine(rig.settings)
        machines.remove_node(lost, allow_graceful=False)
        answers = [collected(engine, f"What about 61 N·m, {n}?") for n in range(4)]
        assert answers == ["It is 61 N·m."] * 4
        engine.close()
        with pytest.raises(EngineUnavailableError, match="every machine of the cluster is lost"):
            collected(engine, "Still there?")


def collected(engine: Any, text: str) -> str:
    import asyncio

    from assistant.engines.engine import Message

    async def go() -> str:
        assert await engine.prompt_tokens([Message("user", text)])
        pieces = [piece async for piece in engine.stream(Request([Message("user", text)]))]
        assert pieces[-1].usage is not None
        return "".join(piece.text for piece in pieces)

    return asyncio.run(go())


def test_a_cluster_that_is_not_there_is_named(parse: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    words = ("run", "examples/tarnfell/eval.toml", "--ray", "nonsense://x")
    with pytest.raises(UsageError, match="no Ray cluster at 'nonsense://x'"):
        run(parse(*words), Settings(home=tmp_path))
