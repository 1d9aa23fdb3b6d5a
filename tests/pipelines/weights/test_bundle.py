"""From one box to the next: what arrives is what left, or nothing arrives."""

import random
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import minisign
import pytest
import yaml

from pipelines.lora_files import LoraFiles
from pipelines.registry import Registry
from pipelines.weights import archive
from pipelines.weights.bundle import Contents, bundle
from pipelines.weights.lora_manifests import require_trusted_lora, take_in_lora
from pipelines.weights.manifest import WeightsError, make_manifest, read_manifest, write_manifest
from pipelines.weights.signing import signer
from pipelines.weights.unbundle import unbundle
from pipelines.weights.verify import is_remembered, verify
from tests.conftest import entry
from tests.pipelines.weights.conftest import Repository, tensors

Write = Callable[[Repository, str], Path]
FLIPS = 200


@pytest.fixture
def registry(repository: Repository, needed: list[str], write: Write, tmp_path: Path) -> Registry:
    """Two installed models: one from the hub with a manifest, one in a folder without."""
    small = {path: repository[path] for path in needed} | {
        path: tensors(5_000, 5) for path in needed if "-of-" in path
    }
    write_manifest(hub := write(small, "models/tiny"), make_manifest(hub))
    write(small, "mine")
    models = {"tiny": entry("hub:owner/tiny"), "mine": entry("mine") | {"inpaint": "tiny"}}
    content = {"models": models, "names": {"dall-e-3": ["mine", "tiny"], "dall-e-2": ["tiny"]}}
    (tmp_path / "weights.yaml").write_text(yaml.safe_dump(content))
    return Registry(tmp_path / "weights.yaml", tmp_path / "models")


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """The models folder of the other side."""
    return tmp_path / "there"


def nothing_in(folder: Path) -> bool:
    return not folder.exists() or not list(folder.iterdir())


def test_what_arrives_is_what_left(registry: Registry, tmp_path: Path, there: Path) -> None:
    done: list[int] = []
    (file,) = bundle(registry, ["tiny", "mine"], tmp_path / "b.tar")
    installed = unbundle(file, there, lambda label, size: done.append)
    assert set(installed) == {"tiny", "mine"}
    assert sum(done) == file.stat().st_size
    assert sorted(path.name for path in there.iterdir()) == ["mine", "tiny"]
    for name in installed:
        manifest = read_manifest(there / name)
        assert manifest == make_manifest(registry.path(name))
        assert verify(there / name).intact and is_remembered(there / name, manifest)


def test_the_other_side_serves_it_without_a_weights_yaml_that_knows_it(
    registry: Registry, tmp_path: Path, there: Path
) -> None:
    unbundle(*bundle(registry, ["tiny", "mine"], tmp_path / "b.tar"), there)
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({"models": {"demo": entry("demo")}}))
    other = Registry(tmp_path / "other.yaml", there)
    assert other.resolve("dall-e-3") == "mine"
    assert other.path("mine") == (there / "mine").resolve()
    assert other.specialist("mine", "inpaint") == "tiny"
    same = {"source"}
    assert other.models["mine"].model_dump(exclude=same) == registry.models["mine"].model_dump(
        exclude=same
    )


def test_an_entry_that_refers_to_what_nobody_defines(
    registry: Registry, tmp_path: Path, there: Path
) -> None:
    (file,) = bundle(registry, ["mine"], tmp_path / "b.tar")
    with pytest.raises(WeightsError, match="mine.inpaint: there is no model 'tiny' in models"):
        unbundle(file, there)
    assert nothing_in(there)
    other = other_side(tmp_path, there, {"tiny": entry("hub:owner/tiny")})
    unbundle(file, there, registry=other())
    assert other().specialist("mine", "inpaint") == "mine", "tiny is not installed"


def other_side(tmp_path: Path, there: Path, models: dict[str, object]) -> Callable[[], Registry]:
    """What a server would find there."""
    weights = tmp_path / "other.yaml"
    weights.write_text(yaml.safe_dump({"models": models}))
    return lambda: Registry(weights, there)


def test_an_entry_that_asks_too_much_of_a_model_that_is_here(
    registry: Registry, tmp_path: Path, there: Path
) -> None:
    """Or the server would not start any more."""
    (file,) = bundle(registry, ["mine"], tmp_path / "b.tar")
    tiny = entry("hub:owner/tiny") | {"tasks": ["text2img"]}
    other = other_side(tmp_path, there, {"tiny": tiny})
    with pytest.raises(WeightsError, match="mine.inpaint: 'tiny' has no such task"):
        unbundle(file, there, registry=other())
    assert nothing_in(there)
    other = other_side(tmp_path, there, {"tiny": tiny, "mine": entry("hub:owner/mine")})
    unbundle(file, there, registry=other())
    assert other().models["mine"].inpaint is None, "it is defined already"


def test_a_new_entry_that_others_cannot_do_with(
    registry: Registry, tmp_path: Path, there: Path
) -> None:
    old, new = tmp_path / "b.tar", tmp_path / "c.tar"
    bundle(registry, ["tiny"], old)
    less = registry.models["tiny"].model_dump(mode="json", exclude_defaults=True)
    weights = {"models": {"tiny": less | {"tasks": ["text2img"]}}}
    (tmp_path / "less.yaml").write_text(yaml.safe_dump(weights))
    bundle(Registry(tmp_path / "less.yaml", tmp_path / "models"), ["tiny"], new)
    needs = {"needs": entry("hub:owner/needs") | {"inpaint": "tiny"}}
    side = other_side(tmp_path, there, {})
    unbundle(old, there, registry=side())
    side = other_side(tmp_path, there, needs)
    with pytest.raises(WeightsError, match="needs.inpaint: 'tiny' has no such task"):
        unbundle(new, there, registry=side())
    assert side().installed("tiny") and "inpaint" in side().models["tiny"].tasks


@pytest.fixture
def with_loras(registry: Registry, tmp_path: Path) -> Registry:
    """One that was taken in, for a model, and one that was only put there."""
    (tmp_path / "some.safetensors").write_bytes(tensors(300, 3))
    take_in_lora(tmp_path / "some.safetensors", registry.loras.folder, "odd", bases=["tiny"])
    (registry.loras.folder / "bare.safetensors").write_bytes(tensors(200, 4))
    return registry


def test_loras_go_with_them(with_loras: Registry, tmp_path: Path, there: Path) -> None:
    names = ["odd", "bare"]
    (file,) = bundle(with_loras, ["tiny"], tmp_path / "b.tar", loras=names)
    installed = unbundle(file, there)
    assert set(installed) == {"tiny", "loras/odd", "loras/bare"}
    loras = LoraFiles(there / "loras")
    assert loras.names == sorted(names)
    assert (loras.bases("odd"), loras.bases("bare")) == ({"tiny"}, None)
    for name in names:
        arrived, left = loras.path(name), with_loras.loras.path(name)
        assert arrived and left and arrived.read_bytes() == left.read_bytes()
        assert require_trusted_lora(arrived), "it has a manifest, wherever it came from"
    subprocess.run(["tar", "-xf", file], cwd=there, check=True)
    assert (there / "loras" / "odd.safetensors").exists()


def test_a_lora_that_is_not_what_it_was_is_not_carried(
    with_loras: Registry, tmp_path: Path, there: Path
) -> None:
    (file,) = bundle(with_loras, ["tiny"], tmp_path / "b.tar", loras=["odd"])
    data, weights = bytearray(file.read_bytes()), tensors(300, 3)
    data[data.index(weights) + len(weights) // 2] ^= 4
    file.write_bytes(data)
    with pytest.raises(WeightsError):
        unbundle(file, there)
    assert nothing_in(there)
    (with_loras.loras.folder / "odd.safetensors").write_bytes(tensors(300, 5))
    with pytest.raises(WeightsError, match="is not what its manifest says"):
        bundle(with_loras, ["tiny"], tmp_path / "again.tar", loras=["odd"])
    with pytest.raises(WeightsError, match="there is no LoRA 'even'"):
        bundle(with_loras, ["tiny"], tmp_path / "again.tar", loras=["even"])
    assert not (tmp_path / "again.tar").exists()


WRITER = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": tensors(400, 6),
    "tokenizer.json": b"{}",
}
BESIDE = {"README.md": b"# Writer", "pytorch_model.bin": b"pickled"}


@pytest.fixture
def with_others(registry: Registry, write: Write, tmp_path: Path) -> Registry:
    """A rewriter from the hub with its manifest, and a judge in a folder without one."""
    write_manifest(hub := write(WRITER, "models/rewriter"), make_manifest(hub))
    write(WRITER | BESIDE, "judge")
    judge = {"source": "judge", "labels": {"bad": "hate"}, "thresholds": {"auto": 0.7}}
    more = tmp_path / "more.yaml"
    said = {"rewriter": {"source": "hub:o/writer", "timeout": 7}, "policy": {"prompts": judge}}
    more.write_text(yaml.safe_dump(said))
    return Registry([tmp_path / "weights.yaml", more], tmp_path / "models")


def test_what_is_beside_models_is_carried_as_they_are(
    with_others: Registry, tmp_path: Path, there: Path
) -> None:
    names = ["tiny", "rewriter", "policy-prompts"]
    installed = unbundle(*bundle(with_others, names, tmp_path / "b.tar"), there)
    assert set(installed) == set(names)
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump({"models": {"demo": entry("demo")}, "policy": {"terms": []}}))
    arrived = Registry(other, there)
    for name in names[1:]:
        assert arrived.path(name) == (there / name).resolve() and arrived.installed(name)
        manifest = read_manifest(there / name)
        assert manifest and sorted(manifest.files) == sorted(WRITER)
        assert verify(there / name).intact and is_remembered(there / name, manifest)
        same = {"source": None}
        assert {**arrived.others[name].keys, **same} == {**with_others.others[name].keys, **same}
    assert arrived.rewriter and arrived.rewriter.timeout == 7
    assert arrived.policy.prompts and arrived.policy.prompts.thresholds.auto == 0.7


def test_they_may_be_all_that_is_carried(
    with_others: Registry, with_loras: Registry, tmp_path: Path, there: Path
) -> None:
    unbundle(*bundle(with_others, ["rewriter"], tmp_path / "b.tar"), there)
    unbundle(*bundle(with_loras, [], tmp_path / "c.tar", loras=["odd"]), there)
    assert sorted(it.name for it in there.iterdir()) == ["loras", "rewriter"]
    with pytest.raises(WeightsError, match="nothing to bundle"):
        bundle(with_others, [], tmp_path / "d.tar")
    assert not (tmp_path / "d.tar").exists()


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("rewriter", {"rewriter": {"url": "http://elsewhere/v1", "model": "m"}}),
        ("rewriter", {"rewriter": {"source": "/etc"}}),
        ("rewriter", {"policy": {"mode": "off"}}),
        ("policy-prompts", {"policy": {"mode": "off", "prompts": {"source": "."}}}),
        ("policy-prompts", {"policy": {"prompts": {"source": ".", "labels": {"a": "rude"}}}}),
        ("matting", {"matting": {"source": ".", "more": 1}}),
        ("loras", {"models": {"loras": {"source": "."}}}),
    ],
)
def test_what_the_entries_of_others_may_not_say(
    tmp_path: Path, damaged: Callable[[bytes, str], None], name: str, entry: dict[str, object]
) -> None:
    good = Contents.model_validate_json(describing("config.json", name))
    packed = good.models[name].model_copy(update={"entry": yaml.safe_dump(entry)})
    made = good.model_copy(update={"models": {name: packed}}).model_dump_json().encode()
    file = f"models/{name}/config.json"
    damaged(made_by_hand(tmp_path, made, [member(file)]), str(entry))


def test_code_beside_a_model_of_transformers_is_not_carried(
    with_others: Registry, write: Write, tmp_path: Path, there: Path
) -> None:
    code = {"config.json": b'{"auto_map": {"AutoModel": "its.Model"}}'}
    write_manifest(folder := write(code, "models/rewriter"), make_manifest(folder))
    with pytest.raises(WeightsError, match="asks for code"):
        unbundle(*bundle(with_others, ["rewriter"], tmp_path / "made.tar"), there)
    assert nothing_in(there)
    write(code, "judge")
    with pytest.raises(WeightsError, match="asks for code"):
        bundle(with_others, ["policy-prompts"], tmp_path / "b.tar")
    (tmp_path / "judge" / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="pickled form only"):
        bundle(with_others, ["policy-prompts"], tmp_path / "b.tar")
    assert not (tmp_path / "b.tar").exists()


def test_any_tar_can_list_and_unpack_it(registry: Registry, tmp_path: Path) -> None:
    (file,) = bundle(registry, ["tiny"], tmp_path / "b.tar")
    subprocess.run(["tar", "-xf", file], cwd=tmp_path, check=True)
    weights = tmp_path / "models" / "tiny" / "text_encoder" / "model.safetensors"
    assert weights.read_bytes() == tensors(100, 1)
    with tarfile.open(file) as tar:
        assert tar.getnames()[:2] == [archive.DESCRIPTION, archive.DIGEST]


def test_the_same_models_give_the_same_bytes(registry: Registry, tmp_path: Path) -> None:
    (a,), (b,) = (bundle(registry, ["tiny"], tmp_path / name) for name in ("a.tar", "b.tar"))
    assert a.read_bytes() == b.read_bytes()


def test_parts(registry: Registry, tmp_path: Path, there: Path) -> None:
    parts = bundle(registry, ["tiny"], tmp_path / "b.tar", part_size=6_000)
    assert [part.name for part in parts[:2]] == ["b.tar.000", "b.tar.001"]
    assert {part.stat().st_size for part in parts[:-1]} == {6_000}
    joined = tmp_path / "joined.tar"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    for file in (tmp_path / "b.tar", parts[0], joined):
        unbundle(file, there)
        assert verify(there / "tiny").intact
        shutil.rmtree(there)
    for missing in (parts[1], parts[-1]):
        kept = missing.rename(tmp_path / "kept")
        with pytest.raises(WeightsError, match="missing"):
            unbundle(tmp_path / "b.tar", there)
        assert nothing_in(there)
        kept.rename(missing)


def test_weights_that_are_not_their_manifest_s_are_not_bundled(
    registry: Registry, tmp_path: Path
) -> None:
    file = registry.path("tiny") / "unet" / "config.json"
    for content in (b"{ }", b"[]"):
        file.write_bytes(content)
        with pytest.raises(WeightsError, match="not what its manifest says"):
            bundle(registry, ["tiny"], tmp_path / "b.tar")
        assert not list(tmp_path.glob("*b.tar*"))


def test_pickles_are_not_bundled(registry: Registry, tmp_path: Path) -> None:
    folder = registry.path("mine")
    (folder / "unet" / "more.bin").touch()
    bundle(registry, ["mine"], tmp_path / "without.tar")
    with tarfile.open(tmp_path / "without.tar") as tar:
        assert not [name for name in tar.getnames() if name.endswith(".bin")]
    write_manifest(folder, make_manifest(folder))
    with pytest.raises(WeightsError, match="is pickled"):
        bundle(registry, ["mine"], tmp_path / "b.tar")


def test_nothing_is_written_over(registry: Registry, tmp_path: Path) -> None:
    bundle(registry, ["tiny"], tmp_path / "b.tar", part_size=6_000)
    with pytest.raises(WeightsError, match="b.tar.000 is there already"):
        bundle(registry, ["tiny"], tmp_path / "b.tar")


def test_wheels_ride_along(registry: Registry, tmp_path: Path, there: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "x-1-py3-none-any.whl").write_bytes(b"wheel")
    (file,) = bundle(registry, ["tiny"], tmp_path / "b.tar", wheels=tmp_path / "w")
    unbundle(file, there)
    assert sorted(path.name for path in there.iterdir()) == ["tiny"]
    unbundle(file, there, wheels=tmp_path / "out")
    assert (tmp_path / "out" / "x-1-py3-none-any.whl").read_bytes() == b"wheel"


class Keys:
    """A key pair of minisign's, in files as it writes them."""

    def __init__(self, folder: Path, name: str, password: str | None = None) -> None:
        pair = minisign.KeyPair.generate()
        self.public, self.secret = folder / f"{name}.pub", folder / f"{name}.key"
        self.public.write_bytes(bytes(pair.public_key) + b"\n")
        self.line = pair.public_key.to_base64().decode()
        if password:
            pair.secret_key.encrypt(password, opslimit=1 << 15, memlimit=1 << 24)
        self.secret.write_bytes(bytes(pair.secret_key) + b"\n")


def test_signatures(registry: Registry, tmp_path: Path, there: Path) -> None:
    ours, theirs = Keys(tmp_path, "ours", "secret"), Keys(tmp_path, "theirs")
    sign = signer(ours.secret, lambda: "secret")
    (signed,) = bundle(registry, ["tiny"], tmp_path / "signed.tar", sign=sign)
    (plain,) = bundle(registry, ["tiny"], tmp_path / "plain.tar")
    for trust in (str(ours.public), ours.line, None):
        unbundle(signed, there, trust=trust)
        shutil.rmtree(there / "tiny")
    for file, trust, says in [
        (signed, str(theirs.public), "is not signed with"),
        (plain, str(ours.public), "is not signed"),
        (signed, "nonsense", "not a public key"),
        (signed, str(ours.secret), "not a public key"),
    ]:
        with pytest.raises(WeightsError, match=says):
            unbundle(file, there, trust=trust)
        assert nothing_in(there)


def test_a_key_that_cannot_sign(tmp_path: Path) -> None:
    keys = Keys(tmp_path, "ours", "secret")
    for key, password in [(keys.secret, "wrong"), (keys.public, ""), (tmp_path / "none", "")]:
        with pytest.raises(WeightsError, match="cannot sign with"):
            signer(key, lambda password=password: password)


@pytest.fixture
def damaged(registry: Registry, tmp_path: Path, there: Path) -> Callable[[bytes, str], None]:
    """Try a bundle that is not whole: it is refused, and nothing changes on the other side."""
    (there / "tiny").mkdir(parents=True)
    (there / "tiny" / "model_index.json").write_text("what was there before")

    here = other_side(tmp_path, there, {"tiny": entry("hub:owner/tiny")})()

    def check(data: bytes, what: str) -> None:
        file = tmp_path / "damaged.tar"
        file.write_bytes(data)
        with pytest.raises(WeightsError):
            unbundle(file, there, registry=here)
            pytest.fail(f"{what} was not noticed")
        assert [path.name for path in there.iterdir()] == ["tiny"], what
        before = (there / "tiny" / "model_index.json").read_text()
        assert before == "what was there before", what

    return check


def test_every_flipped_bit_is_caught(
    registry: Registry, tmp_path: Path, damaged: Callable[[bytes, str], None]
) -> None:
    """Random ones, and some in each kind of place: headers, paddings, signature, the end."""
    sign = signer(Keys(tmp_path, "k").secret, lambda: "")
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "x-1-py3-none-any.whl").write_bytes(b"wheel")
    (file,) = bundle(registry, ["tiny"], tmp_path / "b.tar", wheels=tmp_path / "w", sign=sign)
    whole = file.read_bytes()
    chosen = random.Random(6)
    places = [chosen.randrange(8 * len(whole)) for _ in range(FLIPS)]
    with tarfile.open(file) as tar:
        for member in tar:
            places += [
                8 * (member.offset + at) + at % 8 for at in (0, 100, 124, 150, 156, 265, 511)
            ]
            places += [8 * member.offset_data, 8 * (member.offset_data + member.size) - 1]
            places.append(8 * (member.offset_data + -(-member.size // 512) * 512) - 1)
    places += [8 * len(whole) - 1, 8 * (len(whole) - 1024)]
    for place in places:
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        damaged(bytes(data), f"bit {place}")


def test_what_is_cut_short_or_added_to(
    registry: Registry, tmp_path: Path, damaged: Callable[[bytes, str], None]
) -> None:
    (file,) = bundle(registry, ["tiny"], tmp_path / "b.tar")
    whole = file.read_bytes()
    for length in (0, 1, 511, 512, 5_000, len(whole) - 1024, len(whole) - 1):
        damaged(whole[:length], f"the first {length} bytes")
    damaged(whole + b"\0", "one more byte")
    damaged(whole + whole, "a second bundle")
    with tarfile.open(file) as tar:
        last = tar.getmembers()[-1]
    damaged(whole[: last.offset] + archive.END, "a missing file")


def made_by_hand(tmp_path: Path, description: bytes, members: list[tarfile.TarInfo]) -> bytes:
    """A well-formed tar with a true digest, whatever it describes and holds."""
    out = bytearray()
    writer = archive.Writer(out.extend)
    writer.small(archive.DESCRIPTION, description)
    writer.digest()
    for info in members:
        out += info.tobuf(tarfile.GNU_FORMAT) + bytes(-(-info.size // 512) * 512)
    writer.end()
    return bytes(out)


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 8
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size if kind == tarfile.REGTYPE else 0
    return info


ZEROS = "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc"


def describing(path: str, model: str = "m") -> bytes:
    import json

    manifest = {"files": {path: {"size": 8, "sha256": ZEROS}}}
    text = yaml.safe_dump({"models": {model: entry("hub:o/m")}})
    described = {"signed": False, "models": {model: {"manifest": manifest, "entry": text}}}
    return json.dumps(described).encode()


def test_such_a_tar_is_taken_where_nothing_is_wrong_with_it(tmp_path: Path, there: Path) -> None:
    file = tmp_path / "b.tar"
    file.write_bytes(made_by_hand(tmp_path, describing("a.txt"), [member("models/m/a.txt")]))
    unbundle(file, there)
    assert (there / "m" / "a.txt").read_bytes() == bytes(8)


@pytest.mark.parametrize(
    "info",
    [
        member("models/m/../../../escaped"),
        member("/tmp/escaped"),
        member("models/m/a.txt", tarfile.SYMTYPE, "/etc/passwd"),
        member("models/m/a.txt", tarfile.LNKTYPE, "models/m/b.txt"),
        member("models/m/a.txt", tarfile.CHRTYPE),
        member("models/m/a.txt", tarfile.BLKTYPE),
        member("models/m/a.txt", tarfile.FIFOTYPE),
        member("models/m/a.txt", tarfile.DIRTYPE),
        member("models/m/a.txt", tarfile.CONTTYPE),
        member("models/m/a.txt", size=9),
        member("models/m/b.txt"),
    ],
    ids=lambda info: f"{info.name} {info.type!r}",
)
def test_members_that_are_not_what_was_described(
    tmp_path: Path, damaged: Callable[[bytes, str], None], info: tarfile.TarInfo
) -> None:
    damaged(made_by_hand(tmp_path, describing("a.txt"), [info]), info.name)


@pytest.mark.parametrize(
    "path",
    ["../escaped", "/tmp/escaped", "a/../../b", "..", "entry.yaml", ".verified.json", "a\\b"],
)
def test_descriptions_that_lead_elsewhere(
    tmp_path: Path, damaged: Callable[[bytes, str], None], path: str
) -> None:
    made = made_by_hand(tmp_path, describing(path), [member(f"models/m/{path}")])
    damaged(made, path)
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize("model", ["..", "../m", ".hidden", "", "a/b"])
def test_models_that_lead_elsewhere(
    tmp_path: Path, damaged: Callable[[bytes, str], None], model: str
) -> None:
    made = made_by_hand(tmp_path, describing("a.txt", model), [member(f"models/{model}/a.txt")])
    damaged(made, model)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "models: {other: {}}",
        "models: {m: {source: /etc}}",
        "models: {m: {source: hub:o/m}}",
        yaml.safe_dump({"models": {"m": entry("../../elsewhere")}}),
        yaml.safe_dump({"models": {"m": entry("hub:o/m") | {"edit": "unknown"}}}),
        yaml.safe_dump({"models": {"m": entry("hub:o/m")}, "names": {"dall-e-3": ["demo"]}}),
    ],
)
def test_entries_that_cannot_be_used(
    tmp_path: Path, damaged: Callable[[bytes, str], None], text: str
) -> None:
    good = Contents.model_validate_json(describing("a.txt"))
    packed = good.models["m"].model_copy(update={"entry": text})
    made = good.model_copy(update={"models": {"m": packed}}).model_dump_json().encode()
    damaged(made_by_hand(tmp_path, made, [member("models/m/a.txt")]), text)


def test_pickles_and_code_in_a_bundle(
    tmp_path: Path, damaged: Callable[[bytes, str], None]
) -> None:
    for path in ("unet/a.bin", "a.pt", "unet/model.safetensors"):
        damaged(made_by_hand(tmp_path, describing(path), [member(f"models/m/{path}")]), path)


def test_what_is_no_tar_at_all(damaged: Callable[[bytes, str], None]) -> None:
    damaged(random.Random(1).randbytes(10_000), "noise")
    damaged(bytes(10_240), "an empty tar")
    damaged(b"\x1f\x8b\x08" + bytes(1000), "gzip")
