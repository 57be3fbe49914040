import numpy as np
import pandas as pd
import pytest
from PIL import Image

from src.config import EvaluationConfig
from src.evaluation import corruptions as noise_fields
from src.evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt, fractal, plasma
from src.evaluation.robustness import mean_corruption_error, measure_robustness, robustness_heat_map
from src.metrics.calibration import Decision

PAPER = """gaussian_noise shot_noise impulse_noise defocus_blur glass_blur motion_blur zoom_blur snow frost fog
brightness contrast elastic_transform pixelate jpeg_compression"""


def scene(size: int = 64) -> np.ndarray:
    """An image with edges, flats and colors, (1, size, size, 3)."""
    rows, columns = np.mgrid[:size, :size] / size
    image = np.stack([rows, columns, (np.hypot(rows - 0.5, columns - 0.5) < 0.3) * 0.8], axis=-1) * 0.6 + 0.2
    return (image * 255).astype(np.uint8)[None]


def distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(float) - second).mean())


def test_the_fifteen_corruptions_of_the_paper_are_there() -> None:
    assert list(CORRUPTIONS) == PAPER.split()
    assert all(len(strengths) == len(SEVERITIES) for _, strengths in CORRUPTIONS.values())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_changes_the_image_repeats_from_its_seed_and_keeps_its_shape(name: str) -> None:
    clean = scene()
    weak, strong = (corrupt(clean, name, severity) for severity in (1, 5))
    assert weak.shape == strong.shape == clean.shape
    assert weak.dtype == np.uint8
    assert distance(weak, clean) > 0.3
    assert np.array_equal(strong, corrupt(clean, name, 5))
    # In the paper too, strong frost darkens as it covers, and elastic's first two severities bend, the others ripple.
    if name not in ("elastic_transform", "frost"):
        assert distance(strong, clean) > distance(weak, clean)


def test_a_set_may_be_corrupted_in_chunks() -> None:
    images = np.repeat(scene(), 3, axis=0)
    whole = corrupt(images, "gaussian_noise", 3)
    assert np.array_equal(whole[2:], corrupt(images[2:], "gaussian_noise", 3, first=2))
    assert not np.array_equal(whole[0], whole[1])


def test_noise_has_the_published_deviation() -> None:
    gray = np.full((1, 128, 128, 3), 128, dtype=np.uint8)
    assert corrupt(gray, "gaussian_noise", 1).std() / 255 == pytest.approx(0.08, rel=0.05)
    changed = corrupt(gray, "impulse_noise", 5) != 128
    assert changed.mean() == pytest.approx(0.27, abs=0.02)


def test_blurs_keep_the_mean_and_contrast_draws_towards_it() -> None:
    clean = scene()
    for name in ("defocus_blur", "glass_blur", "motion_blur"):
        assert corrupt(clean, name, 5).mean() == pytest.approx(clean.mean(), abs=3)
    low = corrupt(clean, "contrast", 5)
    assert low.std(axis=(1, 2)) == pytest.approx(clean.std(axis=(1, 2)) * 0.05, abs=1)


def test_fractal_noise_is_rougher_the_less_each_octave_decays() -> None:
    def roughness(decay: float) -> float:
        field = fractal(128, np.random.default_rng(0), decay)
        assert (field.min(), field.max()) == (0, 1)
        return float(np.abs(np.diff(field)).mean())

    assert roughness(1.4) > roughness(2.0) > roughness(3.0)


def test_fogs_octaves_weaken_as_in_the_published_code() -> None:
    """New points of one step are the mean of their neighbors and uniform noise, which falls by the decay's square."""
    field = plasma(256, np.random.default_rng(0), 2.0).astype(float)

    def noise(step: int) -> float:
        corners = field[::step, ::step]
        rows = corners + np.roll(corners, -1, axis=0)
        added = field[step // 2 :: step, step // 2 :: step] - (rows + np.roll(rows, -1, axis=1)) / 4
        return float(np.abs(added).max())  # of a uniform distribution, its limit

    def noise_beside(step: int) -> float:
        half, corners = step // 2, field[::step, ::step]
        centers = field[half::step, half::step]
        neighbors = centers + np.roll(centers, 1, axis=0) + corners + np.roll(corners, -1, axis=1)
        return float(np.abs(field[::step, half::step] - neighbors / 4).max())

    assert (field.min(), field.max()) == (0, 1)
    for step in (16, 8, 4):
        assert noise(step) / noise(step // 2) == pytest.approx(4.0, rel=0.1)
        assert noise_beside(step) == pytest.approx(noise(step), rel=0.1)


def test_snow_whitens_by_luma() -> None:
    size = 64
    blue, green = (np.zeros((1, size, size, 3), dtype=np.uint8) for _ in range(2))
    blue[..., 2], green[..., 1] = 120, 120
    brighter = np.median(corrupt(green, "snow", 1)[..., 0]) - np.median(corrupt(blue, "snow", 1)[..., 0])
    assert brighter == pytest.approx(0.2 * 1.5 * (0.587 - 0.114) * 120, abs=2)


def test_elastic_lengths_are_fractions_of_244_pixels_as_published(monkeypatch: pytest.MonkeyPatch) -> None:
    spread = []
    monkeypatch.setattr(noise_fields, "smooth_field", lambda field, deviation: spread.append(deviation) or 0 * field)
    corrupt(scene(224), "elastic_transform", 3)
    assert spread == [pytest.approx(244 * 0.01)] * 2


def brightness_classifier(images: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-(images.mean(axis=(1, 2, 3)) - 128) / 4))


def test_a_model_that_reads_brightness_breaks_under_brightness_and_survives_blur() -> None:
    labels = np.arange(60) % 2
    images = np.repeat(scene(32), 60, axis=0).astype(int) - 128 + np.where(labels, 150, 106)[:, None, None, None]
    images = images.clip(0, 255).astype(np.uint8)
    evaluated = np.arange(1, 60, 2)[::-1]  # all of class 1, and then some of class 0
    evaluated = np.r_[evaluated, 0:40:2]
    predictions = pd.DataFrame(
        {"label": labels[evaluated], "group": evaluated, "probability": brightness_classifier(images[evaluated])},
        index=evaluated,
    )
    config = EvaluationConfig(corruptions=[5], corruption_images=40)
    found = measure_robustness(brightness_classifier, images, predictions, Decision(), config)
    accuracy = found.table.set_index("corruption")["accuracy"]
    assert found.images == 40
    assert len(found.table) == len(CORRUPTIONS)
    assert accuracy["brightness"] < 0.7
    assert accuracy["defocus_blur"] == found.clean.value == 1.0
    assert found.metrics("test")["test/corrupted_accuracy"] == pytest.approx(accuracy.mean())
    assert robustness_heat_map(found).axes[0].get_xlabel() == "Severity"


def test_mean_corruption_error_is_relative_to_the_baseline() -> None:
    baseline = pd.DataFrame(
        {"corruption": ["fog", "fog", "snow", "snow"], "severity": [1, 2, 1, 2], "accuracy": [0.9, 0.7, 0.8, 0.8]}
    )
    half = baseline.assign(accuracy=[0.95, 0.85, 0.9, 0.9])
    assert mean_corruption_error(baseline, baseline) == pytest.approx(1.0)
    assert mean_corruption_error(half, baseline) == pytest.approx(0.5)


def test_mean_corruption_error_is_of_the_severities_that_both_were_tested_at() -> None:
    baseline = pd.DataFrame({"corruption": "fog", "severity": [1, 2, 3, 4, 5], "accuracy": 0.8})
    assert mean_corruption_error(baseline[2:3], baseline) == pytest.approx(1.0)
    assert mean_corruption_error(baseline, baseline[2:3]) == pytest.approx(1.0)
    assert np.isnan(mean_corruption_error(baseline[:2], baseline[2:]))
    assert np.isnan(mean_corruption_error(baseline.assign(corruption="snow"), baseline))


def test_small_images_are_corrupted_too() -> None:
    small = np.asarray(Image.fromarray(scene()[0]).resize((24, 24)))[None]
    for name in CORRUPTIONS:
        assert corrupt(small, name, 5).shape == small.shape
