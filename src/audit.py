"""Find labels that are likely wrong: `python -m src.audit dataset=photos dataset.path=PATH model=residual`.

Each image is answered by a model that was trained on other groups; where it is sure of the other class, the label is
shown. The manifest that is written can be mended and trained on.
"""

from __future__ import annotations

from .cli.hydra_command import hydra_command
from .config import AuditConfig

main = hydra_command("audit", ".training.audit:audit", schema=AuditConfig)

if __name__ == "__main__":
    main()
