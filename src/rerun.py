"""Repeat a recorded run and compare: `python -m src.rerun run=RUN_ID`.

What differs from then is listed first: data, code, versions, device. With nothing different the weights must be the
same to the bit; otherwise the scores on test must lie within the intervals of the recorded ones.
"""

from __future__ import annotations

from .cli.hydra_command import hydra_command
from .config import RerunConfig

main = hydra_command("rerun", ".training.rerun:rerun", schema=RerunConfig, backend=True)

if __name__ == "__main__":
    main()
