"""The `darkroom` command: flags and environment in, a running server or a table out.

The only reader of the environment. Heavy imports wait until a command needs them: `--help` is
instant.
"""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.registry import Registry
from server import commands, keys_commands, plan_command, usage_command
from server.config import Config
from server.options import (
    ACCESS,
    DEFAULT_WEIGHTS,
    LIMITS,
    SERVING,
    DataDir,
    Memory,
    ModelsDir,
    Weights,
    flag,
    one_line_errors,
)

_DEFAULTS = Config()
_DEFAULT_DEVICES = ",".join(_DEFAULTS.devices)

app = typer.Typer(
    help="Your own Images API, on your own GPU.",
    epilog="Every flag can also be set in the environment: --max-queue as DARKROOM_MAX_QUEUE. "
    "The flag wins.",
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
    flag("api-keys", ACCESS, "Ask for a bearer key: a KEY or NAME:KEY a line.", "FILE"),
]
NoAuth = Annotated[bool, flag("no-auth", ACCESS, "Let others in although there are no keys.")]
PublicUrl = Annotated[
    str | None,
    flag("public-url", ACCESS, "How clients reach this server, for links to images.", "URL"),
]
AllowImageUrls = Annotated[
    bool,
    flag("allow-image-urls", ACCESS, "Fetch the pictures of edits from public URLs."),
]
Strict = Annotated[
    bool,
    flag("strict", SERVING, "Refuse all that the original refuses, extensions included."),
]
KeepPrompts = Annotated[
    bool,
    flag("keep-prompts", LIMITS, "Put the prompts of answered images into the ledger, too."),
]
Devices = Annotated[
    str,
    flag("devices", LIMITS, "auto: every GPU, else the CPU. Or: cuda:0,cuda:1", "LIST"),
]
MaxQueue = Annotated[
    int,
    flag("max-queue", LIMITS, "How many images may wait or run; more are put off.", "IMAGES"),
]
MaxWait = Annotated[
    float,
    flag("max-wait", LIMITS, "What would be finished later than so is put off.", "SECONDS"),
]


@app.command()
def serve(
    weights: Weights = DEFAULT_WEIGHTS,
    models_dir: ModelsDir = _DEFAULTS.models_dir,
    strict: Strict = _DEFAULTS.strict,
    keep_prompts: KeepPrompts = _DEFAULTS.keep_prompts,
    host: Host = _DEFAULTS.host,
    port: Port = _DEFAULTS.port,
    api_keys: ApiKeys = _DEFAULTS.api_keys,
    no_auth: NoAuth = _DEFAULTS.no_auth,
    public_url: PublicUrl = _DEFAULTS.public_url,
    allow_image_urls: AllowImageUrls = _DEFAULTS.allow_image_urls,
    data_dir: DataDir = _DEFAULTS.data_dir,
    devices: Devices = _DEFAULT_DEVICES,
    memory: Memory = _DEFAULTS.memory,
    max_queue: MaxQueue = _DEFAULTS.max_queue,
    max_wait: MaxWait = _DEFAULTS.max_wait_s,
) -> None:
    """Serve the Images API."""
    with one_line_errors():
        config = Config(
            weights=tuple(weights),
            models_dir=models_dir,
            data_dir=data_dir,
            strict=strict,
            keep_prompts=keep_prompts,
            host=host,
            port=port,
            devices=tuple(device.strip() for device in devices.split(",")),
            memory=memory,
            api_keys=api_keys,
            no_auth=no_auth,
            public_url=public_url.rstrip("/") if public_url else None,
            allow_image_urls=allow_image_urls,
            max_queue=max_queue,
            max_wait_s=max_wait,
        )
        registry = Registry(config.weights, config.models_dir)
        from server.fleet import Fleet
        from server.serve import run

        run(config, registry, Fleet(config, registry))


@app.command()
def models(
    weights: Weights = DEFAULT_WEIGHTS, models_dir: ModelsDir = _DEFAULTS.models_dir
) -> None:
    """Show which models are defined and installed, and which of them serves each API name."""
    from server import tables

    with one_line_errors():
        registry = Registry(weights, models_dir)
    console = Console()
    console.print(tables.models_table(registry), tables.names_table(registry))


app.add_typer(commands.app)
app.add_typer(keys_commands.app, name="keys")
app.add_typer(plan_command.app)
app.add_typer(usage_command.app)


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
