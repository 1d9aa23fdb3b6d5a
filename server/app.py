"""`create_app`: the parts of a server, put together. Nothing happens at import."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import Depends, FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from pipelines.registry import Registry
from server.answering.handlers import METHODS, handlers
from server.answering.headers import Envelope
from server.callers.auth import keys_of
from server.callers.keys import FILE as KEYS
from server.callers.keys import KeyStore
from server.callers.ledger import FILE as LEDGER
from server.callers.ledger import Ledger
from server.callers.limits import Limits
from server.config import Config, ConfigError
from server.fleet.aide import aide_for
from server.fleet.fleet import Fleet
from server.keeping.files import Files
from server.keeping.links import Links, load_key
from server.keeping.store import Store
from server.metrics.metering import Metering
from server.metrics.metrics import Metrics
from server.middleware.forwarded import Forwarded
from server.middleware.origins import OriginCheck
from server.middleware.paths import Paths
from server.prompts import languages
from server.prompts.judging import judge_for, picture_judge_for
from server.prompts.policy import policy_of
from server.prompts.rewriter import rewriter_for
from server.reading.spool import Scratch
from server.routes import (
    edits,
    generations,
    health,
    models,
    moderations,
    openapi,
    results,
    root,
    variations,
)
from server.routes import files as file_routes
from server.routes import metrics as metrics_routes
from server.routes import usage as usage_routes
from server.services import Services, caller_of, refuse_query

_GROUPS = (
    *(generations, edits, variations, moderations, file_routes),
    *(models, usage_routes, health, metrics_routes, results, openapi, root),
)
_OPEN = (health, results, openapi, root)
"""Those with routes that need no key."""
_SWEEP_EVERY_S = 60
_PREFLIGHT_S = 7200
"""Chrome remembers the answer to a preflight for no longer."""
_NOTHING_LEAVES: Any = dict.fromkeys(("tracing", "metrics", "logs", "auto_configure"), False)

_log = logging.getLogger(__name__)


def create_app(config: Config, registry: Registry, fleet: Fleet) -> FastAPI:
    """The ASGI application; raises ConfigError if its files cannot be used."""
    services = _assemble(config, registry, fleet)
    app = FastAPI(
        title="darkroom",
        openapi_url=None,
        redirect_slashes=False,
        telemetry=_NOTHING_LEAVES,
        middleware=_middleware(services),
        exception_handlers=handlers(),
        lifespan=_lifespan,
    )
    app.state.services = services
    app.state.paths = [route.path for group in _GROUPS for route in group.router.routes]
    for group in _GROUPS:
        # The key first: without one, nothing is told about the rest of a request.
        keyed = [] if group in _OPEN else [Depends(caller_of)]
        # Links that people open may have parameters added by whoever passed them on.
        checked = [] if group is root else [Depends(refuse_query)]
        app.include_router(group.router, dependencies=[*keyed, *checked])
    return app


def _middleware(services: Services) -> list[Middleware]:
    """The layers around the routes, the outermost first.

    CORS is outside of Envelope, so that scripts can read every error.
    """
    config = services.config
    cors = Middleware(
        CORSMiddleware,
        allow_origins=config.cors_origins,
        allow_methods=METHODS,
        allow_headers=["*"],
        allow_private_network=True,
        max_age=_PREFLIGHT_S,
    )
    return [
        Middleware(Metering, metrics=services.metrics),
        Middleware(Forwarded, trusted=config.trusted_proxies),
        Middleware(OriginCheck, config=config, keys=services.keys),
        *([cors] if config.cors_origins else []),
        Middleware(Envelope),
        Middleware(Paths, public_url=config.public_url),
    ]


def _assemble(config: Config, registry: Registry, fleet: Fleet) -> Services:
    keys = keys_of(config, KeyStore(config.data_dir / KEYS))
    try:
        store = Store(config.data_dir / "images")
        files = Files(config.data_dir / "files")
        links = Links(load_key(config.data_dir / "link.key"))
    except OSError as error:
        raise ConfigError(f"--data-dir {config.data_dir}: cannot be used: {error}") from error
    threads = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="encode")
    fleet.observer = metrics = Metrics()
    scratch = Scratch(config.data_dir / "uploads", threads)
    aide = aide_for(config, registry)
    return Services(
        config=config,
        registry=registry,
        fleet=fleet,
        keys=keys,
        limits=Limits(),
        ledger=Ledger(config.data_dir / LEDGER),
        store=store,
        files=files,
        scratch=scratch,
        links=links,
        metrics=metrics,
        policy=policy_of(
            config,
            registry,
            threads,
            judge_for(registry, aide),
            picture_judge_for(registry, aide),
        ),
        aide=aide,
        rewriter=rewriter_for(config, registry, aide),
        threads=threads,
        viewing=ThreadPoolExecutor(1, thread_name_prefix="view"),
        large=ThreadPoolExecutor(1, thread_name_prefix="large"),
        started=int(time.time()),
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    if services.aide:
        services.aide.start()
    await services.fleet.start()
    services.threads.submit(languages.prepare)
    sweeper = asyncio.create_task(_keep_sweeping(services))
    try:
        yield
    finally:
        sweeper.cancel()
        with suppress(asyncio.CancelledError):
            await sweeper
        await services.fleet.stop()
        if services.rewriter:
            await services.rewriter.close()
        if services.aide:
            await services.aide.stop()
        services.threads.shutdown()
        services.viewing.shutdown(cancel_futures=True)
        services.large.shutdown(cancel_futures=True)
        services.ledger.close()
        services.keys.close()


async def _keep_sweeping(services: Services) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            for folder in (services.store, services.files):
                await loop.run_in_executor(services.threads, folder.sweep)
            await loop.run_in_executor(services.threads, services.ledger.sync)
        except OSError:
            _log.exception("expired results could not be removed")
        await asyncio.sleep(_SWEEP_EVERY_S)
