"""Factors that vary from face to face: independent random ones, an expression, and where it shows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from .geometry import Box, Placement, bounding_box, brow_outline, mirrored, mouth_extent

Option = TypeVar("Option")

FACTORS_STREAM, DETAILS_STREAM = 0, 1

# An option that stands several times is that much more frequent.
HAIR_STYLES = ("bald", "buzz", "short", "side", "bangs", "bob", "long", "curly", "bun", "spiky", "beanie", "headscarf")
HAIR_COLORS = ("black", "black", "brown", "brown", "auburn", "blond", "gray", "red", "dyed")
BEARDS = ("none",) * 6 + ("stubble", "moustache", "goatee", "full")
GLASSES = ("none",) * 5 + ("round", "square", "tinted")
EYE_COLORS = ("brown", "brown", "hazel", "green", "blue", "gray")
OCCLUDERS = ("none",) * 9 + ("ball", "card", "hand")
# The weakest pull of a cue towards its class and its deviation apart from it: the mouth decides, brows and eyes hint.
_MOUTH_CUE, _BROW_CUE, _EYE_CUE = (0.7, 0.12), (0.45, 0.25), (0.45, 0.25)


@dataclass(frozen=True)
class FaceFactors:
    """All that is sampled for one face. All but the three factors of the expression are independent of the label.

    Lengths marked F are in half heights of the face; everything about the image is a fraction of its side.
    """

    label: int
    """1 happy, 0 sad."""
    smile: float
    """Expression: curvature of the mouth, corners down (-1) to corners up (1)."""
    brow_expression: float
    """Expression: inner ends of the brows pulled up (-1) to relaxed and arched (1)."""
    eye_expression: float
    """Expression: hanging upper lids (-1) to lower lids pushed up by the cheeks (1)."""
    mouth_opening: float
    """0 closed to 1 wide open."""
    mouth_width: float
    """1 is usual."""
    lip_fullness: float
    """1 is usual."""
    teeth: bool
    """True if teeth show in an open mouth."""
    skin_tone: int
    """1 lightest to 10 darkest, after the steps of the Monk Skin Tone scale."""
    face_width: float
    """Half the width, F."""
    jaw: float
    """0 pointed chin to 1 square jaw."""
    hair_style: str
    hair_color: str
    parting: int
    """The side to which hair and headwear are swept: -1 or 1."""
    beard: str
    glasses: str
    eye_color: str
    eye_openness: float
    """Height of the open eye; 1 is usual."""
    eye_spacing: float
    """Added distance between the eyes, F."""
    gaze: float
    """Direction of the look: -1 left to 1 right."""
    brow_lift: float
    """-1 low to 1 high."""
    brow_thickness: float
    """F."""
    tilt: float
    """Turn of the head, degrees clockwise."""
    scale: float
    """Half height of the face."""
    center_x: float
    center_y: float
    light_direction: int
    """Where the light comes from: degrees clockwise from the right of the image."""
    light_strength: float
    """0 even light to 1 strong shading."""
    exposure: float
    """Overall brightness; 1 is usual."""
    background_hue: int
    """Degrees on the color circle."""
    background_lightness: float
    """0 dark to 1 light."""
    clutter: int
    """Number of things in the background."""
    occluder: str
    occluder_direction: int
    """Where the occluder is seen from the face's center: degrees clockwise from the right."""
    occluder_size: float
    """Radius, F (also sampled where there is no occluder)."""
    blur: float
    """Radius of the blur."""
    noise: float
    """Amplitude of the sensor noise, gray levels."""
    mouth_box: Box
    left_brow_box: Box
    """The brow on the left of the image."""
    right_brow_box: Box

    @cached_property
    def place(self) -> Placement:
        """Placement of face coordinates in the image."""
        return Placement(self.center_x, self.center_y, self.scale, self.tilt)

    def columns(self, *, boxes: bool = True) -> dict[str, int | float | str | bool]:
        """Return one flat row of a table: every field by name, and `boxes` as `mouth_left`, `mouth_top` and so on."""
        row: dict[str, int | float | str | bool] = {}
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            if isinstance(value, Box):
                feature = name.removesuffix("_box")
                row |= {f"{feature}_{side}": place for side, place in value._asdict().items()} if boxes else {}
            else:
                row[name] = value
        return row


def stream(seed: int, index: int, purpose: int) -> np.random.Generator:
    """Return the random numbers of face `index` for one `purpose`, the same on every machine."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(index, purpose))))


class _Sampler:
    """Numbers and options at random. Only methods of the generator that use no floating-point functions are called."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator

    def number(self, low: float, high: float) -> float:
        """Return a uniform number from `low` to `high`, to four digits."""
        return round(low + (high - low) * self._generator.random(), 4)

    def integer(self, low: int, high: int) -> int:
        """Return a uniform integer from `low` to `high`, both included."""
        return int(self._generator.integers(low, high, endpoint=True))

    def option(self, options: tuple[Option, ...]) -> Option:
        return options[self.integer(0, len(options) - 1)]

    def often_zero(self, percent: int, low: float, high: float) -> float:
        """Return 0 in `percent` of 100 cases, else a uniform number. Draws two numbers either way."""
        zero, value = self.integer(0, 99) < percent, self.number(low, high)
        return 0.0 if zero else value


def sample_factors(seed: int, index: int, ambiguity: float = 0.0) -> FaceFactors:
    """Return the factors of face `index` of the set named by `seed`, without drawing it.

    Faces are happy and sad in turn. `ambiguity` moves the two classes closer, from 0 (apart) to 1 (of one
    distribution), and changes nothing but the expression: all else about a face stays.
    """
    sampler = _Sampler(stream(seed, index, FACTORS_STREAM))
    label = 1 - index % 2
    smile, brows, eyes = (
        _expressed(sampler, 2 * label - 1, ambiguity, *cue) for cue in (_MOUTH_CUE, _BROW_CUE, _EYE_CUE)
    )
    opening, width, fullness = sampler.often_zero(45, 0.25, 1.0), sampler.number(0.85, 1.15), sampler.number(0.6, 1.3)
    lift, thickness, spacing = sampler.number(-1.0, 1.0), sampler.number(0.06, 0.1), sampler.number(-0.05, 0.06)
    place = Placement(
        x=sampler.number(0.44, 0.56),
        y=sampler.number(0.42, 0.53),
        scale=sampler.number(0.27, 0.36),
        tilt=sampler.number(-12.0, 12.0),
    )
    brow = brow_outline(brows, lift, thickness, spacing)
    return FaceFactors(
        label=label,
        smile=smile,
        brow_expression=brows,
        eye_expression=eyes,
        mouth_opening=opening,
        mouth_width=width,
        lip_fullness=fullness,
        brow_lift=lift,
        brow_thickness=thickness,
        eye_spacing=spacing,
        center_x=place.x,
        center_y=place.y,
        scale=place.scale,
        tilt=place.tilt,
        **_appearance(sampler),
        **_photography(sampler),
        mouth_box=bounding_box(place(mouth_extent(smile, opening, width, fullness))),
        left_brow_box=bounding_box(place(mirrored(brow))),
        right_brow_box=bounding_box(place(brow)),
    )


def _expressed(sampler: _Sampler, sign: int, ambiguity: float, weakest: float, deviation: float) -> float:
    """Return one cue of the expression, -1 to 1.

    Its strength towards the class, at least `weakest`, fades with `ambiguity`; its `deviation`, which has nothing to do
    with the class, grows with it.
    """
    towards_class = sign * (1.0 - ambiguity) * sampler.number(weakest, 0.9)
    apart = (deviation + (0.7 - deviation) * ambiguity) * sampler.number(-1.0, 1.0)
    return round(min(max(towards_class + apart, -1.0), 1.0), 4)


def _appearance(sampler: _Sampler) -> dict[str, Any]:
    return {
        "teeth": sampler.integer(0, 99) < 60,
        "skin_tone": sampler.integer(1, 10),
        "face_width": sampler.number(0.70, 0.84),
        "jaw": sampler.number(0.0, 1.0),
        "hair_style": sampler.option(HAIR_STYLES),
        "hair_color": sampler.option(HAIR_COLORS),
        "parting": sampler.option((-1, 1)),
        "beard": sampler.option(BEARDS),
        "glasses": sampler.option(GLASSES),
        "eye_color": sampler.option(EYE_COLORS),
        "eye_openness": sampler.number(0.8, 1.2),
        "gaze": sampler.number(-1.0, 1.0),
    }


def _photography(sampler: _Sampler) -> dict[str, Any]:
    return {
        "light_direction": sampler.integer(0, 359),
        "light_strength": sampler.number(0.0, 1.0),
        "exposure": sampler.number(0.8, 1.1),
        "background_hue": sampler.integer(0, 359),
        "background_lightness": sampler.number(0.0, 1.0),
        "clutter": sampler.integer(0, 10),
        "occluder": sampler.option(OCCLUDERS),
        "occluder_direction": sampler.integer(0, 359),
        "occluder_size": sampler.number(0.2, 0.36),
        "blur": sampler.often_zero(50, 0.001, 0.005),
        "noise": sampler.often_zero(40, 2.0, 14.0),
    }
