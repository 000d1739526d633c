from pathlib import Path

import pytest

from assistant.config import Settings, load
from ingest.errors import ConfigError

ROOT = Path(__file__).parents[2]


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "groundtune.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_need_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(environ={}).settings == Settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[retrieval]\ntop_n = 3", r"unknown key 'retrieval.top_n'; did you mean 'top_k'\?"),
        ("[retreival]\ntop_k = 3", r"unknown key 'retreival'; did you mean 'retrieval'\?"),
        ("[retrieval]\ntop_k = 'many'", r"retrieval.top_k = 'many': Input should be a valid int"),
        ("[retrieval]\ntop_k = 0", "greater than or equal to 1"),
        ("[engine]\nurl = 'localhost:11434'", "engine.url = 'localhost:11434'"),
        ("not toml", "is not TOML"),
        ("[store]\nvectors = 'faiss'", "store.vectors = 'faiss'"),
        ("[store]\nvectors = 'chroma:localhost'", "store.vectors = 'chroma:localhost'"),
        ("[store]\nstate = 'mysql://me:hush@db/x'", r"store.state = 'mysql://me:\*\*\*@db/x'"),
    ],
)
def test_a_bad_file_names_itself_the_key_and_the_nearest_one(
    tmp_path: Path, text: str, message: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as error:
        load(path, environ={})
    assert str(path) in str(error.value)


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "[retrieval]\ntop_n = 3\n[engine]\nkindd = 'x'")
    with pytest.raises(ConfigError) as error:
        load(path, environ={})
    assert len(str(error.value).splitlines()) == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No configuration file at .*nope\.toml"):
        load(tmp_path / "nope.toml", environ={})


def test_the_environment_wins_and_is_named_as_the_origin(tmp_path: Path) -> None:
    path = write(tmp_path, "[retrieval]\ntop_k = 3\ncandidates = 9")
    resolved = load(path, {"GROUNDTUNE_RETRIEVAL__TOP_K": "5", "GROUNDTUNE_HOME": "/x"})
    assert resolved.settings.retrieval.top_k == 5
    assert resolved.settings.home == Path("/x")
    assert resolved.origins["retrieval.top_k"] == "GROUNDTUNE_RETRIEVAL__TOP_K"
    assert resolved.origins["retrieval.candidates"] == str(path)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("sqlite", "sqlite"),
        ("postgres://me:hu@sh@db/x", "postgresql://me:hu@sh@db/x"),
        ("postgresql+psycopg2://me:hu@sh@db/x", "postgresql://me:hu@sh@db/x"),
    ],
)
def test_a_database_is_named_plainly_and_its_password_is_not_shown(given: str, meant: str) -> None:
    settings = load(environ={"GROUNDTUNE_STORE__STATE": given}).settings
    assert settings.store.state == meant
    shown = f"{settings!r} {settings.model_dump()} {settings.model_dump_json()}"
    assert "hu@sh" not in shown
    assert "sh@" not in shown


@pytest.mark.parametrize(
    "vectors", ["chroma", "qdrant", "chroma:http://db:8000", "qdrant:https://q"]
)
def test_every_vector_store_can_be_named(vectors: str) -> None:
    settings = load(environ={"GROUNDTUNE_STORE__VECTORS": vectors}).settings
    assert settings.store.vectors == vectors


def test_paths_in_a_file_are_taken_from_its_folder(tmp_path: Path) -> None:
    path = write(tmp_path, "home = 'w'\n[answer]\nschema_file = 's.json'")
    settings = load(path, environ={}).settings
    assert settings.home == tmp_path / "w"
    assert settings.answer.schema_file == tmp_path / "s.json"


def test_every_setting_is_documented() -> None:
    for name, section in Settings.model_fields.items():
        inner = getattr(section.annotation, "model_fields", None)
        if inner is None:
            assert section.description, name
        else:
            assert all(field.description for field in inner.values()), name


def test_a_voice_has_the_keys_of_an_answer_and_its_paths_are_anchored(tmp_path: Path) -> None:
    path = tmp_path / "groundtune.toml"
    path.write_text('[voices.books]\nsystem = "Dear reader."\nschema_file = "a.json"\n', "utf-8")
    settings = load(path, environ={"GROUNDTUNE_VOICES__BOOKS__MAX_TOKENS": "9"}).settings
    voice = settings.voice_of("books")
    assert (voice.system, voice.max_tokens) == ("Dear reader.", 9)
    assert voice.schema_file == tmp_path / "a.json"
    assert settings.voice_of("pumps") == settings.answer
    path.write_text('[voices.books]\nsystm = "x"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="'voices.books.systm'; did you mean 'system'"):
        load(path, environ={})


def test_the_assistant_for_both_houses_speaks_as_each_alone_does() -> None:
    both = load(ROOT / "examples" / "both.toml", environ={}).settings
    for house in ("tarnfell", "orlwick"):
        alone = load(ROOT / "examples" / house / "groundtune.toml", environ={}).settings
        voice, answer = both.voice_of(house), alone.answer
        for key in ("system", "refusal", "abstention", "schema_file", "max_tokens"):
            assert getattr(voice, key) == getattr(answer, key), f"{house}: {key}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*/groundtune.toml")), ids=str)
def test_shipped_configurations_load(path: Path) -> None:
    settings = load(path, environ={}).settings
    assert settings.answer.refusal in settings.answer.abstention
    assert settings.answer.refusal in settings.answer.system
