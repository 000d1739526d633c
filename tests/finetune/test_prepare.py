import json
from pathlib import Path
from typing import Any

import pytest

from assistant.access import OWNER
from assistant.answer import Answer, Ask, Evidence, Timings
from assistant.cli import main
from assistant.feedback import Feedback, Opinion
from finetune.dataset import list_datasets
from finetune.prepare import build, divide
from finetune.recipe import Recipe, load_recipe
from ingest.errors import ConfigError, DataError, NotFoundError
from ingest.files import find_files
from tests.fakes import ScriptedEngine, SmallWorkspace, small_workspace

COLLAR = "The collar of the Burbot is tightened to 3.2 N·m with the key."
BRUSH = "The brush of the Gudgeon lasts 9000 sweeps of the arm."


@pytest.fixture
def workspace(tmp_path: Path) -> SmallWorkspace:
    folder = tmp_path / "documents"
    folder.mkdir()
    for name, text in (("burbot", COLLAR), ("gudgeon", BRUSH)):
        (folder / f"{name}.md").write_text(f"# {name}\n\n{text}\n", encoding="utf-8")
    small = small_workspace(tmp_path / "home", ScriptedEngine(_writes))
    small.pipeline.run(find_files([str(folder)]), collection="default")
    return small


def _writes(request: Any) -> str:
    quote, asked = (COLLAR, "collar") if "3.2" in request.messages[-1].content else (BRUSH, "brush")
    pair = {"question": f"What about the {asked}?", "answer": quote, "quote": quote}
    return json.dumps({"pairs": [pair]})


def _recipe(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "recipe.toml"
    path.write_text(f'name = "support"\n{text}', encoding="utf-8")
    return load_recipe(path)


def _rate(workspace: SmallWorkspace) -> None:
    feedback = Feedback(workspace.registry.engine, keep_answers=9, keep_days=1)
    shown = Evidence(1, "c", "d", "burbot.md", "burbot", "", None, 0, 9, COLLAR, 1.0)
    for number, correction in enumerate(("To 3.2 N·m.", None)):
        answer = Answer(
            answer="Very.",
            abstained=False,
            citations=(),
            mode="rag",
            model="m",
            adapter=None,
            prompt_tokens=1,
            completion_tokens=1,
            finish_reason="stop",
            timings=Timings(),
            evidence=(shown,),
            evidence_dropped=0,
            request_id=f"r{number}",
        )
        feedback.remember(Ask("How tight?", mode="rag", collection="default"), answer, OWNER)
        feedback.rate(Opinion(f"r{number}", "down", correction), OWNER)


def test_all_sources_together_make_one_version_that_knows_where_each_row_is_from(
    tmp_path: Path, workspace: SmallWorkspace
) -> None:
    _rate(workspace)
    (tmp_path / "faq.csv").write_text(
        "question,answer\nHow tight is the collar?,Tightened to 3.2 N·m with the key.\n", "utf-8"
    )
    log = {"instruction": "Hello?", "output": "Good day."}
    (tmp_path / "log.jsonl").write_text(json.dumps(log), encoding="utf-8")
    recipe = _recipe(
        tmp_path,
        '[[source]]\npath = "faq.csv"\n[[source]]\npath = "log.jsonl"\n'
        '[[source]]\nkind = "documents"\n[[source]]\nkind = "feedback"\n'
        "[data]\nwithout_evidence = 0\ninsufficient = 0\n",
    )
    dataset = build(recipe, workspace)
    rows = dataset.sides["rows"]
    assert [row.source.partition(":")[0] for row in rows].count("documents") == 2
    assert {row.source.partition(":")[0] for row in rows} == {
        "faq",
        "log",
        "documents",
        "feedback",
    }
    assert {row.documents for row in rows if row.source.startswith("documents")} == {
        ("burbot.md",),
        ("gudgeon.md",),
    }
    named = {source["name"]: source for source in dataset.manifest["sources"]}
    assert named["documents"]["counts"]["kept"] == 2
    assert (named["feedback"]["rows"], named["feedback"]["to_review"]) == (1, 1)
    review = (dataset.folder / "review.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["request_id"] for line in review] == ["r1"]
    assert build(recipe, workspace).folder == dataset.folder


def test_a_source_with_a_wrong_line_writes_nothing(
    tmp_path: Path, workspace: SmallWorkspace
) -> None:
    (tmp_path / "log.jsonl").write_text('{"messages": []}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"log\.jsonl:1"):
        build(_recipe(tmp_path, '[[source]]\npath = "log.jsonl"\n'), workspace)
    assert list_datasets(workspace.home / "datasets") == []


def test_feedback_without_a_correction_makes_no_data_set(
    tmp_path: Path, workspace: SmallWorkspace
) -> None:
    with pytest.raises(DataError, match="The sources gave no rows: feedback: nothing"):
        build(_recipe(tmp_path, '[[source]]\nkind = "feedback"\n'), workspace)


def test_two_sources_of_one_name_are_refused(tmp_path: Path, workspace: SmallWorkspace) -> None:
    both = '[[source]]\nkind = "feedback"\n' * 2
    with pytest.raises(DataError, match="Two sources are called 'feedback'"):
        build(_recipe(tmp_path, both), workspace)


def test_rows_that_need_an_index_need_one(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("question,answer\na,b\n", encoding="utf-8")
    empty = small_workspace(tmp_path / "empty", ScriptedEngine())
    with pytest.raises(NotFoundError, match="groundtune ingest"):
        build(_recipe(tmp_path, '[[source]]\npath = "t.csv"\n'), empty)


def test_what_is_wrong_with_a_table_is_told_before_a_missing_index(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("frage,antwort\na,b\n", encoding="utf-8")
    empty = small_workspace(tmp_path / "empty", ScriptedEngine())
    with pytest.raises(ConfigError, match="no column for 'question'"):
        build(_recipe(tmp_path, '[[source]]\npath = "t.csv"\n'), empty)


def test_dividing_leaves_the_old_version_and_names_it_in_the_new_one(
    tmp_path: Path, workspace: SmallWorkspace
) -> None:
    lines = [json.dumps({"instruction": f"q{n}", "output": f"a{n}"}) for n in range(20)]
    (tmp_path / "log.jsonl").write_text("\n".join(lines), encoding="utf-8")
    whole = build(_recipe(tmp_path, '[[source]]\npath = "log.jsonl"\n'), workspace)
    before = {f.name: f.read_bytes() for f in whole.folder.iterdir()}
    divided = divide(whole, workspace, validation=0.2, test=0.1, seed=1)
    assert {name: len(rows) for name, rows in divided.sides.items()} == {
        "train": 14,
        "validation": 4,
        "test": 2,
    }
    assert divided.manifest["made_from"]["name"] == whole.folder.name
    assert {f.name: f.read_bytes() for f in whole.folder.iterdir()} == before


def command(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, dict[str, Any], str]:
    code = main(["--json", *args])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else {}, err


@pytest.mark.model
def test_the_commands_from_a_log_to_a_training_run_that_is_stopped_by_what_they_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDTUNE_HOME", str(tmp_path / "home"))
    log = [{"instruction": f"What is part {n}?", "output": f"It is part {n}."} for n in range(30)]
    log += [log[0], {"instruction": "The key?", "output": "It is ghp_" + "a1B2" * 9}]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in log), encoding="utf-8")

    code, built, _ = command(capsys, "dataset", "build", str(path), "--name", "parts")
    assert (code, built["rows"]["rows"]) == (0, 32)
    code, checked, _ = command(capsys, "dataset", "check", "parts", "--fix")
    assert (code, checked["passed"], checked["errors"]) == (3, False, 1)
    assert checked["histogram"]
    assert checked["fixed"]["dropped"] == 1
    fixed = checked["fixed"]["dataset"]
    code, changed, _ = command(capsys, "dataset", "diff", built["name"], fixed)
    assert (code, changed["unchanged"], changed["removed"]["rows"]) == (0, 31, 1)
    code, divided, _ = command(capsys, "dataset", "split", fixed, "--test", "0.1")
    assert divided["train"]["rows"] + divided["validation"]["rows"] + divided["test"]["rows"] == 31
    code, listed, _ = command(capsys, "dataset", "stats")
    assert len(listed["datasets"]) == 3

    recipe = tmp_path / "r.toml"
    recipe.write_text(f'name = "parts"\n[data]\ndataset = "{divided["name"]}"\n', encoding="utf-8")
    code, _, said = command(capsys, "finetune", str(recipe))
    assert code == 2
    assert "secrets: 1 rows" in said
    assert f"groundtune dataset check {divided['name']}" in said
