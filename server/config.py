"""The settings of one server: a single frozen object, with every default in one place.

Knows what is allowed, not where it came from: flags and the environment are read by `cli` alone.
"""

import re
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from pipelines.content import MODES, Mode
from server.hosts import origin_of

KEEP_ALIVE_S = 75
"""Longer than the idle time of common balancers (60 s), so that they close a connection first."""


class ConfigError(ValueError):
    """The settings cannot be served with; the message is one line for the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What `darkroom serve` was told."""

    weights: tuple[Path, ...] = (Path("weights.yaml"),)
    """The models that may be served; later files add to earlier ones."""
    models_dir: Path = Path("models")
    """Where the weights of `hub:` entries lie."""
    data_dir: Path = Path("data")
    """What the server writes: results, the key that signs their links, keys, the ledger."""
    host: str = "127.0.0.1"
    port: int = 8000
    devices: tuple[str, ...] = ("auto",)
    """`("auto",)`, or a worker process for each of `cpu`, `cuda:0`, …"""
    memory: float = 0.9
    """The share of each device's memory that models may take; of the host's, for CPU workers."""
    host_memory: float = 0.25
    """The share of the host's memory in which GPUs keep models that they have given up."""
    api_keys: Path | None = None
    """A file of bearer keys, beside those in the data folder; without any, all may ask."""
    no_auth: bool = False
    """Serve an address that others can reach although there are no keys."""
    public_url: str | None = None
    """How clients reach this server, where that is not the Host they send."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose web pages may use this server from a browser; `*`: any, if keys are needed."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks of proxies whose `Forwarded` and `X-Forwarded-*` headers count."""
    keep_alive_s: int = KEEP_ALIVE_S
    """How long an idle connection is kept open, in seconds."""
    allow_image_urls: bool = False
    """Fetch the pictures of edits from the public URLs that clients name."""
    strict: bool = False
    """Refuse what the original refuses, extensions included, for the names that it has."""
    keep_prompts: bool = False
    """Put prompts into the ledger, too."""
    rewriter_key: str | None = field(default=None, repr=False)
    """What the rewriter's endpoint wants to see, where weights.yaml names one with a key."""
    policy: Mode | None = None
    """How the content policy is applied; None: as weights.yaml says."""
    max_queue: int = 64
    """How many images may wait or run at once."""
    max_wait_s: float = 600.0
    """What is not expected to be finished in so many seconds, for what is ahead, is put off."""

    def __post_init__(self) -> None:
        _check_address(self.host, self.port)
        _check_devices(self.devices)
        _check_public_url(self.public_url)
        _check_origins(self.cors_origins)
        _check_proxies(self.trusted_proxies)
        if self.keep_alive_s < 1:
            raise ConfigError(f"--keep-alive must be at least 1 second, not {self.keep_alive_s}")
        if not 0 < self.memory <= 1:
            raise ConfigError(f"--memory must be above 0 and at most 1, not {self.memory:g}")
        if not 0 <= self.host_memory <= 1:
            raise ConfigError(f"--host-memory must be from 0 to 1, not {self.host_memory:g}")
        if self.max_queue < 1:
            raise ConfigError(f"--max-queue must be at least 1, not {self.max_queue}")
        if not self.max_wait_s > 0:
            raise ConfigError(f"--max-wait must be above 0, not {self.max_wait_s:g}")
        if self.policy is not None and self.policy not in MODES:
            raise ConfigError(f"--policy must be {', '.join(MODES)}, not {self.policy}")
        if self.api_keys and self.no_auth:
            raise ConfigError("--api-keys and --no-auth contradict each other: give one of them")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host == "localhost" or _is_loopback(self.host)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _check_address(host: str, port: int) -> None:
    if not host:
        raise ConfigError("--host must name an address, for example 127.0.0.1 or 0.0.0.0")
    if not 0 <= port <= 65535:
        raise ConfigError(f"--port must be between 0 and 65535, not {port}")


def _check_devices(devices: tuple[str, ...]) -> None:
    if devices == ("auto",):
        return
    if not devices:
        raise ConfigError("--devices must name at least one device")
    for device in devices:
        if not re.fullmatch(r"cpu|cuda:\d+", device):
            raise ConfigError(f"--devices: '{device}' is not auto, cpu or cuda:N")


def _check_public_url(url: str | None) -> None:
    if url is None:
        return
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of brackets, or of a port
        usable = False
    if not usable or parts.query or parts.fragment:
        raise ConfigError(f"--public-url must look like https://images.example.org, not '{url}'")


def _check_origins(origins: tuple[str, ...]) -> None:
    for origin in origins:
        if origin not in ("*", "null") and origin_of(origin) != origin:
            meant = origin_of(origin) or "https://app.example.org"
            raise ConfigError(
                f"--cors-origins: '{origin}' is no origin; write it as browsers send it: {meant}"
            )


def _check_proxies(proxies: tuple[str, ...]) -> None:
    for proxy in proxies:
        try:
            ip_network(proxy, strict=False)
        except ValueError:
            raise ConfigError(
                f"--trusted-proxies: '{proxy}' is no address or network, such as 127.0.0.1 or "
                "10.0.0.0/8"
            ) from None
