"""Draws held-out prompts through the real pipeline and counts what came out right."""

import random
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import FluxPipeline
from PIL import Image
from torch import Tensor

from .language import forget, prompt
from .raster import SIDE
from .scenes import COLOURS, Scene, Shape, random_scene
from .words import CHINESE, ENGLISH

Asked = tuple[Scene, str, str]  # a scene as far as it is said, the prompt and its language
HELD_OUT_PHRASINGS = {
    "english": (
        "{text} with a plain {name} background",
        "{text} on a plain {name} backdrop",
        "{text} set against {name}",
        "{text} set against a plain {name} wall",
        "{text} in front of a {name} wall",
        "{text} in front of a plain {name} background",
        "{text} upon a uniformly {name} canvas",
        "a plain {name} canvas that shows {text}",
    ),
    "chinese": (
        "{text},纯{name}背景",
        "纯{name}的背景衬着{text}",
        "{text}挂在{name}的墙上",
        "{name}墙壁前的{text}",
        "{name}画布,画着{text}",
        "{text},背后是一片{name}",
    ),
}


def held_out(count: int, seed: int) -> list[Asked]:
    """Scenes that training never saw, as far as they are said; their prompts and languages."""
    rng, found = random.Random(seed), list[Asked]()
    while len(found) < count:
        if (scene := random_scene(rng, pair_share=0.3)).held_out:
            said, language = forget(scene, rng), ("english", "chinese")[len(found) % 2]
            found.append((said, prompt(said, rng, language), language))
    return found


def held_out_phrasings(count: int, seed: int) -> list[Asked]:
    """Scenes that training never saw, their backgrounds named as the grammar never does."""
    rng, found = random.Random(seed), list[Asked]()
    while len(found) < count:
        if (scene := random_scene(rng, pair_share=0.3)).held_out and scene.background:
            said, language = forget(scene, rng, unsaid=0), ("english", "chinese")[len(found) % 2]
            names = (ENGLISH if language == "english" else CHINESE)[scene.background]
            text = prompt(replace(said, background=None), rng, language)
            form = HELD_OUT_PHRASINGS[language][len(found) // 2 % len(HELD_OUT_PHRASINGS[language])]
            found.append((said, form.format(text=text, name=rng.choice(names)), language))
    return found


def large_circles() -> list[Asked]:
    """A large circle in each colour on each other colour, in plain English."""
    return [
        (
            Scene(ground, (Shape("circle", colour, "large", None),)),
            f"a large {colour} circle on a {ground} background",
            "english",
        )
        for ground in COLOURS
        for colour in COLOURS
        if colour != ground
    ]


@torch.inference_mode()
def draw(pipeline: FluxPipeline, prompts: list[str], steps: int, seed: int) -> Tensor:
    """Images [B, 3, SIDE, SIDE] in -1..1, each from its own seed."""
    generators = [torch.Generator().manual_seed(seed + index) for index in range(len(prompts))]
    length = pipeline.tokenizer_2.model_max_length
    images: Tensor = pipeline(
        prompts, height=SIDE, width=SIDE, num_inference_steps=steps, max_sequence_length=length,
        generator=generators, output_type="pt",
    ).images  # fmt: skip
    return images.float() * 2 - 1


def draw_all(pipeline: FluxPipeline, prompts: list[str], steps: int, batch: int) -> Tensor:
    """All the prompts' images, a batch at a time."""
    starts = range(0, len(prompts), batch)
    return torch.cat(
        [draw(pipeline, prompts[start : start + batch], steps, start) for start in starts]
    )


def table(verdicts: list[tuple[Scene, str, dict[str, bool]]]) -> str:
    """Percentages by language, single shapes and pairs apart, as Markdown."""
    cells: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for said, language, found in verdicts:
        crowd = "one shape" if len(said.shapes) == 1 else "two shapes"
        asked = {**found, "place and size": found.get("place", True) and found.get("size", True)}
        for name, right in {**asked, "all of it": all(found.values())}.items():
            cells[f"{crowd}: {name}", language].append(right)
            cells[f"any: {name}", language].append(right)
    lines = ["| right | English | Chinese | both | of |", "|---|---|---|---|---|"]
    for row in sorted({row for row, _ in cells}):
        parts = [cells[row, "english"], cells[row, "chinese"]]
        parts.append(parts[0] + parts[1])
        shares = " | ".join(f"{100 * sum(part) / max(len(part), 1):.1f} %" for part in parts)
        lines.append(f"| {row} | {shares} | {len(parts[2])} |")
    return "\n".join(lines)


def contact_sheet(images: Tensor, path: Path, columns: int = 8, side: int = 128) -> None:
    """Writes a grid of the images."""
    pixels = ((images + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    sheet = Image.new("RGB", (columns * side, -(-len(pixels) // columns) * side))
    for index, picture in enumerate(pixels):
        corner = (index % columns * side, index // columns * side)
        sheet.paste(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS), corner)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)
