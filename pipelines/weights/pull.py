"""A model from the hub to its folder: only what its pipeline needs, complete or not at all."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from pipelines.definitions import ENTRY
from pipelines.weights.hub import Remote, fetch, look
from pipelines.weights.layout import INDEX, needed, needed_of_one
from pipelines.weights.manifest import (
    Advance,
    Begin,
    Manifest,
    Record,
    WeightsError,
    ignore,
    read_manifest,
    require_plain,
    silently,
)
from pipelines.weights.safety import require_harmless, require_unpickled
from pipelines.weights.staging import finish, install, require_room, staging

_AT_ONCE = 4


def pull(
    models_dir: Path,
    name: str,
    repository: str,
    begin: Begin = silently,
    *,
    revision: str | None = None,
    variant: str | None = None,
    is_pipeline: bool = True,
) -> Manifest:
    """Fetch a model, going on with what an earlier run left; its manifest. Raises WeightsError.

    `variant`, for example fp16, is taken of the components that have it. What is no pipeline is a
    single model of transformers.
    """
    with staging(models_dir, name) as partial:
        remote = look(repository, revision)
        paths = _pipeline(remote, partial, variant) if is_pipeline else _single(remote, variant)
        for path in paths:
            require_plain(path)
        there = read_manifest(models_dir / name)
        if there and (there.revision, set(there.files)) == (remote.revision, set(paths)):
            shutil.rmtree(partial)
            return there
        _drop_all_but(paths, partial)
        sizes = {path: remote.files[path].size for path in paths}
        require_room(partial, sum(sizes.values()) - _bytes_in(partial, paths))
        records = _fetch_all(remote, paths, partial, begin(name, sum(sizes.values())))
        require_harmless(partial)
        require_unpickled(partial, paths)
        manifest = Manifest(files=records, repository=repository, revision=remote.revision)
        if (entry := models_dir / name / ENTRY).is_file():
            shutil.copyfile(entry, partial / ENTRY)
        finish(partial, manifest)
        install(partial, models_dir / name)
        return manifest


def _pipeline(remote: Remote, partial: Path, variant: str | None) -> list[str]:
    if INDEX not in remote.files:
        raise WeightsError(
            f"{remote.repository} has no {INDEX}: it holds no diffusers pipeline. A single file "
            "can be fetched by hand, and taken in with `darkroom import`"
        )
    fetch(remote, INDEX, partial / INDEX, ignore, threading.Event())
    try:
        index = json.loads((partial / INDEX).read_bytes())
        paths = needed(remote.files, index, variant)
    except (ValueError, AttributeError) as error:
        raise WeightsError(f"{remote.repository}: {error}") from error
    return paths


def _single(remote: Remote, variant: str | None) -> list[str]:
    paths = needed_of_one(remote.files, variant)
    if not any(path.endswith(".safetensors") for path in paths):
        raise WeightsError(f"{remote.repository} has no safetensors of transformers at its root")
    return paths


def _fetch_all(
    remote: Remote, paths: list[str], partial: Path, advance: Advance
) -> dict[str, Record]:
    stop = threading.Event()
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="fetch") as pool:
        fetching = {
            pool.submit(fetch, remote, path, partial / path, advance, stop): path for path in paths
        }
        try:
            return dict(sorted((fetching[done], done.result()) for done in as_completed(fetching)))
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _drop_all_but(paths: list[str], partial: Path) -> None:
    """What an earlier run fetched of another revision or variant."""
    for file in list(partial.rglob("*")):
        if file.is_file() and file.relative_to(partial).as_posix() not in paths:
            file.unlink()


def _bytes_in(partial: Path, paths: list[str]) -> int:
    files = (partial / path for path in paths)
    return sum(file.stat().st_size for file in files if file.is_file())
