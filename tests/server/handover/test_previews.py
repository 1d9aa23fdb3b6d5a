from pipelines.core import Image, Preview
from server.handover.previews import Previews


def preview(index: int, size: int = 1) -> Preview:
    return Preview(index, Image(size, 1, bytes(3 * size)))


def test_each_image_has_its_previews_in_order() -> None:
    previews = Previews()
    for image, index in [(0, 0), (1, 0), (0, 1), (1, 1)]:
        previews.add(image, preview(index))
    assert [previews.take(1), previews.take(1)] == [preview(0), preview(1)]
    assert previews.take(1) is None
    assert [previews.take(0), previews.take(0), previews.take(0)] == [preview(0), preview(1), None]


def test_what_a_second_run_shows_again_is_no_news() -> None:
    previews = Previews()
    for index in (0, 1, 0, 1, 2):
        previews.add(0, preview(index))
    taken = [previews.take(0) for _ in range(4)]
    assert taken == [preview(0), preview(1), preview(2), None]
    previews.add(0, preview(2))
    assert previews.take(0) is None


def test_the_oldest_give_way_and_one_always_stays() -> None:
    previews = Previews(most_bytes=30)
    for image in range(4):
        previews.add(image, preview(0, size=5))
    assert [previews.take(image) for image in range(4)] == [
        None, None, preview(0, size=5), preview(0, size=5),
    ]  # fmt: skip
    previews.add(0, preview(1, size=50))
    assert previews.take(0) == preview(1, size=50)
