"""The tools, through the official client."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from assistant.api.app import create_app
from assistant.local import LocalWorkspace
from assistant.mcp_server import create_server
from assistant.ownership import own
from assistant.remote import RemoteWorkspace
from tests.assistant.api.conftest import PUMP, listening
from tests.fakes import ScriptedEngine, small_workspace

QUESTION = "How firmly do I tighten the latch screws of the Sculpin 14?"
HERE = Path(__file__).parents[2]


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    found: dict[str, Any] = result.structured_content or {}
    return found


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    return str(result.content[0].text)  # type: ignore[union-attr]  # errors are told in words


async def whole_story(client: Client) -> None:
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == {"search", "ask", "ingest"}
    assert all(tool.description for tool in tools.values())
    tally = await call(client, "ingest", source="manuals/sculpin.md", text=PUMP.decode())
    assert tally["added"] == 1
    again = await call(client, "ingest", source="manuals/sculpin.md", text=PUMP.decode())
    assert again["unchanged"] == 1
    hits = (await call(client, "search", query="hose hours", k=1))["hits"]
    assert "400 hours" in hits[0]["text"]
    answer = await call(client, "ask", question=QUESTION)
    assert answer["citations"][0]["source"] == "manuals/sculpin.md"


def test_tools_work_in_a_workspace_of_their_own(tmp_path: Path) -> None:
    engine = ScriptedEngine("The latch screws are tightened to 2.1 N.m.")
    with small_workspace(tmp_path, engine) as workspace:

        async def work() -> None:
            async with Client(create_server(LocalWorkspace(workspace))) as client:
                await whole_story(client)

        asyncio.run(work())


def test_tools_work_through_a_running_service(tmp_path: Path) -> None:
    engine = ScriptedEngine("The latch screws are tightened to 2.1 N.m.")
    app = create_app(small_workspace(tmp_path, engine))
    with listening(app) as url, RemoteWorkspace(url) as remote:

        async def work() -> None:
            async with Client(create_server(remote)) as client:
                await whole_story(client)

        asyncio.run(work())


def test_the_command_speaks_the_protocol_and_nothing_else_on_stdout(tmp_path: Path) -> None:
    engine = ScriptedEngine("The latch screws are tightened to 2.1 N.m.")
    command = StdioServerParameters(
        command=sys.executable,
        args=["-W", "ignore", "-m", "assistant.cli", "mcp"],
        env={"GROUNDTUNE_HOME": str(tmp_path), "PYTHONPATH": str(HERE)},
        cwd=tmp_path,
    )
    with listening(create_app(small_workspace(tmp_path, engine))) as url:

        async def work() -> None:
            async with Client(command) as client:
                await whole_story(client)

        with own(tmp_path, "serve", url):
            asyncio.run(work())


def test_what_goes_wrong_is_told_in_words_with_what_mends_it(tmp_path: Path) -> None:
    with small_workspace(tmp_path, ScriptedEngine()) as workspace:

        async def work() -> None:
            async with Client(create_server(LocalWorkspace(workspace))) as client:
                said = await refused(client, "search", query="x", collection="attic")
                assert "groundtune ingest PATH --collection attic" in said
                assert "1 to 100" in await refused(client, "search", query="x", k=0)
                assert "mode" in await refused(client, "ask", question="x", mode="magic")

        asyncio.run(work())


@pytest.mark.parametrize("source", ["../x.md", "/etc/passwd", "a/../../x.md", ""])
def test_a_name_that_climbs_is_not_taken(tmp_path: Path, source: str) -> None:
    with small_workspace(tmp_path, ScriptedEngine()) as workspace:

        async def work() -> None:
            async with Client(create_server(LocalWorkspace(workspace))) as client:
                assert await refused(client, "ingest", source=source, text="x")

        asyncio.run(work())


def test_only_files_below_the_given_folders_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "sculpin.md").write_bytes(PUMP)
    secret = tmp_path / "secret.md"
    secret.write_text("# Secret\n\nNobody reads this.\n", encoding="utf-8")
    (folder / "link.md").symlink_to(secret)
    with small_workspace(tmp_path / "home", ScriptedEngine()) as workspace:

        async def work() -> None:
            async with Client(create_server(LocalWorkspace(workspace), [folder])) as client:
                for path in (secret, folder / "link.md", folder / ".." / "secret.md"):
                    assert "in no folder" in await refused(client, "ingest", source=str(path))
                tally = await call(client, "ingest", source=str(folder / "sculpin.md"))
                assert tally["added"] == 1

        asyncio.run(work())
