"""`policy` in weights files: what it says, where its files are, and which mistakes are told."""

import json
from pathlib import Path

import pytest
import yaml

from pipelines.content import CATEGORIES, Classifier, ContentPolicy, labels_of, shipped_lists
from pipelines.registry import Registry, RegistryError
from tests.conftest import entry


def policy_in(folder: Path, *said: object) -> ContentPolicy:
    """What weights files say, one after the other."""
    files = []
    for number, each in enumerate(said):
        files.append(folder / f"{number}.yaml")
        files[-1].write_text(yaml.safe_dump({"models": {"a": entry("a")}, "policy": each}))
    return Registry(files, folder / "models").policy


def test_without_a_word_there_is_none(tmp_path: Path) -> None:
    policy = policy_in(tmp_path, None)
    assert (policy.mode, policy.prompts, policy.images) == ("off", None, None)
    assert policy.terms == (shipped_lists(),)


def test_said_it_is_on_with_the_lists_that_come_along(tmp_path: Path) -> None:
    assert policy_in(tmp_path, {}) == ContentPolicy("on")


@pytest.mark.parametrize(
    ("text", "mode"),
    [("on", "on"), ("off", "off"), ("strict", "strict"), ("'on'", "on"), ("yes", "on")],
)
def test_a_mode_is_what_it_looks_like(tmp_path: Path, text: str, mode: str) -> None:
    file = tmp_path / "weights.yaml"
    file.write_text(f"policy: {{mode: {text}}}\nmodels: {json.dumps({'a': entry('a')})}\n")
    assert Registry(file, tmp_path).policy.mode == mode


def test_paths_are_beside_the_file_that_names_them(tmp_path: Path) -> None:
    said = {
        "terms": ["lists", "/more/hate.txt"],
        "prompts": {"source": "judge", "labels": {"toxic": "harassment"}},
        "images": {"source": "hub:someone/judge", "thresholds": {"auto": 0.7}},
    }
    policy = policy_in(tmp_path, said)
    assert policy.terms == (tmp_path / "lists", Path("/more/hate.txt"))
    assert policy.prompts and policy.images
    assert policy.prompts.folder == tmp_path / "judge"
    assert policy.prompts.labels == {"toxic": "harassment"} and not policy.prompts.pulled
    assert policy.images.folder == tmp_path / "models" / "policy-images" and policy.images.pulled
    least = [policy.images.thresholds.of(it) for it in ("low", "auto", "strict")]  # type: ignore[arg-type]
    assert least == [0.8, 0.7, 0.3]


def test_the_last_file_that_has_one_counts(tmp_path: Path) -> None:
    policy = policy_in(tmp_path, {"terms": ["mine"]}, {"mode": "strict"}, None)
    assert (policy.mode, policy.terms) == ("strict", (shipped_lists(),))
    assert policy_in(tmp_path, {"mode": "on"}, {"terms": []}).terms == ()


def test_who_is_stricter_lets_out_no_more(tmp_path: Path) -> None:
    for thresholds in ({"low": 0.4}, {"auto": 0.9}, {"strict": 0.6}):
        with pytest.raises(RegistryError, match=r"policy.prompts: .*low must be the highest one"):
            policy_in(tmp_path, {"prompts": {"source": "x", "thresholds": thresholds}})
    same = dict.fromkeys(("low", "auto", "strict"), 0.4)
    assert policy_in(tmp_path, {"prompts": {"source": "x", "thresholds": same}}).prompts


def test_a_model_does_not_bring_one_along(tmp_path: Path) -> None:
    (tmp_path / "models" / "b").mkdir(parents=True)
    own = {"models": {"b": entry("hub:x/b")}, "policy": {"mode": "off"}}
    (tmp_path / "models" / "b" / "entry.yaml").write_text(yaml.safe_dump(own))
    with pytest.raises(RegistryError, match="must define 'b' and nothing else"):
        policy_in(tmp_path, {"mode": "strict"})


def configured(folder: Path, **config: object) -> Classifier:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return Classifier("mine", folder, {"toxic": "hate"})


def test_what_a_classifier_lacks_is_known_before_it_is_read(tmp_path: Path) -> None:
    gone = Classifier("hub:a/b", tmp_path / "gone", {})
    assert gone.fault == f"hub:a/b is not in {tmp_path / 'gone'}"
    assert configured(tmp_path / "a", id2label={"0": "fine", "1": "toxic"}).fault is None
    other = configured(tmp_path / "b", id2label={"0": "fine", "1": "bad"})
    assert other.fault == "there is no label 'toxic'; mine has fine, bad"
    unnamed = Classifier("mine", tmp_path / "b", {})
    assert unnamed.fault == "labels: none is named; mine has fine, bad"
    (tmp_path / "b" / "config.json").write_text("[]")
    assert other.fault == "there is no label 'toxic'; mine has none"
    nothing = configured(tmp_path / "d", architectures=None, id2label=None)
    assert nothing.fault == "there is no label 'toxic'; mine has none"


def test_a_safety_checker_has_one_label(tmp_path: Path) -> None:
    checker = configured(tmp_path / "c", architectures=["StableDiffusionSafetyChecker"])
    assert labels_of(checker.folder) == ["nsfw"]
    assert Classifier("mine", checker.folder, {}).fault is None


def test_the_categories_are_those_of_the_original() -> None:
    assert len(CATEGORIES) == 13 and list(CATEGORIES) == sorted(CATEGORIES)
