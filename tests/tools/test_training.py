"""The pieces of training that are quick to check without training."""

import json
import random
from pathlib import Path

import torch
from torch import nn
from transformers import CLIPTextModel, T5EncoderModel

from tools.train_demo import autoencoder, composites, export, flow, muon, overlook, text
from tools.train_demo.autoencoder import Bottleneck
from tools.train_demo.language import forget_most, is_usual
from tools.train_demo.latents import pack
from tools.train_demo.scenes import random_scene
from tools.train_demo.stage import Stage, with_rates


def test_an_update_is_made_orthogonal() -> None:
    updates = muon.orthogonal(torch.randn(3, 16, 40))
    singular = torch.linalg.svdvals(updates)
    assert singular.min() > 0.4
    assert singular.max() < 1.4


def test_muon_lowers_a_loss() -> None:
    torch.manual_seed(0)
    layer, data = nn.Linear(8, 8), torch.randn(64, 8)
    optimizer = muon.Muon(with_rates([{"params": [layer.weight], "lr": 0.05}]))
    losses = []
    for _ in range(30):
        loss = (layer(data) - data).square().mean()
        layer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4


def test_folding_the_norm_changes_nothing() -> None:
    torch.manual_seed(0)
    model = Bottleneck().eval()
    mean, variance, _ = model.norm.buffers()
    mean.normal_()
    variance.uniform_(0.5, 2)
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        before = model.norm(model.vae.encoder(images))
        after = model.folded().encoder(images)
    assert torch.allclose(before, after, atol=1e-4)


def test_a_stage_resumes_where_it_stopped(tmp_path: Path) -> None:
    part = nn.Linear(2, 2)
    stage = Stage("some", tmp_path, 9, torch.device("cpu"), spent=5.0, step=7)
    stage.save({"part": part})
    again, other = Stage("some", tmp_path, 9, torch.device("cpu")), nn.Linear(2, 2)
    again.resume({"part": other})
    assert (again.spent, again.step) == (5.0, 7)
    assert torch.equal(part.weight, other.weight)
    assert list(again.steps({"part": other}, [])) == [7, 8]
    assert list(again.steps({"part": other}, [])) == []


def test_a_resumed_stage_sees_other_examples_than_its_first_steps_did(tmp_path: Path) -> None:
    device = torch.device("cpu")
    first = Stage("some", tmp_path, 9, device).resume({}).random()
    Stage("some", tmp_path, 9, device, step=7).save({})
    assert Stage("some", tmp_path, 9, device).resume({}).random() != first


def test_noise_levels_cover_the_distribution() -> None:
    levels = flow.noise_levels(64, torch.device("cpu"))
    assert levels.min() > 0
    assert levels.max() < 1
    assert 0.5 < levels.mean() < 0.65


def test_focus_is_on_what_is_not_background() -> None:
    latents = torch.zeros(2, 64, 64)
    latents[:, 10] = 3
    weights = flow.focus(latents, torch.tensor([False, True]))
    assert weights[0, 10] == 1 + flow.FOCUS
    assert weights[0, 11] == 1
    assert (weights[1] == 1).all()


def test_training_batches_are_images() -> None:
    images = autoencoder.batch(random.Random(0))
    assert images.shape == (autoencoder.BATCH, 3, autoencoder.CROP, autoencoder.CROP)
    assert images.min() >= -1
    assert images.max() <= 1


def test_composites_say_a_kind_and_a_colour() -> None:
    said, images = composites.composites(3, random.Random(0))
    assert images.shape == (3, 3, 256, 256)
    assert all(scene.shapes[0].kind and scene.shapes[0].colour for scene in said)


def test_the_usual_prompt_names_neither_place_nor_size() -> None:
    rng = random.Random(1)
    usual = [scene for scene in (random_scene(rng) for _ in range(300)) if is_usual(scene)]
    assert usual
    assert all(forget_most(scene, rng).shapes[0].place is None for scene in usual)


def test_latents_are_packed_two_by_two() -> None:
    assert pack(torch.zeros(2, 16, 16, 16)).shape == (2, 64, 64)


def test_a_prompt_without_a_background_is_shown_the_expected_one() -> None:
    rng = random.Random(2)
    scenes = [random_scene(rng) for _ in range(400)]
    pairs = flow.Pairs(scenes, torch.zeros(len(scenes), 1), None)  # type: ignore[arg-type]
    chosen = [pairs.choose(rng) for _ in range(400)]
    unsaid = [scenes[index] for index, said in chosen if said.background is None]
    assert unsaid
    assert all(scene.expected for scene in unsaid)


def test_what_is_exported_was_not_told_how_to_pad(tmp_path: Path) -> None:
    encoders = text.TextEncoders()
    encoders(["a red circle"])
    pipeline = export.assemble(autoencoder.Bottleneck().vae, encoders, flow.flux_model())
    export.export(pipeline, tmp_path / "demo")
    for name in ("tokenizer", "tokenizer_2"):
        saved = json.loads((tmp_path / "demo" / name / "tokenizer.json").read_text())
        shipped = json.loads((Path("weights/demo") / name / "tokenizer.json").read_text())
        assert saved == shipped
        assert saved["padding"] is None and saved["truncation"] is None


PROMPTS = ["a red circle", "a small blue star on the left", "一个大的红色圆形,蓝色背景"]


def test_the_shipped_encoders_overlook_a_stray_word() -> None:
    encoders = text.TextEncoders()
    encoders.clip = CLIPTextModel.from_pretrained("weights/demo/text_encoder")
    encoders.t5 = T5EncoderModel.from_pretrained("weights/demo/text_encoder_2")
    strays = [overlook.with_stray(it, random.Random(1)) for it in PROMPTS]
    assert all(stray.startswith(f"{it}, ") for stray, it in zip(strays, PROMPTS, strict=True))
    with torch.no_grad():
        (states, pooled), (told, told_pooled) = encoders(PROMPTS), encoders(strays)
    for as_it_is, with_one in ((states, told), (pooled, told_pooled)):
        apart = (as_it_is - as_it_is.roll(1, 0)).square().mean()
        assert (with_one - as_it_is).square().mean() < apart / 10


def test_what_teaches_to_overlook_stays_as_it_is(tmp_path: Path) -> None:
    teachers = text.TextEncoders().eval().requires_grad_(False)
    before = [it.clone() for it in teachers.parameters()]
    stage = Stage("overlook", tmp_path, 2, torch.device("cpu"))
    encoders = overlook.train_overlook(stage, teachers)
    assert all(map(torch.equal, before, teachers.parameters()))
    assert not all(map(torch.equal, before, encoders.parameters()))
    assert not any(it.requires_grad for it in encoders.parameters())
