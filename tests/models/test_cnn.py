from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format

from src.config import Config, ModelConfig
from src.errors import ConfigError
from src.evaluation.saliency import grad_cam
from src.models.backbones import imagenet_weights
from src.models.classifier import backbone, count_flops, create_classifier, last_convolution
from src.models.weights import finished, load_weights, weights_digest
from src.training.backend import reset


def test_baseline_is_the_tutorials_network(make_config: Callable[..., Config]) -> None:
    model = create_classifier(make_config("model=baseline").model, image_size=256)
    assert model.count_params() == 3_696_625
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == [
        "InputLayer",
        "Rescaling",
        *["Conv2D", "Activation", "MaxPooling2D"] * 3,
        "Flatten",
        "Dense",
        "Dense",
    ]
    assert model.layers[-1].activation is keras.activations.sigmoid


def test_mobile_stays_under_300_000_parameters(make_config: Callable[..., Config]) -> None:
    assert create_classifier(make_config("model=mobile").model, image_size=256).count_params() < 300_000


@pytest.mark.parametrize("option", ["baseline", "deep", "residual", "mobile"])
@pytest.mark.parametrize("image_size", [32, 57])
def test_every_model_gives_a_probability_for_raw_pixels(
    make_config: Callable[..., Config], option: str, image_size: int
) -> None:
    model = create_classifier(make_config(f"model={option}").model, image_size)
    images = np.random.default_rng(0).integers(0, 256, (3, image_size, image_size, 3), np.uint8)
    probabilities = np.asarray(model(images))
    assert probabilities.shape == (3, 1)
    assert probabilities.dtype == np.float32
    assert ((probabilities > 0) & (probabilities < 1)).all()
    assert len(last_convolution(model).output.shape) == 4


def test_each_value_of_the_family_changes_the_network(make_config: Callable[..., Config]) -> None:
    base = make_config("model=deep").model
    variants = [
        base,
        replace(base, filters=[8, 8]),
        replace(base, convolutions=1),
        replace(base, kernel_size=5),
        replace(base, convolution="separable"),
        replace(base, padding="valid", filters=[8], residual=False),
        replace(base, stem_stride=1, head="flatten"),
        replace(base, head="flatten"),
        replace(base, normalization="none"),
        replace(base, residual=False),
        replace(base, dense=[64]),
    ]
    assert len({create_classifier(variant, 128).count_params() for variant in variants}) == len(variants)
    layered = create_classifier(replace(base, normalization="group", dropout=0.1, spatial_dropout=0.1), 64)
    kinds = {type(layer).__name__ for layer in layered.layers}
    assert {"GroupNormalization", "Dropout", "SpatialDropout2D"} <= kinds


def test_the_light_and_contrast_of_standardized_images_are_nothing_to_the_model(
    make_config: Callable[..., Config],
) -> None:
    images = np.random.default_rng(0).uniform(0, 255, (3, 64, 64, 3)).astype("float32")
    moved = {}
    for option in ("deep", "residual"):
        keras.utils.set_random_seed(0)
        model = create_classifier(make_config(f"model={option}").model, 64)
        moved[option] = np.abs(model(images) - model(0.5 * images + 60)).max()
    assert moved["deep"] < 1e-4
    assert moved["residual"] > 10 * moved["deep"]


def test_an_image_too_small_for_the_stages_is_a_config_error(make_config: Callable[..., Config]) -> None:
    config = make_config("model=baseline").model
    assert create_classifier(config, 22) is not None
    with pytest.raises(ConfigError, match=r"dataset\.image_size=21: too small for the 3 stages of model=baseline"):
        create_classifier(config, 21)


def test_an_enlarged_image_is_interpolated_before_the_first_layer(make_config: Callable[..., Config]) -> None:
    config = make_config("model=deep", "model.standardize=false", "model.residual=false", "model.stem_stride=1").model
    small, large = create_classifier(replace(config, enlarge=2), 24), create_classifier(config, 48)
    large.set_weights(small.get_weights())
    images = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), np.uint8)
    enlarged = keras.ops.image.resize(images, (48, 48), interpolation="bilinear")
    np.testing.assert_allclose(small(images), large(enlarged), atol=1e-5)
    assert count_flops(small) == count_flops(large)
    assert grad_cam(small, images).shape == (3, 24, 24)


def test_flops_are_twice_the_multiply_adds(make_config: Callable[..., Config]) -> None:
    baseline = create_classifier(make_config("model=baseline").model, 256)
    convolutions = 254**2 * 27 * 16 + 125**2 * 144 * 32 + 60**2 * 288 * 16
    assert count_flops(baseline) == 2 * (convolutions + 30 * 30 * 16 * 256 + 256)
    inputs = keras.Input((8, 8, 3))
    separable = keras.Model(inputs, keras.layers.SeparableConv2D(5, 3, padding="same")(inputs))
    assert count_flops(separable) == 2 * 64 * (9 * 3 + 3 * 5)


def test_the_cost_of_a_layer_that_is_not_known_makes_the_whole_unknown() -> None:
    inputs = keras.Input((8, 8, 3))
    assert count_flops(keras.Model(inputs, keras.layers.Conv2DTranspose(2, 3)(inputs))) is None


def test_nested_models_and_depthwise_convolutions_are_counted() -> None:
    inputs = keras.Input((8, 8, 3))
    block = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.DepthwiseConv2D(3, padding="same")])
    model = keras.Model(inputs, keras.layers.Conv2D(5, 1)(block(inputs)))
    assert count_flops(model) == 2 * 64 * (9 * 3 + 3 * 5)


def test_finished_keeps_the_weights_and_computes_in_float32(make_config: Callable[..., Config]) -> None:
    config = make_config("model=deep")
    reset(0, "bfloat16")
    trained = create_classifier(config.model, config.dataset.image_size)
    final = finished(trained, config)
    reset(0, "float32")
    assert weights_digest(final) == weights_digest(trained)
    assert {layer.compute_dtype for layer in final.layers} == {"float32"}
    assert "bfloat16" in {layer.compute_dtype for layer in trained.layers}


def test_a_backbone_takes_keras_weights_and_is_costed_and_explained(tmp_path: Path) -> None:
    config = ModelConfig(name="small", architecture="mobilenet_v3_small", gray=True, head="global_average", dense=[])
    source, model = (create_classifier(config, 32) for _ in range(2))
    with h5py.File(tmp_path / "no_top.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, backbone(source))
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    load_weights(model, tmp_path / "no_top.h5", "model.weights=no_top.h5")
    assert weights_digest(backbone(model)) == weights_digest(backbone(source)) != weights_digest(source)
    assert count_flops(model) > 1e6
    assert grad_cam(model, images).shape == (2, 32, 32)
    with pytest.raises(ConfigError, match=r"^key: no_top\.h5 does not hold the weights of this network: the arch"):
        load_weights(create_classifier(ModelConfig(name="cnn"), 32), tmp_path / "no_top.h5", "key")


def test_weights_that_cannot_be_fetched_are_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*_: object) -> None:
        raise OSError

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("pooch.retrieve", offline)
    with pytest.raises(ConfigError, match=rf"no_top_v2\.h5 cannot be fetched; put it into {tmp_path}/models, or begin"):
        imagenet_weights("mobilenet_v3_small")
    file = tmp_path / "models" / "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5"
    file.parent.mkdir()
    file.touch()
    assert imagenet_weights("mobilenet_v3_small") == file


def test_a_gray_model_sees_lightness_only() -> None:
    model = create_classifier(ModelConfig(name="gray", gray=True, filters=[4], dense=[]), 16)
    blue = np.zeros((1, 16, 16, 3), "float32")
    blue[..., 2] = 200
    gray = np.full_like(blue, 200 * 0.1140)
    np.testing.assert_allclose(model(blue), model(gray), atol=1e-4)
