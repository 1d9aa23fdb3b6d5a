"""All three endpoints of a real server, where there is no network but the loopback.

python -m tests.offline FOLDER        in a network namespace of its own (`unshare -rn`)
"""

import base64
import fcntl
import io
import socket
import struct
import sys
from pathlib import Path

import httpx
from PIL import Image

from tests.live import serving

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def ask_all(url: str) -> None:
    """Generate, edit, vary, and fetch a result by its link."""
    with httpx.Client(base_url=url, trust_env=False, timeout=120) as client:
        made = client.post(
            "/v1/images/generations",
            json={"model": "dall-e-3", "prompt": "a red circle", "size": "1024x1024"},
        )
        picture = client.get(made.raise_for_status().json()["data"][0]["url"]).content
        assert Image.open(io.BytesIO(picture)).size == (1024, 1024)
        for path, fields in [
            ("edits", {"model": "gpt-image-1", "prompt": "a blue star"}),
            ("variations", {"model": "dall-e-2", "response_format": "b64_json"}),
        ]:
            files = {"image": ("a.png", picture, "image/png")}
            answer = client.post(f"/v1/images/{path}", data=fields, files=files)
            data = answer.raise_for_status().json()["data"][0]["b64_json"]
            assert Image.open(io.BytesIO(base64.b64decode(data))).size == (1024, 1024)
        assert client.get("/status").is_success


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("16xh", fcntl.ioctl(control, SIOCGIFFLAGS, request))
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


if __name__ == "__main__":
    names = [name for _, name in socket.if_nameindex()]
    assert names == ["lo"], f"a network is in reach: {names}"
    _raise_loopback()
    with serving(Path(sys.argv[1])) as base_url:
        ask_all(base_url)
    print("all endpoints answered")
