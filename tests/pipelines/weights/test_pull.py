"""Pulling, by the command, from a hub on a real socket: what arrives is complete and right."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from pipelines.weights.manifest import read_manifest
from pipelines.weights.verify import verify
from tests.conftest import entry
from tests.live import DARKROOM
from tests.pipelines.weights.conftest import Repository, tensors
from tests.pipelines.weights.hub_server import REVISION, Hub, running

LARGE = "unet/diffusion_pytorch_model-00001-of-00002.safetensors"
Pull = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hub(repository: Repository) -> Iterator[Hub]:
    with running() as hub:
        hub.files = repository
        yield hub


@pytest.fixture
def pull(hub: Hub, tmp_path: Path) -> Pull:
    """Run the command in a folder with a weights.yaml, under the words of `wrap` if there are."""
    models = {"tiny": entry("hub:owner/tiny"), "gone": entry("hub:owner/gone")}
    models["folder"] = entry("folder")
    content = {"models": models, "matting": "hub:owner/tiny"}
    content["rewriter"] = {"source": "hub:owner/tiny"}
    content["policy"] = dict.fromkeys(("prompts", "images"), content["rewriter"])
    (tmp_path / "weights.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "models").mkdir()
    here = {k: v for k, v in os.environ.items() if not k.startswith(("DARKROOM_", "HF_"))}
    here |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "COLUMNS": "200"}

    def pull(
        *arguments: str, wrap: tuple[str, ...] = (), **settings: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*wrap, DARKROOM, "pull", *arguments], cwd=tmp_path, env=here | settings,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    return pull


def refused(answer: subprocess.CompletedProcess[str], says: str, folder: Path) -> None:
    """One line to the operator, and nothing that could be served."""
    assert answer.returncode == 2, answer.stderr
    lines = [line for line in answer.stderr.splitlines() if line.startswith("darkroom: ")]
    assert len(lines) == 1 and says in lines[0], answer.stderr
    assert "Traceback" not in answer.stderr
    assert not (folder / "models" / "tiny").exists()


def test_only_what_the_pipeline_needs_arrives(
    pull: Pull, tmp_path: Path, needed: list[str], repository: Repository
) -> None:
    answer = pull("tiny")
    assert answer.returncode == 0, answer.stderr
    folder = tmp_path / "models" / "tiny"
    manifest = read_manifest(folder)
    assert manifest is not None
    assert (manifest.repository, manifest.revision) == ("owner/tiny", REVISION)
    assert sorted(manifest.files) == needed
    assert all((folder / path).read_bytes() == repository[path] for path in needed)
    assert verify(folder).intact
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["tiny"]


@pytest.mark.parametrize("name", ["matting", "rewriter", "policy-prompts", "policy-images"])
def test_a_single_model_of_transformers(pull: Pull, hub: Hub, tmp_path: Path, name: str) -> None:
    refused(pull(name), "has no safetensors of transformers", tmp_path)
    del hub.files["model_index.json"]
    hub.files |= {"config.json": b"{}", "model.safetensors": tensors(), "pytorch_model.bin": b"x"}
    assert pull(name).returncode == 0
    manifest = read_manifest(tmp_path / "models" / name)
    assert manifest is not None
    assert sorted(manifest.files) == ["config.json", "model.safetensors"]


def test_what_was_brought_keeps_its_entry(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "models" / "mine").mkdir()
    own = tmp_path / "models" / "mine" / "entry.yaml"
    own.write_text(yaml.safe_dump({"models": {"mine": entry("hub:owner/tiny")}}))
    before = own.read_bytes()
    answer = pull("mine")
    assert answer.returncode == 0, answer.stderr
    assert own.read_bytes() == before and verify(own.parent).intact


def test_what_is_here_is_not_fetched_again(pull: Pull, hub: Hub) -> None:
    pull("tiny")
    hub.ranges.clear()
    assert pull("tiny").returncode == 0
    assert {path for path, _ in hub.ranges} == {"model_index.json"}


def test_a_variant(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    assert pull("tiny", "--variant", "fp16").returncode == 0
    names = {file.name for file in (tmp_path / "models" / "tiny").glob("*/*.safetensors")}
    assert names == {"model.fp16.safetensors", "diffusion_pytorch_model.fp16.safetensors"}


def test_a_connection_that_breaks_is_taken_up_where_it_broke(
    pull: Pull, hub: Hub, tmp_path: Path
) -> None:
    hub.broken[LARGE] = 100_000
    answer = pull("tiny")
    assert answer.returncode == 0, answer.stderr
    assert hub.fetched(LARGE) == ["bytes=0-", "bytes=100000-"]
    assert verify(tmp_path / "models" / "tiny").intact


def test_a_run_that_was_killed_is_gone_on_with_by_the_next(
    pull: Pull, hub: Hub, tmp_path: Path, needed: list[str]
) -> None:
    partial = tmp_path / "models" / ".tiny.partial"
    for path in needed:
        (partial / path).parent.mkdir(parents=True, exist_ok=True)
        (partial / path).write_bytes(hub.files[path])
    (partial / LARGE).write_bytes(hub.files[LARGE][:77_777])
    (partial / "unet" / "of-another-revision.safetensors").write_bytes(b"old")
    assert pull("tiny").returncode == 0
    assert hub.ranges == [(LARGE, "bytes=77777-")]
    assert verify(tmp_path / "models" / "tiny").intact


def test_what_an_earlier_run_left_is_not_trusted(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    partial = tmp_path / "models" / ".tiny.partial"
    (partial / LARGE).parent.mkdir(parents=True)
    (partial / LARGE).write_bytes(b"\0" * 1000)
    assert pull("tiny").returncode == 0
    assert hub.fetched(LARGE) == ["bytes=1000-", "bytes=0-"]
    assert verify(tmp_path / "models" / "tiny").intact


@pytest.mark.parametrize("path", [LARGE, "unet/config.json"])
def test_a_wrong_hash(pull: Pull, hub: Hub, tmp_path: Path, path: str) -> None:
    right = hub.files[path]
    hub.lies[path] = right[:-1] + bytes([right[-1] ^ 1])
    refused(pull("tiny"), f"{path} has another hash than the hub says", tmp_path)
    hub.lies.clear()
    assert pull("tiny").returncode == 0


def test_more_bytes_than_announced(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    hub.lies[LARGE] = hub.files[LARGE] + b"more"
    refused(pull("tiny"), "is larger than the", tmp_path)


def test_a_gated_repository_says_how_to_get_access(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    hub.gated, hub.token = True, "good"
    answer = pull("tiny")
    refused(answer, f"ask for access at {hub.url}/owner/tiny", tmp_path)
    assert "HF_TOKEN" in answer.stderr
    assert pull("tiny", HF_TOKEN="good").returncode == 0


def test_a_token_without_access(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    hub.gated, hub.token = True, "not on the list"
    answer = pull("tiny", HF_TOKEN="not on the list")
    refused(answer, "with the account of the token", tmp_path)


def test_a_wrong_token(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    hub.token = "good"
    refused(pull("tiny", HF_TOKEN="bad"), "refused the token", tmp_path)


def test_no_such_repository(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    refused(pull("gone"), f"there is no {hub.url}/owner/gone", tmp_path)
    hub.token = "good"
    refused(pull("gone", HF_TOKEN="good"), f"there is no {hub.url}/owner/gone", tmp_path)


def test_no_such_revision(pull: Pull, tmp_path: Path) -> None:
    refused(pull("tiny", "--revision", "v9"), "has no such revision", tmp_path)


def test_a_busy_hub_is_waited_for(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    hub.busy = 2
    answer = pull("tiny")
    assert answer.returncode == 0, answer.stderr
    assert hub.seen["/api/models/owner/tiny"] == 3


def test_the_hub_is_told_nothing_and_asked_for_nothing_else(pull: Pull, hub: Hub) -> None:
    assert pull("tiny").returncode == 0
    assert all("owner/tiny" in path for path in hub.seen), hub.seen


def test_a_hub_that_asks_for_hours_is_not_waited_for(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    hub.busy, hub.retry_after = 1, "86400"
    refused(pull("tiny"), "come back in 86400 s", tmp_path)


def test_a_busy_hub_is_not_waited_for_without_end(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    hub.busy, hub.retry_after = 10**9, "0"
    refused(pull("tiny"), "429", tmp_path)


def small_disk(size: str) -> tuple[str, ...]:
    """Words before a command that make `models` a disk of that size, for it alone."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this kernel permits no mounts in a namespace of one's own")
    script = f'mount -t tmpfs -o size={size} none models && exec "$@"'
    return ("unshare", "-rm", "sh", "-c", script, "sh")


def test_a_full_disk_is_seen_before(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    refused(pull("tiny", wrap=small_disk("200k")), "is too full", tmp_path)
    assert {path for path, _ in hub.ranges} == {"model_index.json"}


def test_a_disk_that_fills_up_meanwhile(pull: Pull, tmp_path: Path) -> None:
    """Files take whole blocks: what would just fit by their sizes does not."""
    refused(pull("tiny", wrap=small_disk("500k")), "No space left on device", tmp_path)


def test_a_repository_without_a_pipeline(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    del hub.files["model_index.json"]
    refused(pull("tiny"), "darkroom import", tmp_path)


def test_pickled_weights(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    del hub.files["text_encoder/model.safetensors"]
    del hub.files["text_encoder/model.fp16.safetensors"]
    refused(pull("tiny"), "text_encoder are there in pickled form only", tmp_path)


def test_weights_that_are_not_what_their_name_says(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    hub.files["text_encoder/model.safetensors"] = b"\x80\x04pickled"
    refused(pull("tiny"), "is not a safetensors file", tmp_path)


def test_code_beside_the_weights(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    hub.files["unet/config.json"] = b'{"auto_map": {"AutoModel": "evil.Model"}}'
    refused(pull("tiny"), "asks for code", tmp_path)


def test_paths_that_lead_elsewhere(pull: Pull, hub: Hub, tmp_path: Path) -> None:
    hub.files["model_index.json"] = b'{"_class_name": "P", "..": ["diffusers", "X"]}'
    hub.files["../escaped.json"] = b"{}"
    refused(pull("tiny"), "is not a plain path", tmp_path)
    assert not list(tmp_path.rglob("escaped.json"))


def test_offline_is_offline(pull: Pull, tmp_path: Path) -> None:
    refused(pull("tiny", HF_HUB_OFFLINE="1"), "HF_HUB_OFFLINE", tmp_path)


def test_two_at_once(pull: Pull, tmp_path: Path) -> None:
    import fcntl

    partial = tmp_path / "models" / ".tiny.partial"
    partial.mkdir(parents=True)
    handle = os.open(partial, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    refused(pull("tiny"), "another darkroom", tmp_path)
    os.close(handle)


def test_an_unknown_name_and_one_that_is_no_hub_s(pull: Pull, tmp_path: Path) -> None:
    refused(pull("typo"), "there is no model 'typo'", tmp_path)
    refused(pull("folder"), "folder is not from the hub", tmp_path)


def test_a_new_revision_takes_the_place_of_the_old_one(
    pull: Pull, hub: Hub, tmp_path: Path
) -> None:
    pull("tiny")
    manifest = tmp_path / "models" / "tiny" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(REVISION, "f" * 40))
    hub.files[LARGE] = tensors(300_000, 9)
    assert pull("tiny").returncode == 0
    assert verify(tmp_path / "models" / "tiny").intact
    assert (tmp_path / "models" / "tiny" / LARGE).read_bytes() == hub.files[LARGE]
