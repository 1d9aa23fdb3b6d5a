"""The `darkroom` command: flags and environment in, a running server or a table out.

The only reader of the environment. Heavy imports wait until a command needs them: `--help` is
instant.
"""

import os
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.registry import Registry
from pipelines.wording import ChatRewriter
from server.commands import bundle_commands, commands, keys_commands, plan_command, usage_command
from server.commands.options import (
    ACCESS,
    DEFAULT_WEIGHTS,
    DEFAULTS,
    LIMITS,
    SERVING,
    DataDir,
    Memory,
    ModelsDir,
    Weights,
    flag,
    one_line_errors,
    registry_of,
)
from server.config import Config, ConfigError
from server.hosts import origin_of

_DEFAULT_DEVICES = ",".join(DEFAULTS.devices)

app = typer.Typer(
    help="Your own Images API, on your own GPU.",
    epilog="Settings can also be given in the environment, --max-queue as DARKROOM_MAX_QUEUE: the "
    "help of a command names them. The flag wins.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


Host = Annotated[
    str,
    flag("host", ACCESS, "The address to listen on. 0.0.0.0 lets others in.", "ADDRESS"),
]
Port = Annotated[int, flag("port", ACCESS, "The port to listen on; 0 takes a free one.", "PORT")]
ApiKeys = Annotated[
    Path | None,
    flag(
        "api-keys", ACCESS, "Keys beside those of `darkroom keys`: KEY or NAME:KEY a line.", "FILE"
    ),
]
NoAuth = Annotated[bool, flag("no-auth", ACCESS, "Let others in although there are no keys.")]
PublicUrl = Annotated[
    str | None,
    flag("public-url", ACCESS, "How clients reach this server, for links to images.", "URL"),
]
CorsOrigins = Annotated[
    str,
    flag(
        "cors-origins",
        ACCESS,
        "Origins whose web pages may use this server, such as https://app.example.org; "
        "* with keys: any.",
        "LIST",
    ),
]
TrustedProxies = Annotated[
    str,
    flag(
        "trusted-proxies",
        ACCESS,
        "Addresses or networks of proxies whose Forwarded and X-Forwarded-* headers count.",
        "LIST",
    ),
]
KeepAlive = Annotated[
    int,
    flag("keep-alive", ACCESS, "Keep idle connections open for so long.", "SECONDS"),
]
AllowImageUrls = Annotated[
    bool,
    flag("allow-image-urls", ACCESS, "Fetch the pictures of edits from public URLs."),
]
Strict = Annotated[
    bool,
    flag(
        "strict",
        SERVING,
        "Refuse all that OpenAI's API refuses, darkroom's own parameters included.",
    ),
]
Policy = Annotated[
    str | None,
    flag(
        "policy",
        SERVING,
        "The content policy, whatever weights.yaml says.",
        "off|on|strict",
    ),
]
KeepPrompts = Annotated[
    bool,
    flag("keep-prompts", LIMITS, "Keep the prompts of answered images in the ledger, too."),
]
Devices = Annotated[
    str,
    flag(
        "devices",
        LIMITS,
        "auto: every GPU, or else the CPU. Or a list, such as cuda:0,cuda:1.",
        "LIST",
    ),
]
HostMemory = Annotated[
    float,
    flag(
        "host-memory",
        LIMITS,
        "The share of the host's memory in which GPUs keep models that they have given up.",
        "SHARE",
    ),
]
MaxQueue = Annotated[
    int,
    flag(
        "max-queue",
        LIMITS,
        "How many images may wait or run; what goes beyond is answered 429.",
        "IMAGES",
    ),
]
MaxWait = Annotated[
    float,
    flag(
        "max-wait",
        LIMITS,
        "What would be finished later than so, by prediction, is answered 429.",
        "SECONDS",
    ),
]


@app.command()
def serve(
    weights: Weights = DEFAULT_WEIGHTS,
    models_dir: ModelsDir = DEFAULTS.models_dir,
    strict: Strict = DEFAULTS.strict,
    policy: Policy = DEFAULTS.policy,
    keep_prompts: KeepPrompts = DEFAULTS.keep_prompts,
    host: Host = DEFAULTS.host,
    port: Port = DEFAULTS.port,
    api_keys: ApiKeys = DEFAULTS.api_keys,
    no_auth: NoAuth = DEFAULTS.no_auth,
    public_url: PublicUrl = DEFAULTS.public_url,
    cors_origins: CorsOrigins = "",
    trusted_proxies: TrustedProxies = "",
    keep_alive: KeepAlive = DEFAULTS.keep_alive_s,
    allow_image_urls: AllowImageUrls = DEFAULTS.allow_image_urls,
    data_dir: DataDir = DEFAULTS.data_dir,
    devices: Devices = _DEFAULT_DEVICES,
    memory: Memory = DEFAULTS.memory,
    host_memory: HostMemory = DEFAULTS.host_memory,
    max_queue: MaxQueue = DEFAULTS.max_queue,
    max_wait: MaxWait = DEFAULTS.max_wait_s,
) -> None:
    """Serve the Images API, to this machine alone unless told otherwise."""
    with one_line_errors():
        config = Config(
            weights=tuple(weights),
            models_dir=models_dir,
            data_dir=data_dir,
            strict=strict,
            policy=policy,  # type: ignore[arg-type]
            keep_prompts=keep_prompts,
            host=host,
            port=port,
            devices=tuple(device.strip() for device in devices.split(",")),
            memory=memory,
            host_memory=host_memory,
            api_keys=api_keys,
            no_auth=no_auth,
            public_url=public_url.rstrip("/") if public_url else None,
            cors_origins=tuple(origin_of(it) or it for it in _items(cors_origins)),
            trusted_proxies=_items(trusted_proxies),
            keep_alive_s=keep_alive,
            allow_image_urls=allow_image_urls,
            max_queue=max_queue,
            max_wait_s=max_wait,
        )
        _serve(config)


def _serve(config: Config) -> None:
    registry = registry_of(config.weights, config.models_dir)
    config = replace(config, rewriter_key=_rewriter_key(registry))
    from server.commands.serve import run
    from server.fleet.fleet import Fleet

    run(config, registry, Fleet(config, registry))


@app.command()
def models(weights: Weights = DEFAULT_WEIGHTS, models_dir: ModelsDir = DEFAULTS.models_dir) -> None:
    """Show what is defined and what of it is installed, and which model serves each API name."""
    from server.commands import tables

    with one_line_errors():
        registry = registry_of(weights, models_dir)
        loras = tables.loras_table(registry), tables.skipped_table(registry)
        shown = [tables.models_table(registry), *(it for it in loras if it.row_count)]
    Console().print(*shown, tables.names_table(registry))


app.add_typer(commands.app)
app.add_typer(bundle_commands.app)
app.add_typer(keys_commands.app, name="keys")
app.add_typer(plan_command.app)
app.add_typer(usage_command.app)


def _items(text: str) -> tuple[str, ...]:
    """Split a list at commas; none for an empty text."""
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _rewriter_key(registry: Registry) -> str | None:
    """What the rewriter's endpoint wants to see; raises ConfigError if it is not there."""
    rewriter = registry.rewriter
    name = rewriter.api_key_env if isinstance(rewriter, ChatRewriter) else None
    if name is not None and not os.environ.get(name):
        raise ConfigError(f"the rewriter wants a key, and the environment has no {name}")
    return os.environ[name] if name else None


def _print_version(wanted: bool) -> None:
    if wanted:
        try:
            print(f"darkroom {version('darkroom')}")
        except PackageNotFoundError:
            print("darkroom, from a folder that is not installed")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Your own Images API, on your own GPU."""
