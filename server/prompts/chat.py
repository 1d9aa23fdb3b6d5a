"""A chat endpoint of this network, as OpenAI's: at the one address that weights.yaml names.

No redirect is followed and no proxy used. Knows HTTP; not what the conversation is about.
"""

import asyncio
from typing import Any

import httpx
import orjson

from pipelines.questions import Write
from pipelines.wording import ChatRewriter
from server.fleet.aide import NoAnswer

MOST_BYTES = 1 << 20
"""Of an answer: what is longer is not read to its end."""


class ChatEndpoint:
    """One model behind one address."""

    def __init__(self, rewriter: ChatRewriter, key: str | None = None) -> None:
        self._url = f"{rewriter.url}/chat/completions"
        self._model = rewriter.model
        self._client = httpx.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            timeout=None,  # each question has its own
            headers={"authorization": f"Bearer {key}"} if key else {},
        )

    async def write(self, question: Write, within_s: float) -> str:
        """What the model says next, greedily. Raises NoAnswer."""
        try:
            async with asyncio.timeout(within_s):
                return _content(await self._post(self._body(question)))
        except TimeoutError:
            raise NoAnswer(f"no answer within {within_s:g} s", late=True) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise NoAnswer(f"{type(error).__name__}: {error}") from None

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.aclose()

    def _body(self, question: Write) -> bytes:
        body = {
            "model": self._model,
            "messages": [{"role": it.role, "content": it.text} for it in question.turns],
            "max_tokens": question.max_tokens,
            "temperature": 0,
            "seed": 0,
            "stream": False,
        }
        return orjson.dumps(body)

    async def _post(self, body: bytes) -> bytes:
        headers = {"content-type": "application/json"}
        async with self._client.stream(
            "POST", self._url, content=body, headers=headers
        ) as response:
            if response.status_code != 200:
                raise NoAnswer(f"it answered {response.status_code}")
            answer = bytearray()
            async for chunk in response.aiter_bytes():
                answer += chunk
                if len(answer) > MOST_BYTES:
                    raise NoAnswer(f"it answered more than {MOST_BYTES >> 20} MiB")
        return bytes(answer)


def _content(answer: bytes) -> str:
    try:
        said: Any = orjson.loads(answer)["choices"][0]["message"]["content"]
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
        said = None
    if not isinstance(said, str):
        raise NoAnswer("it answered something else than a message")
    return said
