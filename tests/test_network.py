"""Serving never reaches out: there is nothing to reach, and nothing tries."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.live import ROOT, serving
from tests.offline import ask_all


def test_all_endpoints_work_without_any_network(tmp_path: Path) -> None:
    alone = ["unshare", "--map-root-user", "--net"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("this kernel permits no network namespace of one's own")
    command = [*alone, sys.executable, "-m", "tests.offline", str(tmp_path)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert answer.stdout.endswith("all endpoints answered\n"), answer.stderr


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Python processes that are started from now on are watched, and note here what they try."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests" / "outward"))
    monkeypatch.setenv("OUTWARD_LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def reached_out(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines() if "reached out" in line]


def test_neither_the_server_nor_a_worker_tries_to_reach_out(tmp_path: Path, log: Path) -> None:
    with serving(tmp_path / "data") as url:
        ask_all(url)
    assert reached_out(log) == []
    watched = [line for line in log.read_text().splitlines() if "watched" in line]
    assert any("darkroom serve" in line for line in watched)
    assert any("pipelines.worker" in line for line in watched)


@pytest.mark.parametrize(
    "attempt",
    [
        "socket.create_connection(('192.0.2.1', 80), timeout=1)",
        "socket.socket().connect(('192.0.2.1', 80))",
        "socket.getaddrinfo('huggingface.co', 443)",
        "socket.gethostbyname('huggingface.co')",
        "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
        "__import__('httpx').get('https://huggingface.co')",
        "__import__('huggingface_hub').HfApi().model_info('a/b')",
    ],
)
def test_an_attempt_would_be_noted(log: Path, attempt: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", f"import socket; {attempt}"], capture_output=True, text=True
    )
    assert answer.returncode and len(reached_out(log)) >= 1


def test_what_is_near_may_be_reached(log: Path) -> None:
    near = "s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname())"
    subprocess.run([sys.executable, "-c", f"import socket; {near}"], check=True)
    assert reached_out(log) == []
