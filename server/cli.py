"""The `darkroom` command: flags and environment in, a running server or a table out.

The only reader of the environment. Heavy imports wait until a command needs them: `--help` is
instant.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text
from typer.models import OptionInfo

from pipelines.registry import Registry, RegistryError
from server.config import Config, ConfigError

_DEFAULTS = Config()
_DEFAULT_DEVICES = ",".join(_DEFAULTS.devices)
_SERVING = "What is served"
_ACCESS = "Where, and to whom"
_LIMITS = "With what"

app = typer.Typer(
    help="Your own Images API, on your own GPU.",
    epilog="Every flag can also be set in the environment: --max-queue as DARKROOM_MAX_QUEUE. "
    "The flag wins.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _flag(name: str, panel: str, help: str, metavar: str | None = None) -> OptionInfo:
    option: OptionInfo = typer.Option(
        f"--{name}",
        envvar=f"DARKROOM_{name.replace('-', '_').upper()}",
        help=help,
        metavar=metavar,
        rich_help_panel=panel,
    )
    return option


Weights = Annotated[
    Path,
    _flag("weights", _SERVING, "The models, and the names that they serve.", "FILE"),
]
ModelsDir = Annotated[
    Path,
    _flag("models-dir", _SERVING, "The weights of models from the hub, a folder each.", "FOLDER"),
]
Host = Annotated[
    str,
    _flag("host", _ACCESS, "The address to listen on. 0.0.0.0 lets others in.", "ADDRESS"),
]
Port = Annotated[int, _flag("port", _ACCESS, "The port to listen on; 0 takes a free one.", "PORT")]
ApiKeys = Annotated[
    Path | None,
    _flag("api-keys", _ACCESS, "Ask for a bearer key: a KEY or NAME:KEY a line.", "FILE"),
]
NoAuth = Annotated[bool, _flag("no-auth", _ACCESS, "Let others in although there are no keys.")]
PublicUrl = Annotated[
    str | None,
    _flag("public-url", _ACCESS, "How clients reach this server, for links to images.", "URL"),
]
AllowImageUrls = Annotated[
    bool,
    _flag("allow-image-urls", _ACCESS, "Fetch the pictures of edits from public URLs."),
]
DataDir = Annotated[
    Path,
    _flag("data-dir", _LIMITS, "Where finished images wait for an hour to be fetched.", "FOLDER"),
]
Strict = Annotated[
    bool,
    _flag("strict", _SERVING, "Refuse all that the original refuses, extensions included."),
]
Devices = Annotated[
    str,
    _flag("devices", _LIMITS, "auto: every GPU, else the CPU. Or: cuda:0,cuda:1", "LIST"),
]
MaxQueue = Annotated[
    int,
    _flag("max-queue", _LIMITS, "How many images may wait or run; more are put off.", "IMAGES"),
]


@app.command()
def serve(
    weights: Weights = _DEFAULTS.weights,
    models_dir: ModelsDir = _DEFAULTS.models_dir,
    strict: Strict = _DEFAULTS.strict,
    host: Host = _DEFAULTS.host,
    port: Port = _DEFAULTS.port,
    api_keys: ApiKeys = _DEFAULTS.api_keys,
    no_auth: NoAuth = _DEFAULTS.no_auth,
    public_url: PublicUrl = _DEFAULTS.public_url,
    allow_image_urls: AllowImageUrls = _DEFAULTS.allow_image_urls,
    data_dir: DataDir = _DEFAULTS.data_dir,
    devices: Devices = _DEFAULT_DEVICES,
    max_queue: MaxQueue = _DEFAULTS.max_queue,
) -> None:
    """Serve the Images API."""
    with _one_line_errors():
        config = Config(
            weights=weights,
            models_dir=models_dir,
            data_dir=data_dir,
            strict=strict,
            host=host,
            port=port,
            devices=tuple(device.strip() for device in devices.split(",")),
            api_keys=api_keys,
            no_auth=no_auth,
            public_url=public_url.rstrip("/") if public_url else None,
            allow_image_urls=allow_image_urls,
            max_queue=max_queue,
        )
        registry = Registry(config.weights, config.models_dir)
        from server.fleet import Fleet
        from server.serve import run

        run(config, registry, Fleet(config, registry))


@app.command()
def models(
    weights: Weights = _DEFAULTS.weights, models_dir: ModelsDir = _DEFAULTS.models_dir
) -> None:
    """Show which models are defined and installed, and which of them serves each API name."""
    from server import tables

    with _one_line_errors():
        registry = Registry(weights, models_dir)
    console = Console()
    console.print(tables.models_table(registry), tables.names_table(registry))


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


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except (ConfigError, RegistryError) as error:
        message = Text.assemble(("darkroom: ", "red"), str(error))
        Console(stderr=True).print(message, soft_wrap=True)
        raise typer.Exit(2) from None
