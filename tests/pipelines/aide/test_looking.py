"""The aide's classifier of pictures, a real one: what it finds is told by category."""

from pathlib import Path

import pytest

from pipelines.aide.looking import Looking
from pipelines.core import ModelUnavailable
from pipelines.questions import Judged, Look, Seen, Viewer
from tests.tiny_judges import FINE, RED, redness

LABELS = {RED: "violence/graphic", FINE: "sexual"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return redness(tmp_path_factory.mktemp("judge"))


def plain(red: int, green: int, blue: int, width: int = 40, height: int = 24) -> Seen:
    return Seen(width, height, bytes((red, green, blue)) * (width * height))


def scores(tool: Looking, picture: Seen) -> dict[str, float]:
    answer = tool.answer(Look(picture), lambda: False)
    assert isinstance(answer, Judged)
    (found,) = answer.scores
    return dict(found)


def test_a_picture_has_the_scores_of_its_categories(folder: Path) -> None:
    tool = Looking(Viewer(folder, LABELS), "cpu")
    red, blue = scores(tool, plain(255, 0, 0)), scores(tool, plain(0, 0, 255))
    assert red["violence/graphic"] > 0.9 > 0.1 > blue["violence/graphic"]
    assert red["violence/graphic"] + red["sexual"] == pytest.approx(1)


def test_of_labels_with_one_category_the_highest_counts(folder: Path) -> None:
    tool = Looking(Viewer(folder, dict.fromkeys(LABELS, "sexual")), "cpu")
    assert all(scores(tool, plain(*it))["sexual"] > 0.9 for it in ((255, 0, 0), (0, 0, 255)))


def test_what_cannot_be_read_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable):
        Looking(Viewer(tmp_path, LABELS), "cpu")
