"""A live server and its document: whatever is sent, good or bad, is answered as the document says.

Beside the cases that are made up, each operation gets those that cover its part of the document.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import psutil
import pytest
import requests
import schemathesis
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemathesis import Case, GenerationMode
from schemathesis.core.file_samples import FILE_SAMPLES
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import negative_data_rejection
from schemathesis.transport.serialization import Binary

from server.document.openapi import document
from server.document.operations import FORM
from tests.server.checks import events_of
from tests.server.conftest import WEIGHTS
from tests.server.processes import running

KEY = {"authorization": "Bearer sesame"}
MODELS = ("dall-e-2", "gpt-image-1", "gpt-image-2", "gpt-image-2.5-flare", "flux-schnell")
SIZES = ("auto", "1024x1024", "512x512", "1536x1024", "768x512")
MEBIBYTE = 1 << 20
REFUSED = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429, "5xx"]
CONFIG = schemathesis.Config.from_dict(
    {
        "checks": {
            # What a good value is depends on the model, and the document knows no models.
            "positive_data_acceptance": {"enabled": False},
            "negative_data_rejection": {"expected-statuses": REFUSED},
        },
        "request-timeout": 60,
    }
)
DOCUMENT = document()
# As text: schemathesis looks at some of what it has broken with a validator that knows no files.
schemathesis.openapi.format(
    "binary",
    st.one_of(st.sampled_from(list(FILE_SAMPLES.values())), st.binary()).map(
        lambda content: content.decode("latin-1")
    ),
)
api = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG)


@dataclass
class Server:
    """The process, and what it has answered so far."""

    url: str
    process: psutil.Process
    session: requests.Session
    links: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    jobs: int = 0

    def new_jobs(self) -> int:
        """How many jobs its fleet was given since this was last asked."""
        before = self.jobs
        status = self.session.get(f"{self.url}/status", headers=KEY).json()
        self.jobs = status["devices"][0]["images_done"]
        return self.jobs - before

    def remember(self, case: Case, answer: Response) -> None:
        """Keep what later cases can ask for."""
        if case.operation.path.startswith("/v1/images") and b'"url"' in answer.content:
            self.links += [image["url"] for image in answer.json()["data"]]
        if case.operation.label == "POST /v1/files":
            self.files.append(answer.json()["id"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("server")
    (folder / "demo").mkdir()
    (folder / "demo" / "model_index.json").write_text("{}")
    (folder / "weights.yaml").write_text(WEIGHTS)
    (folder / "keys.txt").write_text("sesame\n")
    with running(folder) as (url, process), requests.Session() as session:
        session.trust_env = False
        yield Server(url, process, session)


def known(values: Sequence[str], text: str) -> str:
    """For most texts one of the values, if there are any."""
    return values[len(text) % len(values)] if values and len(text) % 7 else text


def aim(case: Case, server: Server) -> None:
    """Let good cases go deeper: to models, sizes, links and files that there are."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    path, parameters, body = case.operation.path, case.path_parameters, case.body
    if path.startswith("/v1/images/") and isinstance(body, dict):
        for name, values in (("model", MODELS), ("size", SIZES)):
            if isinstance(body.get(name), str):
                body[name] = known(values, body[name])
    if path == "/images/{name}" and server.links:
        link = urlsplit(known(server.links, parameters["name"]))
        parameters["name"] = link.path.removeprefix("/images/")
        case.query.update(parse_qsl(link.query))
    if "{id}" in path:
        known_ids = MODELS if path.startswith("/v1/models") else server.files
        parameters["id"] = known(known_ids, parameters["id"])


def send_files(case: Case) -> None:
    """Make files of what a form has in their place."""
    if case.media_type != FORM or not isinstance(case.body, dict):
        return
    for name in case.body.keys() & {"file", "image", "mask"}:
        sent = as_list(case.body[name])
        files = [Binary(it.encode("latin-1")) if is_bytes(it) else it for it in sent]
        case.body[name] = files if isinstance(case.body[name], list) else files[0]


def is_bytes(value: object) -> bool:
    """Whether a text may stand for the content of a file."""
    return isinstance(value, str) and all(ord(letter) < 256 for letter in value)


def images_in(answer: Response) -> int:
    """How many images an answer brings."""
    if answer.headers["content-type"][0].startswith("text/event-stream"):
        return sum(name.endswith(".completed") for name, _ in events_of(answer.content.decode()))
    return len(answer.json()["data"])


def readings(value: object) -> list[object]:
    """What a form makes of a value: all is text there, an array its items, an empty one nothing,
    and so is a null."""
    if value is None:
        return []
    if isinstance(value, list | dict):
        return [reading for item in value for reading in readings(item)]
    text = str(value).strip().lower()
    try:
        return [value, str(value), json.loads(text)]
    except ValueError:
        return [value, str(value)]


def as_list(value: object) -> list[object]:
    """A value alone is an array of one."""
    return value if isinstance(value, list) else [value]


def good_query(case: Case) -> bool:
    """Whether every value of a query is good as a text, alone or as an array of one."""
    operation = DOCUMENT["paths"][case.operation.path].get(case.method.lower())
    if operation is None:
        return False
    told = {it["name"]: it for it in operation.get("parameters", []) if it["in"] == "query"}
    sent = {name: value for name, value in case.query.items() if value is not None}
    if not {name for name, it in told.items() if it.get("required")} <= sent.keys():
        return False
    return sent.keys() <= told.keys() and all(
        any(Draft202012Validator(told[name]["schema"]).is_valid(it) for it in read)
        for name, value in sent.items()
        for read in [[*readings(value), [str(it) for it in as_list(value)]]]
    )


def good_as_sent(case: Case) -> bool:
    """Whether a form or a query hides what was wrong: both are text, whatever was meant."""
    if case.query:
        return good_query(case)
    if case.media_type != FORM or not isinstance(case.body, dict):
        return False
    body = DOCUMENT["paths"][case.operation.path]["post"]["requestBody"]
    schema = body["content"][FORM]["schema"]
    sent = {name: read for name, value in case.body.items() if (read := readings(value))}
    if not set(schema["required"]) <= sent.keys() <= schema["properties"].keys():
        return False
    return all(
        any(Draft202012Validator(schema["properties"][name]).is_valid(it) for it in read)
        for name, read in sent.items()
    )


@api.parametrize()
def test_every_operation(case: Case, server: Server) -> None:
    aim(case, server)
    send_files(case)
    answer = case.call(server.url, server.session, KEY)
    good = answer.status_code == 200
    asks_for_images = case.operation.path.startswith("/v1/images/") and case.method == "POST"
    assert server.new_jobs() == (images_in(answer) if good and asks_for_images else 0)
    if good:
        server.remember(case, answer)
    case.validate_response(
        answer,
        headers=KEY,
        excluded_checks=[negative_data_rejection] if good_as_sent(case) else [],
        transport_kwargs={"base_url": server.url},
    )


def test_memory_did_not_grow(server: Server) -> None:
    assert server.process.memory_info().rss < 512 * MEBIBYTE
    assert server.process.num_fds() < 100
