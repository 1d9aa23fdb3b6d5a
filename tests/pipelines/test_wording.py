"""What weights.yaml says of prompts: read as it is meant, and refused by file, entry and key."""

from pathlib import Path

import pytest
import yaml

from pipelines.registry import Registry, RegistryError
from pipelines.wording import ChatRewriter, LocalRewriter
from tests.conftest import entry

VIVID = {"vivid": "{prompt}, vivid"}


def registry(folder: Path, *files: dict[str, object]) -> Registry:
    """Of these files, each of which has a model unless it says otherwise."""
    paths = []
    for number, content in enumerate(files):
        paths.append(folder / f"{number}.yaml")
        paths[-1].write_text(yaml.safe_dump({"models": {"tiny": entry("tiny")}} | content))
    return Registry(paths, folder / "models")


def test_a_local_one(tmp_path: Path) -> None:
    told = registry(tmp_path, {"rewriter": {"source": "writer", "device": "cuda:1", "timeout": 5}})
    assert told.rewriter == LocalRewriter("writer", tmp_path / "writer", "cuda:1", 5)
    assert told.path("rewriter") == tmp_path / "writer"
    assert not told.installed("rewriter")
    (tmp_path / "writer").mkdir()
    (tmp_path / "writer" / "config.json").write_text("{}")
    assert told.installed("rewriter")


def test_one_from_the_hub_lies_with_the_models(tmp_path: Path) -> None:
    told = registry(tmp_path, {"rewriter": {"source": "hub:a/b"}})
    folder = tmp_path / "models" / "rewriter"
    assert told.rewriter == LocalRewriter("hub:a/b", folder, None, 20)


def test_an_endpoint(tmp_path: Path) -> None:
    chat = {"url": "http://10.0.0.7:8080/v1/", "model": "small", "api_key_env": "KEY"}
    told = registry(tmp_path, {"rewriter": chat})
    assert told.rewriter == ChatRewriter("http://10.0.0.7:8080/v1", "small", "KEY", 20)
    assert told.others == {}


def test_the_last_file_that_names_one_counts(tmp_path: Path) -> None:
    one, two = ({"rewriter": {"source": name}} for name in ("one", "two"))
    assert registry(tmp_path, {}).rewriter is None
    told = registry(tmp_path, one, two, {}).rewriter
    assert isinstance(told, LocalRewriter) and told.source == "two"


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({}, "either a source or a url"),
        ({"source": "a", "url": "http://b/v1", "model": "c"}, "either a source or a url"),
        ({"source": "a", "model": "c"}, "of a url"),
        ({"url": "http://b/v1"}, "model"),
        ({"url": "http://b/v1", "model": "c", "device": "cpu"}, "device is of a source"),
        ({"url": "ftp://b/v1", "model": "c"}, "must look like"),
        ({"url": "http://", "model": "c"}, "must look like"),
        ({"url": "http://me:secret@b/v1", "model": "c"}, "must look like"),
        ({"url": "http://b/v1?key=1", "model": "c"}, "must look like"),
        ({"url": "http://b:port/v1", "model": "c"}, "must look like"),
        ({"source": "a", "device": "gpu"}, "rewriter.device"),
        ({"source": "a", "timeout": 0}, "rewriter.timeout"),
        ({"source": "a", "timeout": 1000}, "rewriter.timeout"),
        ({"source": "a", "colour": 1}, "rewriter.colour"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, keys: object, why: str) -> None:
    with pytest.raises(RegistryError, match=rf"0\.yaml: rewriter.*{why}|0\.yaml: {why}"):
        registry(tmp_path, {"rewriter": keys})


def test_templates_by_name_and_in_place(tmp_path: Path) -> None:
    models = {
        "named": entry("a") | {"templates": "tags"},
        "own": entry("a") | {"templates": {"zh": VIVID}},
        "child": {"like": "named", "source": "b"},
        "none": entry("a"),
    }
    told = registry(tmp_path, {"models": models, "templates": {"tags": {"en": VIVID}}}).models
    assert told["named"].templates["en"].vivid == told["child"].templates["en"].vivid
    assert told["named"].templates["en"].vivid == "{prompt}, vivid"
    assert told["named"].templates["en"].natural == "{prompt}"
    assert told["own"].templates.keys() == {"zh"}
    assert told["none"].templates == {}


def test_a_later_file_may_word_templates_anew(tmp_path: Path) -> None:
    models = {"tiny": entry("a") | {"templates": "tags"}}
    first = {"models": models, "templates": {"tags": {"en": VIVID}}}
    later = {"models": {"b": entry("b")}, "templates": {"tags": {"en": {"vivid": "V: {prompt}"}}}}
    assert registry(tmp_path, first, later).models["tiny"].templates["en"].vivid == "V: {prompt}"


@pytest.mark.parametrize(
    ("templates", "why"),
    [
        ("nowhere", "there is no 'nowhere' in templates"),
        ({"en": {"vivid": "no place for it"}}, "templates.en.vivid"),
        ({"en": {"vivid": "{prompt} {prompt}"}}, "templates.en.vivid"),
        ({"en": {"vivid": "{prompt} {style}"}}, "templates.en.vivid"),
        ({"en": {"loud": "{prompt}!"}}, "templates.en.loud"),
        ({"english": VIVID}, "templates.english"),
    ],
)
def test_templates_that_are_none_are_refused(tmp_path: Path, templates: object, why: str) -> None:
    models = {"tiny": entry("a") | {"templates": templates}}
    with pytest.raises(RegistryError, match=f"models.tiny.*{why}"):
        registry(tmp_path, {"models": models})


def test_what_comes_with_a_model_brings_no_rewriter(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    content = {"models": {"mine": entry(".")}, "rewriter": {"source": "a"}}
    (folder / "entry.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(RegistryError, match="nothing else"):
        registry(tmp_path, {})


def test_the_shipped_entries_say_what_they_read() -> None:
    told = Registry(Path("weights.yaml"), Path("models"))
    for spec in told.models.values():
        assert spec.prompt_tokens
        assert spec.templates.keys() >= {"en", *({"zh"} & set(spec.languages))}
        kinds = [vars(it) for it in spec.templates.values()]
        assert all("{prompt}" != text for kind in kinds for text in kind.values())
