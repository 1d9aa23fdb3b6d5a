"""What can be seen of the fleet's work from outside: told at the moment it happens. No logic."""

import asyncio

from pipelines.core import Image, Job


class Observer:
    """Told of every job; what it does with that is its own affair. This one does nothing."""

    def dispatched(self, job: Job, waited_s: float) -> None:
        """A job was given to a device, after so long in the queue; again if its worker dies."""

    def ended(self, job: Job, future: asyncio.Future[Image]) -> None:
        """A job has come to its end: an image, an error, or a cancellation."""
