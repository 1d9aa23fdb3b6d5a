"""The real process (socket, signals, log) over a fake fleet.

python -m tests.server.fake_server FOLDER DELAY

FOLDER has a weights.yaml, and a keys.txt if keys are asked for.
"""

import sys
from pathlib import Path

from pipelines.registry import Registry
from server.commands.serve import run
from server.config import Config
from tests.server.fakes import FakeFleet

if __name__ == "__main__":
    folder, delay_s = Path(sys.argv[1]), float(sys.argv[2])
    keys = folder / "keys.txt"
    config = Config(
        weights=(folder / "weights.yaml",),
        data_dir=folder / "data",
        api_keys=keys if keys.exists() else None,
        port=0,
    )
    fleet = FakeFleet()
    fleet.delay_s = delay_s
    run(config, Registry(config.weights, config.models_dir), fleet)  # type: ignore[arg-type]
