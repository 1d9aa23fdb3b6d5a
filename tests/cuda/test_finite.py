"""The checks for NaN and infinite values make the host wait no more often."""

import torch

from pipelines.lanes.finite import FiniteChecks
from pipelines.lanes.joins import JOINS
from pipelines.render import eight_bits
from tests.support import pretend_cuda


def test_checks_are_read_with_the_copy_of_the_pixels() -> None:
    latents, decoded = torch.rand(1, 4, 8, 8).cuda(), torch.rand(1, 3, 64, 64).cuda()
    before = pretend_cuda.waits.total()
    checks = FiniteChecks()
    checks.record(JOINS["CLIPTextModel"], {}, (latents,))
    checks.record(JOINS["AutoencoderKL"], {"z": latents}, (decoded,))
    check = checks.image(decoded[0])
    assert pretend_cuda.waits.total() == before
    assert eight_bits(decoded[0], check) is not None
    assert pretend_cuda.waits.total() == before + 1
