"""How prompts are worded for the models, as weights.yaml says: the rewriter, and templates.

Knows what may be said of them; not what a prompt is rewritten to, nor when.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, model_validator

from pipelines.definitions import (
    Definition,
    RegistryError,
    Source,
    Strict,
    complaints,
    resolve_path,
)

REWRITER = "rewriter"
"""The key of weights.yaml, and the folder for what it takes from the hub."""

HUB = "hub:"
TIMEOUT_S = 20.0

Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
"""Of prompts, by its ISO 639 code."""

Template = Annotated[str, Field(pattern=r"^[^{}]*\{prompt\}[^{}]*$")]


class Templates(Strict):
    """What a prompt becomes for a style or a quality, in one language."""

    vivid: Template = "{prompt}"
    natural: Template = "{prompt}"
    hd: Template = "{prompt}"


class _Said(Strict):
    source: Source | None = None
    device: Annotated[str, Field(pattern=r"^(cpu|cuda:\d+)$")] | None = None
    url: str | None = None
    model: Annotated[str, Field(min_length=1)] | None = None
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    timeout: float = Field(default=TIMEOUT_S, gt=0, le=120)

    @model_validator(mode="after")
    def _one_of_two(self) -> "_Said":
        if (self.source is None) == (self.url is None):
            raise ValueError("must have either a source or a url")
        if self.url is None and (self.model or self.api_key_env):
            raise ValueError("model and api_key_env are of a url, not of a source")
        if self.url is not None and self.device:
            raise ValueError("device is of a source, not of a url")
        if self.url is not None and self.model is None:
            raise ValueError("the model that the url is asked for is missing")
        if self.url is not None and not _is_endpoint(self.url):
            raise ValueError("url must look like http://host:port/v1")
        return self


@dataclass(frozen=True, slots=True)
class LocalRewriter:
    """A causal language model on one of this machine's devices."""

    source: str
    folder: Path
    """Where it is, or would be."""
    device: str | None
    """None: the first one."""
    timeout: float
    """Seconds."""

    @property
    def installed(self) -> bool:
        """Whether there is one in its folder."""
        return (self.folder / "config.json").is_file()


@dataclass(frozen=True, slots=True)
class ChatRewriter:
    """A chat endpoint of this network, as OpenAI's; nothing else is ever reached."""

    url: str
    """What `/chat/completions` is put behind."""
    model: str
    api_key_env: str | None
    """The variable of the environment that has the key."""
    timeout: float
    """Seconds."""


Rewriter = LocalRewriter | ChatRewriter


def rewriter_of(definition: Definition | None, models_dir: Path) -> Rewriter | None:
    """The rewriter that a file defines, its folder beside that file; raises RegistryError."""
    if definition is None:
        return None
    try:
        said = _Said.model_validate(definition.keys)
    except ValidationError as error:
        raise RegistryError("\n".join(complaints(definition.file, error, REWRITER))) from None
    if said.source is not None:
        folder = _folder(said.source, definition.file, models_dir)
        return LocalRewriter(said.source, folder, said.device, said.timeout)
    assert said.url is not None and said.model is not None
    return ChatRewriter(said.url.rstrip("/"), said.model, said.api_key_env, said.timeout)


def _folder(source: str, file: Path, models_dir: Path) -> Path:
    if source.startswith(HUB):
        return models_dir / REWRITER
    return resolve_path(file, source)


def _is_endpoint(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    beyond = parts.query or parts.fragment or parts.username or parts.password
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not beyond
