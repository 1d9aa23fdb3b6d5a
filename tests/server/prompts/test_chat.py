"""A chat endpoint, asked over a real socket: what is sent, and whatever may come back."""

import asyncio
from collections.abc import Iterator

import pytest

from pipelines.questions import Turn, Write
from pipelines.wording import ChatRewriter
from server.fleet.aide import NoAnswer
from server.prompts.chat import MOST_BYTES, ChatEndpoint
from tests.server.chat_server import ChatServer, chat_server, message

QUESTION = Write((Turn("system", "word it"), Turn("user", "a fox")), 99)


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    with chat_server() as told:
        yield told


def write(url: str, within_s: float = 60, key: str | None = None) -> str:
    async def run() -> str:
        endpoint = ChatEndpoint(ChatRewriter(url, "tiny", None, 20), key)
        try:
            return await endpoint.write(QUESTION, within_s)
        finally:
            await endpoint.close()

    return asyncio.run(run())


def test_what_is_sent(chat: ChatServer) -> None:
    assert write(chat.url, key="sesame") == "A red circle."
    assert chat.paths == ["/v1/chat/completions"]
    assert chat.asked == [
        {
            "model": "tiny",
            "messages": [
                {"role": "system", "content": "word it"},
                {"role": "user", "content": "a fox"},
            ],
            "max_tokens": 99,
            "temperature": 0,
            "seed": 0,
            "stream": False,
        }
    ]
    assert chat.headers[0]["authorization"] == "Bearer sesame"
    write(chat.url)
    assert "authorization" not in chat.headers[1]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b'"A fox."',
        {},
        {"choices": []},
        {"choices": [{}]},
        {"choices": [{"message": None}]},
        {"choices": [{"text": "A fox."}]},
        message(None),
        message(["A fox."]),
        b"\xff\xfe" * 1000,
    ],
)
def test_garbage_is_no_answer(chat: ChatServer, body: object) -> None:
    chat.says = lambda _: body
    with pytest.raises(NoAnswer, match="something else than a message"):
        write(chat.url)


@pytest.mark.parametrize("status", [204, 400, 401, 404, 429, 500, 503])
def test_another_status_is_no_answer(chat: ChatServer, status: int) -> None:
    chat.status = status
    with pytest.raises(NoAnswer, match=f"it answered {status}") as error:
        write(chat.url)
    assert not error.value.late


def test_an_endless_answer_is_not_read_to_its_end(chat: ChatServer) -> None:
    chat.says = lambda _: message("x" * (MOST_BYTES + 1))
    with pytest.raises(NoAnswer, match="more than 1 MiB"):
        write(chat.url)


def test_no_redirect_is_followed(chat: ChatServer) -> None:
    chat.status, chat.location = 307, f"{chat.url}/elsewhere"
    with pytest.raises(NoAnswer, match="307"):
        write(chat.url)
    assert chat.paths == ["/v1/chat/completions"]


def test_no_proxy_is_used(chat: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with chat_server() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
        assert write(chat.url) == "A red circle."
        assert proxy.asked == []


def test_silence_has_an_end(chat: ChatServer) -> None:
    chat.silent.set()
    with pytest.raises(NoAnswer) as error:
        write(chat.url, within_s=0.2)
    assert error.value.late
    assert chat.gone.acquire(timeout=20), "the question was not taken back"


def test_nobody_there(chat: ChatServer) -> None:
    with pytest.raises(NoAnswer, match="Connect"):
        write("http://127.0.0.1:9/v1")
