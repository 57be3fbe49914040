"""Evidence maps of a model's most confident predictions, and a test whether it looks at the face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..config import EvaluationConfig
from ..metrics.calibration import Decision, confidence
from ..metrics.pointing import PointingGame, pointing_game, region_columns
from ..models.predictions import Predict
from ..reports.style import GREEN, RED, sheet, show_image, styled
from .saliency import grad_cam, has_map, occlusion

if TYPE_CHECKING:
    import keras

    from ..data.prepared import PreparedDataset


@dataclass(frozen=True)
class Explanation:
    """Maps (n, size, size) by method for `images` (n, size, size, 3), whose predictions are the rows `predictions`.

    `pointing` holds the pointing game of each method, where the data set says where mouth and brows are.
    """

    images: NDArray[np.uint8]
    predictions: pd.DataFrame
    maps: dict[str, NDArray[np.float32]]
    pointing: dict[str, PointingGame]

    def metrics(self, split: str) -> dict[str, float]:
        """The pointing games' numbers under MLflow keys."""
        return {
            key: value
            for method, game in self.pointing.items()
            for key, value in game.metrics(f"{split}/{method}").items()
        }


def explain(
    predict: Predict,
    dataset: PreparedDataset,
    predictions: pd.DataFrame,
    decision: Decision,
    config: EvaluationConfig,
    model: keras.Model | None = None,
) -> Explanation:
    """Explain the most confident right and wrong of `predictions` (index: row in the data set) by occlusion, and by
    Grad-CAM where the Keras `model` is given and has a convolution; play the pointing game on as many as `config` says.
    """
    if model is not None and not has_map(model):
        model = None
    shown = _most_confident(predictions, decision.threshold, config.explanations)
    images = np.asarray(dataset.images[shown.index.to_numpy()])
    maps = {"occlusion": occlusion(predict, images)} if len(shown) else {}
    if model is not None and len(shown):
        maps = {"grad_cam": grad_cam(model, images)} | maps
    return Explanation(images, shown, maps, _play(predict, dataset, predictions, config, model))


def _most_confident(predictions: pd.DataFrame, threshold: float, count: int) -> pd.DataFrame:
    """Up to `count` rows, most confident first: right ones of both classes, then mistakes, at most half of all."""
    certain = confidence(predictions["probability"], threshold)
    ranked = predictions.iloc[np.argsort(-certain, kind="stable")]
    right = (ranked["probability"] >= threshold) == (ranked["label"] == 1)
    wrong = ranked[~right].head(count // 2)
    each = -(-(count - len(wrong)) // 2)
    return pd.concat([ranked[right].groupby("label").head(each).head(count - len(wrong)), wrong])


def _play(
    predict: Predict,
    dataset: PreparedDataset,
    predictions: pd.DataFrame,
    config: EvaluationConfig,
    model: keras.Model | None,
) -> dict[str, PointingGame]:
    """The pointing game on the first images of the split that have boxes; none where the data set has no boxes.

    With Grad-CAM where there is a model, because occlusion costs over a hundred passes an image.
    """
    table = dataset.table.iloc[predictions.index].set_axis(predictions.index)
    boxes = sorted(region_columns(list(table.columns)))
    table = table[table[boxes].notna().all(axis=1)].head(config.pointing_images)
    if table.empty or not boxes:
        return {}
    images = np.asarray(dataset.images[table.index.to_numpy()])
    if model is None:
        return {"occlusion": pointing_game(occlusion(predict, images), table)}
    return {"grad_cam": pointing_game(grad_cam(model, images), table)}


METHOD_NAMES = {"grad_cam": "Grad-CAM", "occlusion": "Occlusion"}


SIDE, HEAD, CAPTION, NAMES = 1.65, 0.4, 0.4, 0.35
"""Inches: side of an image, height of the title and of the captions, width of the methods' names."""


@styled
def explanation_sheet(explanation: Explanation, threshold: float, class_names: Sequence[str]) -> Figure:
    """A column per image: the image with its caption, then each method's map laid over it."""
    methods, top = list(explanation.maps), HEAD + CAPTION
    width = max(len(explanation.images) * SIDE + NAMES + 0.1, 5)
    title = "What the most confident predictions rest on"
    figure, ax = sheet(width, top + (len(methods) + 1) * SIDE + 0.05, title)
    for place, method in enumerate(methods, start=1):
        middle = top + (place + 0.5) * SIDE
        ax.text(NAMES / 2, middle, METHOD_NAMES[method], rotation=90, ha="center", va="center")
    rows = explanation.predictions.iterrows()
    for column, (image, (_, row)) in enumerate(zip(explanation.images, rows, strict=True)):
        left = NAMES + column * SIDE
        right = (row["probability"] >= threshold) == (row["label"] == 1)
        caption = f"P({class_names[1]})={row['probability']:.3f}\ntruly {class_names[int(row['label'])]}"
        middle, color = left + SIDE / 2, GREEN if right else RED
        ax.text(middle, top - 0.05, caption, ha="center", va="bottom", fontsize=9, color=color)
        show_image(ax, image, left, top, SIDE - 0.08)
        for place, method in enumerate(methods, start=1):
            importance, at = explanation.maps[method][column], (left, top + place * SIDE, SIDE - 0.08)
            show_image(ax, image.mean(axis=-1), *at, cmap="gray", vmin=0, vmax=255)
            most = max(float(importance.max()), 1e-9)
            show_image(ax, importance, *at, cmap="inferno", alpha=0.55, vmin=0, vmax=most)
    return figure
