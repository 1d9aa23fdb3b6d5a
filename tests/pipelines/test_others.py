"""What has weights and makes no image: named by weights files, or by an entry in its own folder."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.definitions import OTHERS
from pipelines.registry import Registry, RegistryError, read_spec
from tests.conftest import entry

KEYS: dict[str, Any] = {
    "matting": {"source": "hub:a/cutter"},
    "rewriter": {"source": "hub:a/writer", "timeout": 5},
    "policy-prompts": {"source": "hub:a/judge", "labels": {"bad": "hate"}},
    "policy-images": {"source": "hub:a/eye", "labels": {"bad": "sexual"}},
}


def said(name: str, keys: object) -> dict[str, Any]:
    """What a weights file says that names it."""
    outer, *inner = OTHERS[name]
    return {outer: {inner[0]: keys} if inner else keys}


def bring(folder: Path, name: str, content: object) -> Path:
    """Put it into its folder, with this entry."""
    (folder / name).mkdir(parents=True)
    (folder / name / "config.json").write_text("{}")
    (folder / name / "entry.yaml").write_text(yaml.safe_dump(content))
    return folder / name / "entry.yaml"


def registry(folder: Path, content: dict[str, Any]) -> Registry:
    file = folder / "weights.yaml"
    file.write_text(yaml.safe_dump({"models": {"tiny": entry("tiny")}} | content))
    return Registry(file, folder / "models")


@pytest.mark.parametrize("name", OTHERS)
def test_what_a_weights_file_names(tmp_path: Path, name: str) -> None:
    there = registry(tmp_path, said(name, KEYS[name]))
    assert list(there.others) == [name]
    assert there.source(name) == KEYS[name]["source"]
    assert there.path(name) == tmp_path / "models" / name
    assert there.others[name].keys == KEYS[name]
    assert not there.installed(name)
    bring(tmp_path / "models", name, said(name, KEYS[name]))
    assert there.installed(name)


@pytest.mark.parametrize("source", ["hub:a/b", "."])
@pytest.mark.parametrize("name", OTHERS)
def test_what_was_brought_counts(tmp_path: Path, name: str, source: str) -> None:
    keys = KEYS[name] | {"source": source}
    file = bring(tmp_path / "models", name, said(name, keys))
    read_spec(file, name)
    there = registry(tmp_path, {"policy": {"terms": []}})
    assert list(there.others) == [name]
    assert there.path(name) == tmp_path / "models" / name
    assert there.installed(name)
    assert (there.policy.mode, there.policy.terms) == ("on", ())


@pytest.mark.parametrize("name", OTHERS)
def test_what_a_weights_file_says_counts_before_it(tmp_path: Path, name: str) -> None:
    bring(tmp_path / "models", name, said(name, KEYS[name]))
    there = registry(tmp_path, said(name, KEYS[name] | {"source": "mine"}))
    assert there.path(name) == tmp_path / "mine"


def test_an_endpoint_counts_before_a_rewriter_that_was_brought(tmp_path: Path) -> None:
    bring(tmp_path / "models", "rewriter", said("rewriter", KEYS["rewriter"]))
    chat = {"url": "http://10.0.0.7/v1", "model": "small"}
    assert registry(tmp_path, {"rewriter": chat}).others == {}


def test_a_judge_that_was_brought_does_not_begin_a_policy(tmp_path: Path) -> None:
    bring(tmp_path / "models", "policy-prompts", said("policy-prompts", KEYS["policy-prompts"]))
    there = registry(tmp_path, {})
    assert (there.policy.mode, there.policy.prompts) == ("off", None)
    assert registry(tmp_path, {"policy": {"prompts": None}}).policy.prompts is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"rewriter": {"url": "http://elsewhere/v1", "model": "m"}}, "rewriter.source: must lie"),
        ({"rewriter": {"source": "/etc"}}, "rewriter.source: must lie"),
        ({"rewriter": {"source": "../x"}}, "rewriter.source: must lie"),
        ({"rewriter": {}}, "rewriter.source: must lie"),
        ({"rewriter": {"source": "."}, "matting": "."}, "nothing else"),
        ({"rewriter": {"source": "."}, "names": {"dall-e-3": ["rewriter"]}}, "nothing else"),
        ({"matting": "."}, "must define 'rewriter'"),
        ({}, "must define 'rewriter'"),
        ({"models": {"rewriter": entry(".")}}, "must define 'rewriter'"),
    ],
)
def test_what_may_not_be_brought(tmp_path: Path, content: dict[str, Any], says: str) -> None:
    file = bring(tmp_path / "models", "rewriter", content)
    with pytest.raises(RegistryError, match=says):
        read_spec(file, "rewriter")
    with pytest.raises(RegistryError, match=says):
        registry(tmp_path, {})


@pytest.mark.parametrize("inner", [{"mode": "off"}, {"terms": []}, {"images": {"source": "."}}])
def test_a_judge_brings_nothing_else_of_a_policy(tmp_path: Path, inner: dict[str, Any]) -> None:
    content = {"policy": {"prompts": {"source": "."}, **inner}}
    with pytest.raises(RegistryError, match="nothing else"):
        read_spec(bring(tmp_path, "policy-prompts", content), "policy-prompts")


@pytest.mark.parametrize(
    ("name", "keys", "says"),
    [
        ("matting", {"source": ".", "size": 3}, "matting.size"),
        ("rewriter", {"source": ".", "device": "tpu"}, "rewriter.device"),
        ("policy-images", {"source": ".", "labels": {"a": "rude"}}, "policy.images.labels.a"),
    ],
)
def test_mistakes_in_an_entry_are_told(
    tmp_path: Path, name: str, keys: dict[str, Any], says: str
) -> None:
    with pytest.raises(RegistryError, match=says):
        read_spec(bring(tmp_path, name, said(name, keys)), name)


@pytest.mark.parametrize("name", [*OTHERS, "loras"])
def test_no_model_is_called_like_one_of_them(tmp_path: Path, name: str) -> None:
    with pytest.raises(RegistryError, match=f"models.{name}: is the name of something else"):
        registry(tmp_path, {"models": {name: entry("hub:a/b")}})
