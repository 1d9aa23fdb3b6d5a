"""A stand-in for a chat endpoint: a real HTTP server that records, and answers as it is told."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def message(text: object) -> dict[str, object]:
    """The body of an answer that says something."""
    said = {"role": "assistant", "content": text}
    return {"id": "1", "object": "chat.completion", "choices": [{"index": 0, "message": said}]}


class ChatServer:
    """What was asked of it, and what it answers next."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.status = 200
        self.location = ""
        self.says: Callable[[dict[str, Any]], object] = lambda _: message("A red circle.")
        """The body: bytes as they are, anything else as JSON."""
        self.silent = threading.Event()
        """While it is set, nothing is answered."""
        self.gone = threading.Semaphore(0)
        """Released for everyone who went away without an answer."""
        self.url = ""

    @property
    def prompts(self) -> list[str]:
        """The last message of each conversation."""
        return [str(it["messages"][-1]["content"]) for it in self.asked]


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    """Such a server, until the block ends."""
    told = ChatServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            told.paths.append(self.path)
            told.headers.append({name.lower(): it for name, it in self.headers.items()})
            told.asked.append(json.loads(body or b"{}"))
            while told.silent.is_set():
                self.connection.settimeout(0.05)
                try:
                    if not self.connection.recv(1):
                        told.gone.release()
                        return
                except TimeoutError:
                    continue
            self.connection.settimeout(None)  # or the next request would have to come at once
            self._answer(told.says(told.asked[-1]))

        def _answer(self, says: object) -> None:
            body = says if isinstance(says, bytes) else json.dumps(says).encode()
            self.send_response(told.status)
            self.send_header("content-length", str(len(body)))
            self.send_header("content-type", "application/json")
            if told.location:
                self.send_header("location", told.location)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield told
    finally:
        told.silent.clear()
        server.shutdown()
        thread.join()
        server.server_close()
