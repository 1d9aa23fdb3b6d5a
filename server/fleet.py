"""Stub of the seam: the devices and their worker processes. The real one is being written."""

import asyncio
from collections.abc import Sequence

from pipelines.core import Image, Job
from server.status import FleetStatus


class Fleet:
    async def start(self) -> None: ...

    async def stop(self) -> None:
        """Take no more jobs, let the accepted ones finish, then end the workers."""

    def submit(self, jobs: Sequence[Job]) -> list[asyncio.Future[Image]]:
        """Accept all of the jobs or none; cancelling a future frees its lane at the next step.

        Raises QueueFull (server.errors) with the predicted wait. A future fails with a `core.JobError`.
        """
        raise NotImplementedError

    def status(self) -> FleetStatus:
        raise NotImplementedError
