"""What the routes need, put together once by `app` and reached through the request. No logic."""

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from pipelines.registry import Registry
from server.callers.auth import Keys
from server.callers.callers import Caller as _Caller
from server.callers.ledger import Ledger
from server.callers.limits import Limits
from server.callers.queries import read_query
from server.config import Config
from server.fleet.aide import Aide
from server.fleet.fleet import Fleet
from server.keeping.files import Files
from server.keeping.links import PATH, Links
from server.keeping.store import Store
from server.metrics.metrics import Metrics
from server.prompts.policy import Policy
from server.prompts.rewriter import Rewriter
from server.reading.spool import Scratch

_WITH_QUERY = frozenset({"/v1/files", "/v1/models", "/v1/organization/usage/images"})
"""Paths whose GET takes query parameters."""


@dataclass(frozen=True, slots=True)
class Services:
    """One server's parts."""

    config: Config
    registry: Registry
    fleet: Fleet
    keys: Keys
    limits: Limits
    ledger: Ledger
    store: Store
    files: Files
    scratch: Scratch
    links: Links
    metrics: Metrics
    policy: Policy
    aide: Aide | None
    """The process that is asked about texts and pictures, where there is something for it."""
    rewriter: Rewriter | None
    threads: Executor
    """For what would hold the event loop: pictures, and the disk."""
    viewing: Executor
    """A thread for pictures that are only looked at: many of them leave the others free."""
    large: Executor
    """A thread for edits of large pictures: they wait for each other, and not in `threads`."""
    started: int
    """When, in Unix time."""


async def services_of(request: Request) -> Services:
    """The parts that `app` put together."""
    services: Services = request.app.state.services
    return services


Parts = Annotated[Services, Depends(services_of)]
"""A route's parameter: the parts of its server."""


async def caller_of(request: Request, parts: Parts) -> _Caller:
    """Who is behind the request's key; raises MissingKey or WrongKey."""
    caller = parts.keys.caller(request.headers.get("authorization"))
    request.state.caller = caller
    return caller


async def refuse_query(request: Request) -> None:
    """Raise UnknownParameter for any query parameter of a route that has none.

    Routes that have some read them with `read_query`, which does the same. A result's link is
    exempt: browsers and chat clients add parameters of their own, and its signature covers what
    counts.
    """
    path = request.scope["route"].path
    reads_its_own = path in _WITH_QUERY and request.method in ("GET", "HEAD")
    if not reads_its_own and not path.startswith(PATH):
        read_query(request.query_params, {})


Caller = Annotated[_Caller, Depends(caller_of)]
"""A route's parameter: who asks. It closes the route to those without a key."""
