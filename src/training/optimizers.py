"""Optimizers and learning-rate schedules."""

from __future__ import annotations

import keras

from ..config import OptimizerConfig


def create_optimizer(
    config: OptimizerConfig, steps_per_epoch: int, epochs: int, *, ema: float = 0.0
) -> keras.optimizers.Optimizer:
    """The optimizer that `config` names, with its schedule laid over `epochs` of `steps_per_epoch` updates.

    `ema` is the momentum of a moving average of the weights (Polyak and Juditsky 1992, doi 10.1137/0330046); 0 is none.

    `plateau` starts constant here; `plateau_callback` lowers the rate while fitting. Where the global dtype policy
    is mixed_float16 the loss is scaled, so that small gradients do not vanish (Micikevicius et al. 2018, arXiv
    1710.03740).
    """
    common = {
        "learning_rate": learning_rate(config, steps_per_epoch, epochs),
        "weight_decay": config.weight_decay or None,
        "global_clipnorm": config.clip_norm,
        **({"use_ema": True, "ema_momentum": ema} if ema else {}),
    }
    if config.name == "sgd":
        optimizer = keras.optimizers.SGD(momentum=config.momentum, nesterov=config.momentum > 0, **common)
    elif config.name == "adamw":
        optimizer = keras.optimizers.AdamW(beta_1=config.momentum, **common | {"weight_decay": config.weight_decay})
    else:
        optimizer = keras.optimizers.Adam(beta_1=config.momentum, **common)
    if config.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    if keras.config.dtype_policy().name == "mixed_float16":
        # Keras does this itself for a model of that policy; ours is float32 around a classifier that computes in it.
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def learning_rate(
    config: OptimizerConfig, steps_per_epoch: int, epochs: int
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """A constant rate, or a linear warm-up followed by a constant or by half a cosine (Loshchilov & Hutter, 2017)."""
    warmup_steps = round(config.warmup_epochs * steps_per_epoch)
    if config.schedule != "cosine" and not warmup_steps:
        return config.learning_rate
    return keras.optimizers.schedules.CosineDecay(
        # The first of the warm-up's updates counts too: the rate rises from target / (steps + 1), not from 0.
        initial_learning_rate=config.learning_rate / (warmup_steps + 1),
        decay_steps=max(1, epochs * steps_per_epoch - warmup_steps),
        alpha=config.final_learning_rate if config.schedule == "cosine" else 1.0,
        warmup_target=config.learning_rate if warmup_steps else None,
        warmup_steps=warmup_steps,
    )


def plateau_callback(config: OptimizerConfig, monitor: str, mode: str) -> list[keras.callbacks.Callback]:
    """Lower the rate by `plateau_factor` after `plateau_patience` epochs without improvement, where configured."""
    if config.schedule != "plateau":
        return []
    return [
        keras.callbacks.ReduceLROnPlateau(
            monitor=monitor, mode=mode, factor=config.plateau_factor, patience=config.plateau_patience
        )
    ]
