"""Register a model and move an alias to it, unless it is worse: `python -m src.register run=best alias=champion`.

`rollback=true` gives the alias back to the version that held it before.
"""

from __future__ import annotations

from .cli.hydra_command import hydra_command
from .config import RegisterConfig

main = hydra_command("register", ".conversion.registration:register", schema=RegisterConfig)

if __name__ == "__main__":
    main()
