"""A LoRA from the hub to the folder of LoRAs: one file of a repository, whole or not at all."""

import re
import shutil
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pipelines.weights.hub import Remote, fetch, look
from pipelines.weights.lora_manifests import install_lora, require_lora_name
from pipelines.weights.manifest import Begin, Manifest, WeightsError, silently
from pipelines.weights.safety import require_safetensors
from pipelines.weights.staging import require_room, staging

_SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True)
class LoraSource:
    """What a LoRA shall be called, and where it comes from."""

    name: str
    repository: str
    """`owner/name` on the hub."""
    path: str | None = None
    """Its file there, where that has several."""


def lora_source(text: str) -> LoraSource:
    """What `NAME=OWNER/REPOSITORY` or `NAME=OWNER/REPOSITORY/FILE` says; raises WeightsError."""
    match = re.fullmatch(r"([^=]*)=(?:hub:)?([^/]+/[^/]+)(?:/(.+))?", text)
    if match is None:
        raise WeightsError(f"'{text}' is not NAME=OWNER/REPOSITORY, or with /FILE behind it")
    require_lora_name(match[1])
    return LoraSource(match[1], match[2], match[3])


def pull_lora(
    source: LoraSource,
    folder: Path,
    begin: Begin = silently,
    *,
    revision: str | None = None,
    bases: Collection[str] = (),
) -> Manifest:
    """Fetch a LoRA, going on with what is there of it; its manifest. Raises WeightsError.

    `bases`: the models that it was made for, where that shall be held.
    """
    remote = look(source.repository, revision)
    path = _path(remote, source.path)
    with staging(folder, source.name) as partial:
        staged, size = partial / f"{source.name}{_SUFFIX}", remote.files[path].size
        before = folder / staged.name
        if before.is_file() and before.stat().st_size == size and not staged.exists():
            shutil.copyfile(before, staged)  # if it is the same one, nothing is left to fetch
        require_room(partial, size)
        record = fetch(remote, path, staged, begin(source.name, size), threading.Event())
        require_safetensors(staged)
        manifest = Manifest(
            files={staged.name: record}, repository=source.repository, revision=remote.revision
        )
        install_lora(staged, folder, manifest, bases)
        shutil.rmtree(partial)
    return manifest


def _path(remote: Remote, wanted: str | None) -> str:
    """Which file of a repository: the one that is wanted, or the only one that it can be."""
    there = sorted(path for path in remote.files if path.endswith(_SUFFIX))
    if wanted is None and len(there) == 1:
        return there[0]
    if wanted in there:
        return wanted
    has = f"has no {wanted}" if wanted and there else f"has {len(there)} {_SUFFIX} files"
    which = f"; name one, as {remote.repository}/FILE, of {', '.join(there)}" if there else ""
    raise WeightsError(f"{remote.repository} {has}{which}")
