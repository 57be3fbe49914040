"""The start of a search: its space checked before the first trial, its workers begun while Keras is imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig

from ..cli.composition import compose_checked
from ..config import Config, TuneConfig
from ..config.base import LAUNCH, without_roles
from ..config.identity import Request
from ..errors import ConfigError

if TYPE_CHECKING:
    from .oracle import Result, Trial


def tune(config: TuneConfig, request: Request) -> tuple[Trial, Result]:
    """Search, and give the best trial and its result; the experiment file that it names repeats it.

    Raises ConfigError before the first trial for a space of values that `src.train` does not accept, SweepError where
    too many trials fail in a row or none completes.
    """
    from ..sweeps.pool import start_fork_server
    from ..training.backend import import_backend
    from .space import probes

    own = [
        override for override in request.overrides if not override.startswith(("output=", "print_config="))
    ]  # of the search
    base = without_roles(own, TuneConfig, LAUNCH)
    if not any(override.startswith("model=") for override in base):
        # The default model of a search is not that of a run.
        base = [f"model={HydraConfig.get().runtime.choices['model']}", *base]
    compose_trial(base)
    for probe in probes(config.space):
        try:
            if compose_trial([*base, *probe]).trainer.overfit:
                raise ConfigError("trainer.overfit=true validates no trial")
        except ConfigError as error:
            raise ConfigError(f"{' '.join(probe)}, which the space tries: {error}") from None
    if config.tuner.backend == "workers":
        start_fork_server()
    import_backend()  # quietly, and while the fork server does the same
    from ..training.run import train
    from .session import conclude, run_search

    return conclude(run_search(config, request, base, compose_trial, train))


def compose_trial(overrides: Sequence[str]) -> Config:
    """The config of `python -m src.train OVERRIDES`. Raises ConfigError."""
    return compose_checked(overrides, Config)
