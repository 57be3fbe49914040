"""Evaluate a recorded model again, on any data set: `python -m src.evaluate run=best dataset=photos dataset.path=PATH`.

The result is recorded as a child of the model's run. On other data than its own, images that the model was fitted on
are found first.
"""

from __future__ import annotations

from .cli.hydra_command import hydra_command
from .config import EvaluateConfig

main = hydra_command("evaluate", ".evaluation.reevaluation:evaluate", schema=EvaluateConfig, backend=True)

if __name__ == "__main__":
    main()
