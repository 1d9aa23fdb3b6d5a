"""A connection that gives up a client which has stopped sending, or reading.

It looks at itself every `PATIENCE_S`. Since the last look a request that is coming in must have
come on, and an answer that is going out must have gone on, by `LEAST_BYTES` or to its end; if not,
the connection is closed, which frees all that was held for it. A server that ends asks for more.
Knows bytes; not what they say.
"""

import asyncio
import logging

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE_S = 30.0
LEAST_BYTES = 1 << 14
"""In so many seconds: less than any line in use carries."""

LEAST_AT_THE_END = 1 << 22
"""The same while the server waits for this connection to be over: a megabit a second."""

_COMING_IN = (h11.IDLE, h11.SEND_BODY)

_log = logging.getLogger(__name__)


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP connection, with an end to its patience."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look."""
        super().connection_made(transport)
        self._least = LEAST_BYTES
        self._begin_anew()

    def shutdown(self) -> None:
        """The server ends: from now on, whoever is very slow holds it up."""
        super().shutdown()
        self._next_look.cancel()
        self._least = LEAST_AT_THE_END
        self._begin_anew()

    def connection_lost(self, exc: Exception | None) -> None:
        """There is nothing more to look at."""
        self._next_look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """The beginning and the end of a request bring it on, however short they are."""
        begins = self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]
        super().data_received(data)
        whole = self.conn.their_state not in _COMING_IN
        self._arrived += self._least if begins or whole else len(data)

    def resume_writing(self) -> None:
        """The client has read most of what was kept for it."""
        self._flowed = True
        super().resume_writing()

    def _begin_anew(self) -> None:
        self._arrived, self._flowed = 0, False
        self._unsent = self.transport.get_write_buffer_size()
        self._next_look = self.loop.call_later(PATIENCE_S, self._look)

    def _look(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        stopped = self._does_not_read(unsent) if self._unsent or unsent else self._does_not_send()
        if stopped:
            _log.info("a client that had stopped was disconnected: %s", self.client)
            return self.transport.abort()
        self._begin_anew()

    def _does_not_send(self) -> bool:
        if self.timeout_keep_alive_task is not None and self.conn.their_state is h11.IDLE:
            return False  # between two requests, --keep-alive counts
        awaited = self.conn.their_state in _COMING_IN and not self.flow.read_paused
        return awaited and self._arrived < self._least

    def _does_not_read(self, unsent: int) -> bool:
        # What has grown was written since, and tells nothing of the reader.
        same = self._unsent - self._least < unsent <= self._unsent
        return unsent > 0 and same and not self._flowed
