"""Several files that define models: what adds to what, and what an entry takes over."""

from pathlib import Path

import pytest
import yaml

from pipelines import definitions
from pipelines.content import shipped_lists
from pipelines.registry import Registry, RegistryError
from tests.conftest import entry


def write(folder: Path, **content: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "weights.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


@pytest.fixture
def base(tmp_path: Path) -> Path:
    models = {"sdxl": entry("hub:o/sdxl") | {"strength": {"edit": 0.7}}, "demo": entry("demo")}
    for folder in (tmp_path / "base" / "demo", tmp_path / "mine" / "here"):
        folder.mkdir(parents=True)
        (folder / "model_index.json").touch()
    return write(tmp_path / "base", models=models, names={"dall-e-3": ["sdxl", "demo"]})


def test_a_checkpoint_in_five_lines(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine" / "weights.yaml"
    file.write_text("models:\n  mine:\n    like: sdxl\n    source: here\nnames: {dall-e-3: [mine]}")
    registry = Registry([base, file], tmp_path)
    assert registry.resolve("dall-e-3") == registry.resolve("mine") == "mine"
    assert registry.preferences("dall-e-3") == ["mine", "sdxl", "demo"]
    assert registry.path("mine") == tmp_path / "mine" / "here"
    assert registry.path("demo") == tmp_path / "base" / "demo"
    same = {"source"}
    assert registry.models["mine"].model_dump(exclude=same) == registry.models["sdxl"].model_dump(
        exclude=same
    )


def test_what_an_entry_takes_over_and_what_not(base: Path, tmp_path: Path) -> None:
    sdxl = entry("hub:o/sdxl") | {"strength": {"edit": 0.7}, "preload": True}
    mine = {"like": "sdxl", "source": "x", "strength": {"inpaint": 0.9}, "dtype": "float16"}
    child = {"like": "mine", "source": "y", "quality": {"low": {"steps": 1}}}
    file = write(tmp_path, models={"child": child, "mine": mine, "sdxl": sdxl})
    models = Registry(file, tmp_path).models
    assert (models["child"].strength.inpaint, models["child"].strength.edit) == (0.9, 0.7)
    assert models["child"].quality.low.steps == 1
    assert models["child"].quality.low.guidance_scale == 4.0
    assert (models["child"].dtype, models["child"].preload) == ("float16", False)


def test_who_is_like_one_that_does_some_work_itself_does_so_too(tmp_path: Path) -> None:
    told = entry("hub:o/told") | {"edit": "told", "inpaint": "fill", "tasks": ["edit", "inpaint"]}
    fill = entry("hub:o/fill") | {"inpaint": "fill"}
    mine = {"like": "told", "source": "x"}
    file = write(tmp_path, models={"told": told, "fill": fill, "mine": mine,
                                   "child": {"like": "mine", "source": "y"}})  # fmt: skip
    models = Registry(file, tmp_path).models
    assert (models["mine"].edit, models["mine"].inpaint) == ("mine", "fill")
    assert models["child"].edit == "child"


@pytest.mark.parametrize(("tasks", "does"), [(["text2img"], "told"), (["edit"], "mine")])
def test_who_can_do_less_leaves_the_work_to_the_one_it_is_like(
    tmp_path: Path, tasks: list[str], does: str
) -> None:
    told = entry("hub:o/told") | {"edit": "told", "tasks": ["text2img", "edit"]}
    mine = {"like": "told", "source": "x", "tasks": tasks}
    file = write(tmp_path, models={"told": told, "mine": mine})
    assert Registry(file, tmp_path).models["mine"].edit == does


def test_what_is_merged_may_be_said_again(tmp_path: Path) -> None:
    file = tmp_path / "weights.yaml"
    file.write_text(
        f"models:\n  a: &a {entry('x')}\n  b: &b\n    <<: *a\n    source: y\n"
        "  c:\n    <<: *b\n    source: z\n"
    )
    models = Registry(file, tmp_path).models
    assert [models[id].source for id in "abc"] == ["x", "y", "z"]


def test_a_later_file_replaces_an_entry(base: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "mine", models={"sdxl": entry("here")})
    registry = Registry([base, file], tmp_path)
    assert registry.models["sdxl"].source == "here"
    assert list(registry.models) == ["sdxl", "demo"]


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ({"mine": {"like": "never", "source": "x"}}, "models.mine.like: there is no model 'never'"),
        ({"mine": {"like": ["sdxl"], "source": "x"}}, "models.mine.like: there is no model"),
        ({"mine": {"like": "mine", "source": "x"}}, "models.mine.like: 'mine' is like itself"),
        (
            {"mine": {"like": "b", "source": "x"}, "b": {"like": "mine", "source": "x"}},
            "is like itself",
        ),
        ({"mine": {"like": "sdxl"}}, "models.mine.source: Field required"),
        ({"mine": {"like": "sdxl", "source": "x", "stpes": 1}}, "models.mine.stpes"),
    ],
)
def test_mistakes_are_told_by_file_entry_and_key(
    base: Path, tmp_path: Path, models: dict[str, object], says: str
) -> None:
    file = write(tmp_path / "mine", models=models)
    with pytest.raises(RegistryError, match=says) as refused:
        Registry([base, file], tmp_path)
    assert str(refused.value).startswith(str(file))


def test_a_later_file_may_only_add_names(base: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "mine", names={"dall-e-2": ["demo"]})
    assert Registry([base, file], tmp_path).resolve("dall-e-2") == "demo"


def installed(models_dir: Path, id: str, **content: object) -> None:
    (models_dir / id).mkdir(parents=True, exist_ok=True)
    (models_dir / id / "model_index.json").touch()
    (models_dir / id / "entry.yaml").write_text(yaml.safe_dump(content))


def test_a_model_brings_its_own_entry(base: Path, tmp_path: Path) -> None:
    own = {"like": "sdxl", "source": "."}
    installed(tmp_path / "m", "mine", models={"mine": own}, names={"dall-e-3": ["mine"]})
    installed(tmp_path / "m", ".hidden.partial", models={"x": own})
    registry = Registry(base, tmp_path / "m")
    assert registry.resolve("dall-e-3") == "mine"
    assert registry.path("mine") == (tmp_path / "m" / "mine").resolve()
    assert list(registry.models) == ["sdxl", "demo", "mine"]


def test_a_weights_file_may_name_a_model_that_brings_its_own_entry(
    base: Path, tmp_path: Path
) -> None:
    installed(tmp_path / "m", "mine", models={"mine": {"like": "sdxl", "source": "."}})
    file = write(tmp_path / "mine", names={"dall-e-3": ["mine"]})
    assert Registry([base, file], tmp_path / "m").resolve("dall-e-3") == "mine"
    with pytest.raises(RegistryError, match="names.dall-e-3: there is no model 'matting'"):
        installed(tmp_path / "m", "matting", matting=".")
        Registry([base, write(tmp_path / "mine", names={"dall-e-3": ["matting"]})], tmp_path / "m")


def test_weights_yaml_counts_where_it_defines_the_model(base: Path, tmp_path: Path) -> None:
    own = {"models": {"sdxl": entry(".") | {"dtype": "float16"}}, "names": {"dall-e-3": ["sdxl"]}}
    installed(tmp_path / "m", "sdxl", **own)
    assert Registry(base, tmp_path / "m").models["sdxl"].dtype == "float32"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"models": {"other": {"like": "sdxl", "source": "."}}}, "must define 'mine'"),
        ({"models": {"mine": {"like": "sdxl", "source": "/etc"}}}, "must lie in"),
        ({"models": {"mine": {"like": "sdxl", "source": "a/../.."}}}, "must lie in"),
        ({"models": {"mine": {"like": "sdxl", "source": "~/x"}}}, "must lie in"),
        ({"models": {"mine": {"like": "sdxl"}}}, "must lie in"),
        (
            {"models": {"mine": {"like": "sdxl", "source": "."}}, "names": {"a": ["demo"]}},
            r"names.a: must be \[mine\]",
        ),
    ],
)
def test_an_entry_of_its_own_is_for_that_model_alone(
    base: Path, tmp_path: Path, content: dict[str, object], says: str
) -> None:
    installed(tmp_path / "m", "mine", **content)
    with pytest.raises(RegistryError, match=says):
        Registry(base, tmp_path / "m")


def test_the_shipped_file_stands_in_where_there_is_none(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(definitions, "SHIPPED", base)
    assert Registry(Path("weights.yaml"), tmp_path).resolve("demo") == "demo"
    with pytest.raises(RegistryError, match="other.yaml: cannot be read"):
        Registry(Path("other.yaml"), tmp_path)
    write(tmp_path, models={"here": entry("x")})
    assert list(Registry(Path("weights.yaml"), tmp_path).models) == ["here"]


def test_the_shipped_file_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    registry = Registry(Path("weights.yaml"), tmp_path / "models")
    assert registry.installed("demo")
    assert registry.resolve("dall-e-2") == "demo"
    assert all(folder.is_dir() for folder in registry.policy.terms)


def test_a_copy_of_the_shipped_file_needs_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "elsewhere" / "mine.yaml"
    file.parent.mkdir()
    file.write_text(definitions.SHIPPED.read_text())
    registry = Registry(file, tmp_path / "models")
    assert registry.path("demo") == (definitions.SHIPPED.parent / "weights" / "demo").resolve()
    assert registry.policy.terms == (shipped_lists().resolve(),)
    (file.parent / "policy").mkdir()
    (file.parent / "weights" / "demo").mkdir(parents=True)
    registry = Registry(file, tmp_path / "models")
    assert registry.path("demo") == file.parent / "weights" / "demo"
    assert registry.policy.terms == (file.parent / "policy",)


def test_only_what_is_shipped_is_found_beside_the_shipped_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    for path in ("docs", "policy/nothing", "../policy", "weights.yaml"):
        assert definitions.resolve_path(file, path) == (tmp_path / path).resolve()
