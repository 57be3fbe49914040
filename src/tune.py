"""Search for better values: `python -m src.tune tuner=random|hyperband|bayesian|grid model=deep`.

keras-tuner's oracles propose values for the override keys of `space`; each trial is an ordinary `src.train` run below
one parent run. The same command again goes on with a search that was interrupted.
"""

from __future__ import annotations

from .cli.hydra_command import hydra_command
from .config import TuneConfig

main = hydra_command("tune", ".search.tune:tune", schema=TuneConfig)

if __name__ == "__main__":
    main()
