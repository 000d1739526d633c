"""The line in front of a model, driven step by step."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from assistant.engines.queue import RequestQueue
from ingest.errors import EngineUnavailableError


class Caller:
    """A request: waits for its turn, and works until it is told to leave."""

    def __init__(self, queue: RequestQueue, group: str) -> None:
        self.group = group
        self.works = False
        self._leave = asyncio.Event()
        self.task = asyncio.create_task(self._run(queue))

    async def _run(self, queue: RequestQueue) -> None:
        async with queue.turn(self.group):
            self.works = True
            await self._leave.wait()
        self.works = False

    async def leave(self) -> None:
        self._leave.set()
        await self.task
        await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def call(queue: RequestQueue, groups: str) -> list[Caller]:
    callers = []
    for group in groups:
        callers.append(Caller(queue, group))
        await settle()
    return callers


def working(callers: list[Caller]) -> str:
    return "".join(c.group for c in callers if c.works)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


def test_no_more_work_at_once_than_allowed_and_the_oldest_is_next() -> None:
    async def scenario() -> None:
        queue = RequestQueue(2, 8)
        callers = await call(queue, "aaaa")
        assert [c.works for c in callers] == [True, True, False, False]
        assert (queue.running, queue.waiting) == (2, 2)
        await callers[1].leave()
        assert [c.works for c in callers] == [True, False, True, False]
        for caller in callers:
            await caller.leave()
        assert (queue.running, queue.waiting, queue.reloads) == (0, 0, 0)

    run(scenario)


def test_one_more_than_may_wait_is_refused_at_once_and_the_others_go_on() -> None:
    async def scenario() -> None:
        queue = RequestQueue(1, 1)
        callers = await call(queue, "aa")
        with pytest.raises(EngineUnavailableError, match=r"no room.*\n.*engine\.queue"):
            async with queue.turn("a"):
                pass
        await callers[0].leave()
        assert callers[1].works
        await callers[1].leave()

    run(scenario)


def test_nobody_waits_where_nobody_may() -> None:
    async def scenario() -> None:
        queue = RequestQueue(1, 0)
        [caller] = await call(queue, "a")
        with pytest.raises(EngineUnavailableError, match="no room"):
            async with queue.turn("a"):
                pass
        await caller.leave()
        async with queue.turn("b"):
            assert queue.running == 1

    run(scenario)


def test_two_groups_are_never_at_work_together() -> None:
    async def scenario() -> None:
        queue = RequestQueue(4, 8)
        callers = await call(queue, "aabb")
        assert working(callers) == "aa"
        await callers[0].leave()
        assert working(callers) == "a"
        await callers[1].leave()
        assert working(callers) == "bb"
        await callers[2].leave()
        await callers[3].leave()
        assert queue.reloads == 1

    run(scenario)


async def served(queue: RequestQueue, callers: list[Caller]) -> str:
    """Let one after the other work and leave; return their groups in that order."""
    order = ""
    while at_work := [c for c in callers if c.works]:
        order += at_work[0].group
        await at_work[0].leave()
    return order


def test_mixed_load_is_grouped_so_that_the_model_is_seldom_changed() -> None:
    async def scenario() -> None:
        queue = RequestQueue(1, 64)
        callers = await call(queue, "ab" * 16)
        assert await served(queue, callers) == "a" * 16 + "b" * 16
        assert queue.reloads == 1  # in order of arrival it would be 31

    run(scenario)


def test_a_busy_group_gives_way_after_its_burst() -> None:
    async def scenario() -> None:
        queue = RequestQueue(1, 64, burst=3)
        callers = await call(queue, "aaaaaaabc")
        assert (
            await served(queue, callers) == "aaabaaaca"
        )  # the oldest of the others is next, not the third group

    run(scenario)


def test_a_late_request_of_the_current_group_does_not_pass_others_for_ever() -> None:
    async def scenario() -> None:
        queue = RequestQueue(2, 64, burst=4)
        first = await call(queue, "ab")
        late = await call(queue, "aaaaa")
        assert first[0].works
        for _ in range(3):
            await next(c for c in late if c.works).leave()
        assert not any(c.works for c in late)  # four have started: the others wait for "b"
        await first[0].leave()
        assert first[1].works
        await first[1].leave()
        assert await served(queue, late) == "aa"

    run(scenario)


def test_a_caller_who_gives_up_frees_the_place() -> None:
    async def scenario() -> None:
        queue = RequestQueue(1, 8)
        callers = await call(queue, "abc")
        callers[1].task.cancel()  # while it waits
        await settle()
        assert queue.waiting == 1
        callers[0].task.cancel()  # while it works
        await settle()
        assert callers[2].works
        await callers[2].leave()
        assert (queue.running, queue.waiting) == (0, 0)

    run(scenario)


def test_a_caller_who_gives_up_in_the_moment_of_its_turn_frees_the_place() -> None:
    async def scenario() -> None:
        queue = RequestQueue(1, 8)
        callers = await call(queue, "aab")
        callers[0]._leave.set()
        await asyncio.sleep(0)  # the turn is given to the second now
        callers[1].task.cancel()
        await settle()
        assert callers[2].works
        await callers[2].leave()
        assert (queue.running, queue.waiting) == (0, 0)

    run(scenario)


def test_an_error_inside_a_turn_frees_the_place() -> None:
    async def scenario() -> None:
        queue = RequestQueue(1, 0)
        with pytest.raises(ValueError, match="broken"):
            async with queue.turn():
                raise ValueError("broken")
        assert queue.running == 0

    run(scenario)
