"""Prepare a data set without training and report on it: `python -m src.prepare dataset=photos dataset.path=PATH`.

With a second one, `dataset@leak_check=photos leak_check.path=OTHER`, it checks whether the two share images.
"""

from __future__ import annotations

from .cli.hydra_command import hydra_command
from .config import PrepareConfig

main = hydra_command("prepare", ".reports.preparation:prepare_and_report", schema=PrepareConfig)

if __name__ == "__main__":
    main()
