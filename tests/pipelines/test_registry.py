"""weights.yaml: what it may say, and what is said when it says something else."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml

from pipelines.registry import (
    ModelSpec,
    NativeSize,
    Preset,
    Quality,
    Registry,
    RegistryError,
)
from tests.conftest import entry

SHIPPED = Path(__file__).parents[2] / "weights.yaml"


def write(folder: Path, content: object) -> Path:
    file = folder / "weights.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return file


def install(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "model_index.json").write_text("{}")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    models = {name: entry(name) for name in ("best", "good", "last")}
    models["hub"] = entry("hub:someone/something")
    names = {"dall-e-3": ["best", "good", "last"], "nothing": ["best"]}
    install(tmp_path, "good", "last")
    return Registry(write(tmp_path, {"models": models, "names": names}), tmp_path / "models")


def test_the_first_installed_model_serves_a_name(registry: Registry, tmp_path: Path) -> None:
    assert registry.resolve("dall-e-3") == "good"
    install(tmp_path, "best")
    assert registry.resolve("dall-e-3") == "best"


def test_every_model_is_a_name_of_its_own(registry: Registry) -> None:
    assert registry.resolve("last") == "last"
    assert set(registry.names) == {"best", "good", "last", "hub", "dall-e-3", "nothing"}


def test_a_name_can_be_unknown_or_without_an_installed_model(registry: Registry) -> None:
    assert registry.preferences("never") == []
    assert registry.resolve("never") is None
    assert registry.preferences("nothing") == ["best"]
    assert registry.resolve("nothing") is None


def test_the_matting_model_is_the_last_files_and_counts_where_it_is_installed(
    tmp_path: Path,
) -> None:
    models = {"models": {"last": entry("last")}}
    own, more = tmp_path / "own.yaml", tmp_path / "more.yaml"
    own.write_text(yaml.safe_dump({**models, "matting": "hub:someone/cutter"}))
    more.write_text(yaml.safe_dump({"matting": "cutter"}))
    assert Registry(write(tmp_path, models), tmp_path / "models").matting is None
    for files, folder in (
        ([own], tmp_path / "models" / "matting"),
        ([own, more], tmp_path / "cutter"),
    ):
        registry = Registry(files, tmp_path / "models")
        assert registry.matting is None
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        assert registry.matting == folder


def test_a_model_does_not_bring_a_matting_model_along(tmp_path: Path) -> None:
    brought = {"models": {"new": entry("hub:someone/new")}, "matting": "hub:someone/cutter"}
    (tmp_path / "models" / "new").mkdir(parents=True)
    (tmp_path / "models" / "new" / "entry.yaml").write_text(yaml.safe_dump(brought))
    with pytest.raises(RegistryError, match="must define 'new' and nothing else"):
        Registry(write(tmp_path, {"models": {"last": entry("last")}}), tmp_path / "models")


def test_hub_models_lie_in_the_models_folder(registry: Registry, tmp_path: Path) -> None:
    assert registry.path("hub") == tmp_path / "models" / "hub"
    assert registry.path("best") == tmp_path / "best"


def test_with_nothing_but_the_demo_the_demo_serves_every_name(tmp_path: Path) -> None:
    file = tmp_path / "weights.yaml"
    file.write_text(SHIPPED.read_text())
    install(tmp_path / "weights", "demo")
    registry = Registry(file, tmp_path / "models")
    assert {registry.resolve(name) for name in registry.names} == {"demo"}
    assert list(registry.preloaded()) == ["demo"]


GOOD = entry("x")
BACKWARDS = {"smallest": 9, "largest": 8, "multiple": 1}
COARSE = {"smallest": 8, "largest": 8, "multiple": 16}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"models": {"m": GOOD | {"stpes": 3}}}, "models.m.stpes"),
        ({"models": {"m": {k: v for k, v in GOOD.items() if k != "native"}}}, "models.m.native"),
        ({"models": {"m": GOOD | {"dtype": "int8"}}}, "models.m.dtype"),
        ({"models": {"m": GOOD | {"quality": {"low": {}}}}}, "models.m.quality.low.steps"),
        ({"models": {"m": GOOD}, "names": {"n": ["m", "typo"]}}, "names.n: there is no model"),
        ({"models": {"m": GOOD}, "names": {"n": []}}, "names.n"),
        ({"models": {"../m": GOOD}}, "models.../m"),
        ({"models": {"m": GOOD | {"native": BACKWARDS}}}, "smallest is above"),
        ({"models": {"m": GOOD | {"native": COARSE}}}, "multiple is above smallest"),
        ({"models": {"m": GOOD | {"tasks": []}}}, "models.m.tasks"),
        ({"models": {"m": GOOD | {"languages": []}}}, "models.m.languages"),
        ({"models": {"m": GOOD | {"languages": ["english"]}}}, "models.m.languages.0"),
        ({"models": {"m": GOOD | {"pipeline": "my/pipeline.py"}}}, "models.m.pipeline"),
        ({"models": {"m": GOOD | {"source": ""}}}, "models.m.source"),
        ({"models": {"m": GOOD | {"source": "hub:flux"}}}, "models.m.source: Value error, must be"),
        ({"models": {"m": GOOD | {"source": "hub:../.."}}}, "models.m.source"),
        ({"models": {"m": GOOD | {"source": "HUB:a/b"}}}, "must be hub:owner/name, or a path"),
        ({"models": {"m": GOOD | {"source": "https://hub/a/b"}}}, "be hub:owner/name, or a path"),
        ({"models": {"m": GOOD}, "matting": "https://hub/a/b"}, "matting.source: Value error"),
        ({"models": {"m": GOOD}, "matting": "hub:x"}, "matting.source"),
        ({"models": {"m": GOOD}, "rewriter": {"source": "hub:x"}}, "rewriter.source"),
        ({"models": {"m": GOOD}, "policy": {"prompts": {"source": ""}}}, "policy.prompts.source"),
        ("models: {}\nnames: {}\nmodels: {}", "'models' is there twice, in"),
        ("matting: &a {source: x, source: y}", "'source' is there twice, in"),
        ("models: {? [a, b] : {}}", "is not YAML: while constructing a mapping"),
        ({"model": {}}, "model"),
        ("[1, 2]", "the whole file"),
        ("a: [", "is not YAML"),
        ("", "the whole file"),
    ],
)  # fmt: skip
def test_an_unusable_file_is_told_by_file_entry_and_key(
    content: object, complaint: str, tmp_path: Path
) -> None:
    file = write(tmp_path, content)
    with pytest.raises(RegistryError) as refused:
        Registry(file, tmp_path)
    assert str(file) in str(refused.value)
    assert complaint in str(refused.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="cannot be read"):
        Registry(tmp_path / "none.yaml", tmp_path)


@pytest.mark.parametrize(
    ("asked", "rendered"),
    [
        ((1024, 1024), (1024, 1024)),
        ((2048, 2048), (1024, 1024)),
        ((256, 256), (512, 512)),
        ((1792, 1024), (1360, 768)),
        ((1024, 1792), (768, 1360)),
        ((1000, 1000), (992, 992)),
        ((2048, 64), (1024, 256)),
        ((64, 2048), (256, 1024)),
    ],
)
def test_the_nearest_native_size(asked: tuple[int, int], rendered: tuple[int, int]) -> None:
    assert NativeSize(smallest=512, largest=1024, multiple=16).nearest(*asked) == rendered


def test_a_file_of_another_kind_is_no_source(tmp_path: Path) -> None:
    file = write(tmp_path, {"models": {"m": entry("mine.ckpt")}})
    (tmp_path / "mine.ckpt").touch()
    with pytest.raises(RegistryError, match=r"models.m.source: one file must be .safetensors"):
        Registry(file, tmp_path / "models")


@pytest.mark.parametrize(("key", "tasks"), [("inpaint", ["img2img"]), ("edit", ["img2img"])])
def test_who_is_named_for_some_work_can_do_it(tmp_path: Path, key: str, tasks: list[str]) -> None:
    models = {"base": entry("base") | {key: "other"}, "other": entry("other")}
    for able in (tasks, [*tasks, "edit"]):
        models["other"]["tasks"] = able
        file = write(tmp_path, {"models": models})
        if able == tasks:
            with pytest.raises(RegistryError, match=f"models.base.{key}: 'other' has no such task"):
                Registry(file, tmp_path / "models")
    assert Registry(file, tmp_path / "models")


@pytest.mark.parametrize("tasks", [["img2img"], ["img2img", "edit"]])
def test_who_names_itself_for_some_work_can_do_it(tmp_path: Path, tasks: list[str]) -> None:
    file = write(tmp_path, {"models": {"me": entry("me") | {"edit": "me", "tasks": tasks}}})
    refused = pytest.raises(RegistryError, match="models.me.edit: 'me' has no such task")
    with nullcontext() if "edit" in tasks else refused:
        Registry(file, tmp_path / "models")


def test_every_key_is_documented() -> None:
    text = (SHIPPED.parent / "docs" / "weights.md").read_text()
    assert "`like`" in text
    for model in (ModelSpec, NativeSize, Quality, Preset):
        for key in model.model_fields:
            assert f"`{key}`" in text, key


def test_better_suited_models_do_their_work_where_they_are_installed(tmp_path: Path) -> None:
    models = {name: entry(name) for name in ("base", "fill")}
    models["base"] |= {"inpaint": "fill", "strength": {"edit": 0.7}}
    registry = Registry(write(tmp_path, {"models": models}), tmp_path / "models")
    assert registry.specialist("base", "inpaint") == "base"
    install(tmp_path, "fill")
    assert registry.specialist("base", "inpaint") == "fill"
    assert registry.specialist("base", "edit") == "base"
    strength = registry.models["base"].strength
    assert (strength.inpaint, strength.edit, strength.variation) == (1.0, 0.7, 0.6)


def test_a_name_goes_to_a_model_that_can_do_the_work(tmp_path: Path) -> None:
    models = {name: entry(name) for name in ("fill", "base")}
    models["fill"] |= {"tasks": ["inpaint"]}
    names = {"flux": ["fill", "base"], "only": ["fill"]}
    registry = Registry(write(tmp_path, {"models": models, "names": names}), tmp_path / "models")
    install(tmp_path, "fill", "base")
    assert registry.resolve("flux") == "fill"
    assert registry.resolve("flux", ["inpaint", "edit"]) == "fill"
    assert registry.resolve("flux", ["text2img"]) == "base"
    assert registry.resolve("only", ["text2img"]) is None


def test_what_is_shipped_says_what_it_is_and_needs() -> None:
    models = Registry(SHIPPED, Path("models")).models
    assert all(spec.licence and spec.memory for spec in models.values())
    chinese = {id for id, spec in models.items() if "zh" in spec.languages}
    assert chinese == {"demo", "qwen-image", "qwen-image-edit", "z-image-turbo"}
    for id, spec in models.items():
        named = {key: getattr(spec, key) for key in ("inpaint", "edit", "variation")}
        for task, other in named.items():
            assert other is None or task in models[other].tasks, (id, task)
        assert not spec.references or "edit" in spec.tasks, id


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"variation": "never"}, "models.base.variation: there is no model 'never'"),
        ({"tasks": ["paint"]}, "models.base.tasks"),
        ({"references": -1}, "models.base.references"),
        ({"memory": 0}, "models.base.memory"),
        ({"ignores": ["seed"]}, "models.base.ignores"),
        ({"inpaint": "never"}, "models.base.inpaint: there is no model 'never'"),
        ({"edit": "never"}, "models.base.edit: there is no model 'never'"),
        ({"strength": {"edit": 0}}, "models.base.strength.edit"),
        ({"strength": {"other": 1}}, "models.base.strength.other"),
    ],
)
def test_what_an_entry_says_of_edits_is_checked(
    tmp_path: Path, extra: dict[str, object], says: str
) -> None:
    with pytest.raises(RegistryError, match=says):
        Registry(write(tmp_path, {"models": {"base": entry("base") | extra}}), tmp_path)
