"""How a model gets to its place: gathered in a hidden folder, moved in one rename when complete.

Hidden names begin with a dot, which no model's id can: so what is not finished is never served.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from pipelines.weights.manifest import Manifest, WeightsError, write_manifest
from pipelines.weights.verify import remember

_ASIDE, _DOOMED = ".aside", ".gone"
"""How the hidden names end of what may have to come back, and of what may not."""


@contextmanager
def staging(models_dir: Path, name: str) -> Iterator[Path]:
    """A hidden folder `.NAME.partial`, for one process at a time; it stays, to be gone on with."""
    folder = models_dir / f".{name}.partial"
    handle = _hold(folder)
    try:
        yield folder
    finally:
        os.close(handle)


def clear(folder: Path) -> None:
    """Empty a folder."""
    for each in list(folder.iterdir()):
        shutil.rmtree(each) if each.is_dir() else each.unlink()


def bring(source: Path, paths: list[str], partial: Path, link: bool) -> None:
    """Copy, or hard-link, files of a folder into a gathered one. Raises WeightsError."""
    try:
        if not link:
            require_room(partial, sum((source / path).stat().st_size for path in paths))
        for path in paths:
            (partial / path).parent.mkdir(parents=True, exist_ok=True)
            if link:
                os.link((source / path).resolve(), partial / path)
            else:
                shutil.copyfile(source / path, partial / path)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise WeightsError(f"{source} is on another disk: it must be copied") from error
        raise WeightsError(f"{source} cannot be taken in: {error.strerror}") from error


def finish(partial: Path, manifest: Manifest) -> None:
    """Give a gathered folder its manifest; every file has just been read, and is right."""
    write_manifest(partial, manifest)
    remember(partial, manifest)


def install(partial: Path, target: Path) -> None:
    """Move a finished folder to its place; what was there before goes away after it."""
    _sync(partial)
    with _moving(target.parent):
        if _is_there(target):
            target.rename(target.with_name(f".{target.name}{_ASIDE}"))
        partial.rename(target)
        _sync(target.parent)


def settle(models_dir: Path) -> None:
    """Clear up after a process that was killed: what it had moved aside comes back, unless
    something else has its place by now; what it was to delete goes."""
    if models_dir.is_dir():
        with suppress(OSError), _moving(models_dir):  # where nothing can be written, nothing was
            pass


def require_removable(models_dir: Path, name: str) -> None:
    """Raise WeightsError unless a model is installed, or an unfinished one left something."""
    if not any((models_dir / it).is_dir() for it in (name, f".{name}.partial")):
        raise WeightsError(f"there is no {models_dir / name}")


def remove(models_dir: Path, name: str) -> int:
    """Delete an installed model, and what an unfinished one left; the bytes that were freed."""
    require_removable(models_dir, name)
    target = models_dir / name
    with staging(models_dir, name) as partial:
        freed = size_of(partial)
        with _moving(models_dir):
            if target.is_dir():
                freed += size_of(target)
                target.rename(_doomed(target))
        _delete(partial)
    return freed


def size_of(place: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 if there is none."""
    files = place.rglob("*") if place.is_dir() else [place]
    return sum(file.stat().st_size for file in files if file.is_file())


def require_room(folder: Path, size: int) -> None:
    """Raise WeightsError if the disk of a folder has not so many bytes free."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise WeightsError(
            f"the disk of {folder} is too full: {size / 1e9:.1f} GB are needed, "
            f"{free / 1e9:.1f} GB are free"
        )


@contextmanager
def _moving(models_dir: Path) -> Iterator[None]:
    """The folders of models for one process alone, before and after which they are settled.

    What is to go is deleted when others may go on: that can take long.
    """
    handle = os.open(models_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        _settle(models_dir)
        try:
            yield
        finally:
            _settle(models_dir)
    finally:
        os.close(handle)
    for doomed in models_dir.glob(f".*{_DOOMED}"):
        _delete(doomed)


def _settle(models_dir: Path) -> None:
    for before in models_dir.glob(f".*{_ASIDE}"):
        target = before.with_name(before.name[1 : -len(_ASIDE)])
        before.rename(_doomed(target) if _is_there(target) else target)


def _doomed(target: Path) -> Path:
    """Where a model goes to be deleted, which others that go there may still be."""
    return target.with_name(f".{target.name}.{token_hex(4)}{_DOOMED}")


def _is_there(place: Path) -> bool:
    return place.exists() or place.is_symlink()


def _delete(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink(missing_ok=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _hold(folder: Path) -> int:
    """A handle that has the lock of a folder, which need not be there yet; WeightsError where
    another process has that, or has just moved or deleted the folder."""
    if folder.is_file():
        raise WeightsError(f"{folder} is in the way")
    with ExitStack() as undo, suppress(BlockingIOError, FileNotFoundError, FileExistsError):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        undo.callback(os.close, handle)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), folder.stat()):
            undo.pop_all()
            return handle
    raise WeightsError(f"another darkroom is writing to {folder}")


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
