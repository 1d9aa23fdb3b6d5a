"""The official client's first generation, which many applications still have."""

import asyncio
import base64
import sys

import openai

assert openai.__version__.startswith("1."), openai.__version__
URL = f"{sys.argv[1]}/v1"


def is_png(text):
    return base64.b64decode(text, validate=True)[:4] == b"\x89PNG"


client = openai.OpenAI(base_url=URL, api_key="anything")

made = client.images.generate(model="dall-e-3", prompt="a cat", quality="hd", style="vivid")
assert made.data[0].url.startswith(sys.argv[1])
assert made.data[0].revised_prompt == "a cat"
assert made.data[0].b64_json is None

made = client.images.generate(model="dall-e-2", prompt="a cat", n=2, response_format="b64_json")
assert [is_png(image.b64_json) for image in made.data] == [True, True]

made = client.images.generate(model="gpt-image-1", prompt="a cat", size="auto", background="auto")
assert is_png(made.data[0].b64_json)
assert made.usage.total_tokens > 0

events = list(
    client.images.generate(model="gpt-image-1", prompt="a cat", stream=True, partial_images=2)
)
assert [event.type.split(".")[1] for event in events] == [
    "partial_image", "partial_image", "completed",
]  # fmt: skip
assert events[-1].usage.total_tokens > 0

assert "dall-e-3" in {model.id for model in client.models.list()}
try:
    client.images.generate(model="dall-e-2", prompt="a cat", size="1x1")
except openai.BadRequestError as error:
    assert error.code == "invalid_size", error.code
    assert error.request_id.startswith("req_")
else:
    raise AssertionError("a bad size was accepted")


async def at_once():
    async with openai.AsyncOpenAI(base_url=URL, api_key="anything") as client:
        stream = await client.images.generate(model="gpt-image-1", prompt="a cat", stream=True)
        assert [event.type async for event in stream] == ["image_generation.completed"]


asyncio.run(at_once())
