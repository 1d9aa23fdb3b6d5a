"""The aide's classifier of pictures, a real one: what it finds is told by category."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from pipelines.aide.looking import Looking
from pipelines.content import Category, Classifier
from pipelines.core import ModelUnavailable
from pipelines.questions import Look, Looked, Seen
from tests.tiny_judges import FINE, RED, redness

LABELS: dict[str, Category] = {RED: "violence/graphic", FINE: "sexual"}
SEXUAL: dict[str, Category] = {RED: "sexual", FINE: "sexual"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return redness(tmp_path_factory.mktemp("judge"))


def plain(red: int, green: int, blue: int, width: int = 40, height: int = 24) -> Seen:
    return Seen(width, height, bytes((red, green, blue)) * (width * height))


def looking(folder: Path, labels: dict[str, Category]) -> Looking:
    return Looking(Classifier("it", folder, labels), "cpu")


def scores(tool: Looking, picture: Seen) -> Mapping[Category, float]:
    answer = tool.answer(Look(picture), lambda: False)
    assert isinstance(answer, Looked)
    return answer.scores


def test_a_picture_has_the_scores_of_its_categories(folder: Path) -> None:
    tool = looking(folder, LABELS)
    red, blue = scores(tool, plain(255, 0, 0)), scores(tool, plain(0, 0, 255))
    assert red["violence/graphic"] > 0.9 > 0.1 > blue["violence/graphic"]
    assert red["violence/graphic"] + red["sexual"] == pytest.approx(1)


def test_of_labels_with_one_category_the_highest_counts(folder: Path) -> None:
    tool = looking(folder, SEXUAL)
    assert all(scores(tool, plain(*it))["sexual"] > 0.9 for it in ((255, 0, 0), (0, 0, 255)))


def test_what_cannot_be_read_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable):
        looking(tmp_path, LABELS)
