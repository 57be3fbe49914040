"""What a model would cost, known before it is trained."""

from __future__ import annotations

from src.config import Config, TunerConfig


def too_large(config: Config, tuner: TunerConfig) -> str:
    """Why the model that `config` describes is above the search's caps; empty where it is not.

    Raises ConfigError for a model that cannot be built.
    """
    if tuner.max_parameters is None and tuner.max_flops is None:
        return ""
    import keras

    from src.models.cnn import create_classifier
    from src.models.cost import count_flops

    keras.backend.clear_session()
    model = create_classifier(config.model, config.dataset.image_size)
    parameters, flops = model.count_params(), count_flops(model)
    if tuner.max_parameters is not None and parameters > tuner.max_parameters:
        return f"{parameters:,} parameters, more than tuner.max_parameters={tuner.max_parameters}"
    if tuner.max_flops is not None and flops > tuner.max_flops:
        return f"{flops:,} FLOPs a picture, more than tuner.max_flops={tuner.max_flops}"
    return ""
