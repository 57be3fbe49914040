"""The search space: the config's ranges as keras-tuner's hyperparameters, and a trial's values as overrides."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ..config import Config, ParameterConfig, TunerConfig

if TYPE_CHECKING:
    import keras_tuner


Space = Mapping[str, ParameterConfig]


def hyperparameters(space: Space) -> keras_tuner.HyperParameters:
    """Return keras-tuner's form of `space`. Choices are text, as on the command line, unless all are numbers."""
    import keras_tuner

    found = keras_tuner.HyperParameters()
    for key, parameter in space.items():
        with contextlib.ExitStack() as scopes:
            for parent, accepted in parameter.conditions.items():
                scopes.enter_context(found.conditional_scope(parent, choices(accepted, like=space[parent].choice)))
            _register(found, key, parameter)
    return found


def _register(found: keras_tuner.HyperParameters, key: str, parameter: ParameterConfig) -> None:
    if parameter.choice is not None:
        found.Choice(key, choices(parameter.choice))
        return
    sampling = "log" if parameter.log else "linear"
    if parameter.integer:
        low, high, step = (int(each) for each in (parameter.min or 0, parameter.max or 0, parameter.step or 1))
        found.Int(key, low, high, step=None if parameter.log else step, sampling=sampling)
    elif parameter.step is not None:
        found.Choice(key, stepped(parameter))
    else:
        found.Float(key, parameter.min, parameter.max, sampling=sampling)


def stepped(parameter: ParameterConfig) -> list[float]:
    """Return the numbers from `min` to `max`, `step` apart, computed in decimals.

    keras-tuner computes with binary fractions, in which 0.6 // 0.1 is 5, and leaves the last one out.
    """
    low, high, step = (Decimal(str(each)) for each in (parameter.min, parameter.max, parameter.step))
    return [float(low + number * step) for number in range(int((high - low) / step) + 1)]


def choices(values: Sequence[Any], like: Sequence[Any] | None = None) -> list[Any]:
    """Return numbers as they are, or as floats if one is; anything else as the text of an override.

    With `like`, `values` are some of these and become what all of them would.
    """
    kind = like if like is not None else values
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in kind):
        return [as_text(value) for value in values]
    return [float(value) for value in values] if any(isinstance(value, float) for value in kind) else list(values)


def as_text(value: Any) -> str:
    """Return a value as Hydra's command line has it: `[16,32]`, `true`, `null`, `0.001`."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def overrides(values: Mapping[str, Any], space: Space) -> list[str]:
    """Return a trial's values as overrides, whole groups (`aug=light`) first so that they do not undo single values."""
    shown = {key: _rounded(values[key], space[key]) for key in space if key in values and active(key, values, space)}
    chosen = [f"{key}={as_text(value)}" for key, value in shown.items()]
    return sorted(chosen, key=lambda override: "." in override.partition("=")[0])


def _rounded(value: Any, parameter: ParameterConfig) -> Any:
    """A number sampled from a range without steps to four digits, as a person would write it."""
    exact = parameter.choice is not None or parameter.integer or parameter.step is not None
    return value if exact else float(f"{value:.4g}")


def active(key: str, values: Mapping[str, Any], space: Space) -> bool:
    """Return whether the conditions on `key` hold."""
    return all(
        active(parent, values, space) and values.get(parent) in choices(accepted, like=space[parent].choice)
        for parent, accepted in space[key].conditions.items()
    )


def probes(space: Space) -> list[list[str]]:
    """Return overrides that, composed one after the other, find every wrong value of the space."""
    return [
        [*_conditions_of(key, space), f"{key}={as_text(value)}"]
        for key, parameter in space.items()
        for value in (choices(parameter.choice) if parameter.choice is not None else _ends(parameter))
    ]


def _conditions_of(key: str, space: Space) -> list[str]:
    return [
        override
        for parent, accepted in space[key].conditions.items()
        for override in [
            *_conditions_of(parent, space),
            f"{parent}={as_text(choices(accepted, like=space[parent].choice)[0])}",
        ]
    ]


def _ends(parameter: ParameterConfig) -> list[Any]:
    ends = [parameter.min, parameter.max]
    return [int(end or 0) for end in ends] if parameter.integer else ends


def too_large(config: Config, tuner: TunerConfig) -> str:
    """Return why the model of `config` is above the search's caps, empty if it is not.

    Raise ConfigError for a model that cannot be built.
    """
    if tuner.max_parameters is None and tuner.max_flops is None:
        return ""
    import keras

    from ..models.classifier import create_classifier, model_cost

    keras.backend.clear_session()
    model = create_classifier(config.model, config.dataset.image_size)
    cost = model_cost(model)
    if tuner.max_parameters is not None and cost.parameters > tuner.max_parameters:
        return f"{cost.parameters:,} parameters, more than tuner.max_parameters={tuner.max_parameters}"
    if tuner.max_flops is not None and cost.flops is not None and cost.flops > tuner.max_flops:
        return f"{cost.flops:,} FLOPs an image, more than tuner.max_flops={tuner.max_flops}"
    return ""
