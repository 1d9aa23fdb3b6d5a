"""What a hub cannot be asked is told by its address and a reason, whatever the client says."""

from typing import Never

import httpx2
import pytest

from pipelines.weights import hub
from pipelines.weights.manifest import WeightsError


@pytest.mark.parametrize(
    ("error", "says"),
    [(httpx2.ConnectTimeout(""), "ConnectTimeout"), (httpx2.ConnectError("refused"), "refused")],
)
def test_a_hub_that_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    def model_info(*_: object, **__: object) -> Never:
        raise error

    monkeypatch.setattr(hub, "FAILURES", 0)
    monkeypatch.setattr(hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(hub.constants, "HF_HUB_DISABLE_TELEMETRY", True)
    with pytest.raises(WeightsError, match=f"^{hub.constants.ENDPOINT}: {says}, 1 times in a row"):
        hub.look("owner/tiny")
