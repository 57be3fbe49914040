"""Search for better values: `python -m src.tune tuner=random|hyperband|bayesian|grid model=deep`.

keras-tuner's oracles propose values for the override keys of `space`; each trial is an ordinary `src.train` run below
one parent run. The same command again goes on with a search that was interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig

from .cli.composition import compose_checked
from .cli.hydra_command import hydra_command
from .config import Config, TuneConfig
from .config.roles import LAUNCH, without_roles
from .errors import ConfigError
from .train import train

if TYPE_CHECKING:
    from .search.oracle import Result, Trial


def tune(config: TuneConfig, overrides: Sequence[str] = ()) -> tuple[Trial, Result]:
    """Search, and give the best trial and its result; the experiment file that it names repeats it.

    Raises ConfigError before the first trial for a space of values that `src.train` does not accept, SweepError where
    too many trials fail in a row or none completes.
    """
    from .search.space import probes
    from .sweeps.pool import start_fork_server
    from .training.backend import import_backend

    own = [override for override in overrides if not override.startswith(("output=", "print_config="))]  # of the search
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
    from .search.session import conclude, run_search

    return conclude(run_search(config, base, compose_trial, train))


def compose_trial(overrides: Sequence[str]) -> Config:
    """The config of `python -m src.train OVERRIDES`. Raises ConfigError."""
    return compose_checked(overrides, Config)


main = hydra_command(tune, schema=TuneConfig, config_name="tune")

if __name__ == "__main__":
    main()
