"""Export a recorded model to a bundle: `python -m src.export run=best output=models/mine`.

Every format is compared with Keras on the validation images and measured; one past its tolerance fails the export,
and nothing is written. With `scene=`, two models become one bundle for photos: see `src.conversion.photo`. Each
may come from a bundle, as it is: `run=models/mine scene=models/happy_sad dataset=photos dataset.path=PATH`.
"""

from __future__ import annotations

from .cli.hydra_command import hydra_command
from .config import ExportConfig

main = hydra_command("export", ".conversion.export:export", schema=ExportConfig, backend=True)

if __name__ == "__main__":
    main()
