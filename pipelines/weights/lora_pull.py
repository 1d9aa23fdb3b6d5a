"""A LoRA from the hub to the folder of LoRAs: one file of a repository, whole or not at all."""

import re
import shutil
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pipelines.weights.hub import Remote, RemoteFile, fetch, look, right
from pipelines.weights.lora_manifests import install_lora, require_lora_name, staging_name
from pipelines.weights.manifest import Begin, Manifest, Record, WeightsError, silently
from pipelines.weights.safety import require_safetensors
from pipelines.weights.staging import require_room, size_of, staging

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
    with staging(folder, staging_name(source.name)) as partial:
        target = file = folder / f"{source.name}{_SUFFIX}"
        record = _installed(file, remote.files[path])
        if record is None:
            file, size = partial / file.name, remote.files[path].size
            require_room(partial, size - size_of(file))
            record = fetch(remote, path, file, begin(source.name, size), threading.Event())
        require_safetensors(file)
        manifest = Manifest(
            files={file.name: record}, repository=source.repository, revision=remote.revision
        )
        install_lora(file, target, manifest, bases)
        shutil.rmtree(partial)
    return manifest


def _installed(file: Path, remote: RemoteFile) -> Record | None:
    """What is in a LoRA's place, if it is the very file of the hub."""
    same_size = file.is_file() and file.stat().st_size == remote.size
    return right(file, remote) if same_size else None


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
