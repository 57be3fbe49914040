"""Bodies of the API, and its description as a page that needs nothing from another host."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import jinja2
from fastapi import FastAPI, Request
from markupsafe import Markup, escape
from pydantic import BaseModel, ConfigDict, Field, create_model
from starlette.responses import HTMLResponse

from ..runtime.predictor import AnswerVerdict, Predictor

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{{ info.title }}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><link rel="stylesheet" href="static/page.css">
<h1>{{ info.title }}</h1><p>{{ info.description }} In full: <a href="openapi.json">openapi.json</a>.</p>
<pre>curl {{ base }}v1/predict -F files=@photo.jpg -F files=@other.png{% if guarded %} \\
     -H "Authorization: Bearer $HAPPY_SAD_TOKEN"{% endif %}</pre>
<h2>An answer</h2><table>{% for name, field in answer.properties.items() %}
<tr><td><code>{{ name }}</code></td><td>{{ field.description | code }}</td></tr>{% endfor %}</table>
<p>The command, its tables and the MLflow model give the same fields.</p>
{% for path, methods in paths.items() %}{% for method, operation in methods.items() %}
<h2><code>{{ method.upper() }} {{ path }}</code></h2><p>{{ (operation.description or operation.summary) | code }}</p>
<table>{% for code, response in operation.responses.items() %}
<tr><td><code>{{ code }}</code></td><td>{{ response.description }}</td></tr>{% endfor %}</table>
{% for title, shown in examples(operation) %}<pre>{{ title }} {{ shown }}</pre>{% endfor %}
{% endfor %}{% endfor %}</html>"""


_MODEL = "happy_sad@0123456789ab"


def example(**values: Any) -> ConfigDict:
    """Return the model config that makes these values the example of a body in OpenAPI."""
    return ConfigDict(json_schema_extra={"examples": [values]})


class ErrorBody(BaseModel):
    """Why a request was not answered, in one line."""

    model_config = example(error="more than 64 megabytes")
    error: str


class StatusBody(BaseModel):
    """Health of the service."""

    model_config = example(status="ok")
    status: str


class ModelBody(BaseModel):
    """The model of the service; `card` is Markdown, `scores` value, low and high by split and name."""

    model_config = example(
        model=_MODEL,
        class_names=["sad", "happy"],
        image_size=48,
        threshold=0.5,
        temperature=0.9,
        dataset_digest="caa9af9a41925ec2",
        scores={"test": {"accuracy": [0.893, 0.86, 0.92]}},
        card="# Model card: happy_sad",
    )
    model: str
    class_names: list[str] = Field(description="Those of class 0 and class 1")
    image_size: int
    threshold: float = Field(
        description="From this probability of class 1 on the label is class 1, but of an image that is one face"
    )
    temperature: float
    dataset_digest: str
    scores: dict[str, dict[str, list[float]]]
    card: str


class FaceBody(BaseModel):
    """A face: what its own model says of it, and its place in fractions of the image, of which it may lead out."""

    label: str | None
    confidence: float | None
    verdict: AnswerVerdict
    left: float
    top: float
    width: float
    height: float


class InspectBody(BaseModel):
    """The answer for one image, as `/v1/predict` gives it, and its faces from left to right; with `evidence`, the
    upright image and the same colored by what supports the answer, as data URIs.
    """

    answer: dict[str, str | float | None]
    faces: list[FaceBody]
    image: str | None = None
    evidence: str | None = None


class CorrectionBody(BaseModel):
    """The label under which the image is kept, how many are, and what was said of it before."""

    model_config = example(label="happy", count=3, earlier="")
    label: str
    count: int
    earlier: str


def answer_types(class_names: Sequence[str]) -> tuple[type[BaseModel], type[BaseModel]]:
    """The body of one answer, with the fields of `Answer`, and that of all answers to a request."""
    negative, positive = class_names
    name = f"p_{positive}"
    said = {"path": "photo.jpg", "label": positive, name: 0.93, "confidence": 0.93, "verdict": "ok", "detail": ""}
    shown = said | {"evidence": "1 face"}
    described = {
        "path": (str, "The file's name in the form, or `body`"),
        "label": (str | None, f"`{positive}` or `{negative}`; null unless the verdict is `ok`"),
        name: (float | None, f"Calibrated probability of `{positive}`, from 0 to 1; null where nothing was evaluated"),
        "confidence": (float | None, "Calibrated probability of the label; null where there is none"),
        "verdict": (AnswerVerdict, "`ok`; `unsure`: no class is likely enough; `no_face`; `unreadable`: no image"),
        "detail": (str, "Why there is no answer"),
        "evidence": (str, "What the answer rests on, such as `2 faces` or `whole image, no face found`"),
    }
    fields: dict[str, Any] = {key: (kind, Field(description=text)) for key, (kind, text) in described.items()}
    answer = create_model(
        "AnswerBody",
        __doc__="One image's answer and what it rests on.",
        __config__=example(**shown),
        **fields,
    )
    body = create_model(
        "PredictBody",
        __doc__="Answers in the order of the images, the model that gave them, and the seconds that they took.",
        __config__=example(model=_MODEL, answers=[shown], seconds=0.02),
        model=(str, ...),
        answers=(list[answer], ...),  # type: ignore[valid-type]
        seconds=(float, ...),
    )
    return answer, body


def model_body(predictor: Predictor) -> ModelBody:
    """Describe a predictor's model."""
    bundle = predictor.bundle
    return ModelBody(
        model=predictor.model_id,
        class_names=list(bundle.class_names),
        image_size=bundle.image_size,
        threshold=predictor.threshold,
        temperature=bundle.temperature,
        dataset_digest=bundle.dataset_digest,
        scores=bundle.scores,
        card=bundle.card(),
    )


def errors(**described: str) -> dict[int | str, dict[str, Any]]:
    """Responses with an `ErrorBody` for OpenAPI, by their status behind an underscore: `_413="Too large"`."""
    return {int(status[1:]): {"description": text, "model": ErrorBody} for status, text in described.items()}


def request_body(max_images: int) -> dict[str, Any]:
    """A form of images, or one image, as OpenAPI has it."""
    image = {"type": "string", "format": "binary"}  # an empty file among others gets a verdict
    images = {"type": "array", "items": image, "minItems": 1, "maxItems": max_images}
    form = {"type": "object", "properties": {"files": images}, "required": ["files"]}
    return {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": form},
            "application/octet-stream": {"schema": image | {"minLength": 1}},
        },
    }


def add_description(service: FastAPI, *, guarded: bool) -> None:
    """Add `/docs`; `guarded` shows where the token goes."""

    @service.get("/docs", include_in_schema=False)
    def docs(request: Request) -> HTMLResponse:
        environment = jinja2.Environment(autoescape=True)
        environment.filters["code"] = lambda text: Markup(re.sub("`(.*?)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704
        page = environment.from_string(_PAGE)
        described = service.openapi()
        schemas = described["components"]["schemas"]

        def examples(operation: dict[str, Any]) -> list[tuple[str, str]]:
            asked, given = operation.get("requestBody", {}), operation["responses"].get("200", {})
            found = [(">", _example(asked, schemas)), ("<", _example(given, schemas))]
            return [(title, json.dumps(value)) for title, value in found if value is not None]

        shown = page.render(
            **described, base=str(request.base_url), guarded=guarded, answer=schemas["AnswerBody"], examples=examples
        )
        return HTMLResponse(shown)


def _example(part: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """The example of a request's or response's JSON, in the order of its fields, or None."""

    def of(schema: dict[str, Any]) -> dict[str, Any]:
        return schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema

    def ordered(value: Any, schema: dict[str, Any]) -> Any:
        if isinstance(value, list):
            return [ordered(item, of(schema.get("items", {}))) for item in value]
        fields = schema.get("properties", {}) if isinstance(value, dict) else {}
        return {name: ordered(value[name], of(fields[name])) for name in fields if name in value} or value

    schema = of(part.get("content", {}).get("application/json", {}).get("schema", {}))
    return ordered(schema["examples"][0], schema) if "examples" in schema else None
