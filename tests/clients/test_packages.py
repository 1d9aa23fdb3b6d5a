"""Clients that are packages of their own, each as a program that checks what it needs."""

from collections.abc import Callable

import pytest

from pipelines.core import DoesNotFit
from tests.server.fakes import FakeFleet, picture

Script = Callable[..., None]


def test_openai_1(python: Script) -> None:
    python("openai-1", "openai_1.py")


def test_litellm(python: Script) -> None:
    python("frameworks", "litellm_images.py")


def test_langchain(python: Script) -> None:
    python("frameworks", "langchain_images.py")


@pytest.mark.parametrize("package", ["openai", "openai-6"])
def test_openai_for_node(node: Script, fleet: FakeFleet, package: str) -> None:
    fleet.outcome = lambda job: DoesNotFit(512, 512) if "fails" in job.prompt else picture(job)
    node("openai.mjs", package)
    assert [job.prompt for job in fleet.jobs].count("a job that fails") == 1


def test_the_ai_sdk(node: Script) -> None:
    node("ai-sdk.mjs")
