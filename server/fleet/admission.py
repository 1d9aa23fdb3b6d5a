"""What the queue takes: so many images, and so many predicted seconds; pure arithmetic.

Knows neither who asks nor what waits, only how much. Limits of single callers are elsewhere.
"""

from dataclasses import dataclass

from server.errors import QueueFull


@dataclass(frozen=True, slots=True)
class Admission:
    """The bounds of the queue, over all callers.

    Both checks raise QueueFull with the seconds until there will be room; what is ahead is
    `wait_s` away from being finished.
    """

    most_images: int
    most_wait_s: float

    def check_images(self, ahead: int, wait_s: float, asked: int) -> None:
        """So many images are ahead, and so many more are asked for."""
        over = ahead + asked - self.most_images
        if over > 0:
            raise QueueFull(wait_s * min(1.0, over / ahead) if ahead else 1.0)

    def check_wait(self, wait_s: float, asked_s: float, within_s: float) -> None:
        """So many seconds more are asked for, and shall be over `within_s`.

        Where nothing is ahead, waiting would not help, and nothing is refused.
        """
        late_s = wait_s + asked_s - min(within_s, self.most_wait_s)
        if late_s > 0 and wait_s > 0:
            raise QueueFull(min(wait_s, late_s), "queue_seconds")
