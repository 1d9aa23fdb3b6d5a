"""A text classifier, a real one: texts of every length, together as apart."""

from pathlib import Path

import pytest

from pipelines.aide.judging import Classifier
from pipelines.questions import Judge, Judged
from pipelines.weights.manifest import Manifest, WeightsError, hash_files
from pipelines.weights.staging import finish
from tests.tiny_reader import FINE, FORBIDDEN, LONGEST, TOXIC, reader


def never() -> bool:
    return False


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reader(tmp_path_factory.mktemp("reader"))


def scores(tool: Classifier, *texts: str) -> list[dict[str, float]]:
    answer = tool.answer(Judge("prompts", texts), never)
    assert isinstance(answer, Judged)
    return [dict(it) for it in answer.scores]


def test_each_text_has_the_scores_of_its_labels(folder: Path) -> None:
    tool = Classifier(folder, "cpu")
    good, bad = scores(tool, "a red circle", f"an {FORBIDDEN} here")
    assert good[TOXIC] < 0.1 < 0.9 < bad[TOXIC]
    assert good.keys() == bad.keys() == {TOXIC, FINE}
    assert sum(good.values()) == pytest.approx(1)


@pytest.mark.parametrize("before", [0, LONGEST - 1, LONGEST, 5 * LONGEST, 20 * LONGEST + 3])
def test_a_long_text_is_read_to_its_end(folder: Path, before: int) -> None:
    tool = Classifier(folder, "cpu")
    (long,) = scores(tool, "word " * before + FORBIDDEN)
    (fine,) = scores(tool, "word " * before + "word")
    assert long[TOXIC] > 0.9 and fine[TOXIC] < 0.1


def test_texts_are_judged_together_as_they_are_alone(folder: Path) -> None:
    tool = Classifier(folder, "cpu")
    texts = [f"{'word ' * n}{FORBIDDEN if n % 3 == 0 else ''}" for n in range(40)] + [""]
    together = scores(tool, *texts)
    for text, mine in zip(texts, together, strict=True):
        assert scores(tool, text)[0][TOXIC] == pytest.approx(mine[TOXIC], abs=1e-5), text


def test_it_stops_when_the_answer_is_of_no_use(folder: Path) -> None:
    asked = []

    def over() -> bool:
        asked.append(1)
        return True

    tool = Classifier(folder, "cpu")
    tool.answer(Judge("prompts", ("word " * 10_000,)), over)
    assert len(asked) == 1


def test_changed_weights_are_not_read(tmp_path: Path) -> None:
    folder = reader(tmp_path)
    files = [it.name for it in folder.iterdir()]
    finish(folder, Manifest(files=hash_files(folder, files)))
    Classifier(folder, "cpu")
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(WeightsError, match="changed: tokenizer_config"):
        Classifier(folder, "cpu")
