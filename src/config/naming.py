"""What a run is called when nobody gave it a name."""

from __future__ import annotations

from collections.abc import Sequence

from .run import Config

# Groups whose option already stands in the name, and values that say how a run is shown rather than what it is.
_NAMED_OPTIONS = ("model", "aug", "optimizer", "seed", "dataset", "name", "trainer")
_UNNAMED = (
    "tracking",
    "output",
    "print_config",
    "hydra",
    "+experiment",
    "experiment",
    "dataset.path",
    "dataset.cache",
    "evaluation.figures",
)


def run_name(config: Config, overrides: Sequence[str] = ()) -> str:
    """A name that says what differs: `deep-strong-adam-s0`, and after it the values changed on the command line."""
    if config.name:
        return config.name
    words = [config.model.name, config.aug.name, config.optimizer.name]
    if config.dataset.name != "synthetic":
        words.insert(0, config.dataset.name)
    if config.trainer.name != "default":
        words.append(config.trainer.name)
    last = dict(override.partition("=")[::2] for override in overrides)  # of a key given twice the last counts
    for key, value in last.items():
        if key not in _NAMED_OPTIONS and not key.startswith(_UNNAMED):
            words.append(f"{key.rpartition('.')[2]}={value}")
    return "-".join([*words, f"s{config.seed}"])
