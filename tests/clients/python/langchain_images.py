"""LangChain: its DALL·E wrapper, which joins the urls of all images."""

import os
import sys
import urllib.request

from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper

WHERE = {"api_key": "anything", "base_url": f"{sys.argv[1]}/v1"}
os.environ |= {"OPENAI_API_KEY": "anything", "OPENAI_BASE_URL": f"{sys.argv[1]}/v1"}


def is_png(url):
    return urllib.request.urlopen(url).read(4) == b"\x89PNG"


wrapper = DallEAPIWrapper(model="dall-e-3", **WHERE)
assert is_png(wrapper.run("a cat"))

wrapper = DallEAPIWrapper(model="dall-e-2", n=3, size="256x256", separator=" ", **WHERE)
urls = wrapper.run("a cat").split(" ")
assert len(set(urls)) == 3 and all(is_png(url) for url in urls)

wrapper = DallEAPIWrapper(model="flux-schnell", **WHERE)
assert is_png(wrapper.run("a cat"))
