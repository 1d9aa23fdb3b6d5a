"""LiteLLM, as a proxy or an application calls it."""

import asyncio
import base64
import sys

import litellm

WHERE = {"api_base": f"{sys.argv[1]}/v1", "api_key": "anything"}

made = litellm.image_generation(model="openai/gpt-image-1", prompt="a cat", **WHERE)
assert base64.b64decode(made.data[0].b64_json, validate=True)[:4] == b"\x89PNG"

made = litellm.image_generation(model="openai/dall-e-3", prompt="a cat", quality="hd", **WHERE)
assert made.data[0].url.startswith(sys.argv[1])

made = litellm.image_generation(
    model="openai/dall-e-2", prompt="a cat", n=2, response_format="b64_json", **WHERE
)
assert len(made.data) == 2 and all(image.b64_json for image in made.data)

made = litellm.image_generation(model="openai/flux-schnell", prompt="a cat", n=2, **WHERE)
assert len(made.data) == 2 and all(image.url for image in made.data)

made = asyncio.run(litellm.aimage_generation(model="openai/dall-e-2", prompt="a cat", **WHERE))
assert made.data[0].url

try:
    litellm.image_generation(model="openai/gpt-image-1", prompt="a cat", size="1x1", **WHERE)
except litellm.BadRequestError as error:
    assert error.status_code == 400
else:
    raise AssertionError("a bad size was accepted")
