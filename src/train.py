"""Train one classifier, evaluate it honestly and record the run: `python -m src.train model=deep aug=strong`.

The story of a run is `train` in `src/training/run.py`.
"""

from __future__ import annotations

from .cli.hydra_command import hydra_command
from .config import Config

main = hydra_command(
    "train", ".training.run:train", schema=Config, config_name="config", objective=".training.run:objective"
)

if __name__ == "__main__":
    main()
