"""What the API takes and gives, and its description as a page that needs nothing from another host."""

from __future__ import annotations

from typing import Any

import jinja2
from fastapi import FastAPI, Request
from pydantic import BaseModel
from starlette.responses import HTMLResponse

from ..runtime.classifier import Answer, Answering

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{{ info.title }}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem }
code, pre { font-family: ui-monospace, monospace } pre { padding: .8rem; background: #8882; overflow-x: auto }
td { padding: .1rem 1rem .1rem 0; vertical-align: top }
</style><h1>{{ info.title }}</h1><p>{{ info.description }} In full: <a href="openapi.json">openapi.json</a>.</p>
<pre>curl {{ base }}v1/predict -F files=@photo.jpg -F files=@other.png{% if guarded %} \\
     -H "Authorization: Bearer $HAPPY_SAD_TOKEN"{% endif %}</pre>
{% for path, methods in paths.items() %}{% for method, operation in methods.items() %}
<h2><code>{{ method.upper() }} {{ path }}</code></h2><p>{{ operation.description or operation.summary }}</p>
<table>{% for code, response in operation.responses.items() %}
<tr><td><code>{{ code }}</code></td><td>{{ response.description }}</td></tr>{% endfor %}</table>
{% endfor %}{% endfor %}</html>"""


class AnswerBody(BaseModel):
    """One picture's answer and what it rests on. `probability` is that of the class called 1 in `/v1/model`."""

    path: str
    label: str | None
    probability: float | None
    verdict: str
    detail: str
    evidence: str


class PredictBody(BaseModel):
    """Answers in the order of the pictures, the model that gave them, and the seconds that they took."""

    model: str
    answers: list[AnswerBody]
    seconds: float


class ModelBody(BaseModel):
    """What the service answers with; `card` is Markdown."""

    model: str
    class_names: list[str]
    image_size: int
    threshold: float
    temperature: float
    dataset_digest: str
    scores: dict[str, dict[str, list[float]]]
    card: str


def answer_body(answer: Answer) -> AnswerBody:
    """The answer without its model, which stands beside all of them."""
    return AnswerBody(**{name: getattr(answer, name) for name in AnswerBody.model_fields})


def model_body(classifier: Answering) -> ModelBody:
    """What there is to know of a classifier's model."""
    bundle = classifier.bundle
    return ModelBody(
        model=classifier.model_id,
        class_names=list(bundle.class_names),
        image_size=bundle.image_size,
        threshold=classifier.threshold,
        temperature=bundle.temperature,
        dataset_digest=bundle.dataset_digest,
        scores=bundle.scores,
        card=bundle.card(),
    )


def request_body(max_pictures: int) -> dict[str, Any]:
    """A form of pictures, or one picture, as OpenAPI has it."""
    picture = {"type": "string", "format": "binary"}  # an empty file among others gets a verdict
    pictures = {"type": "array", "items": picture, "minItems": 1, "maxItems": max_pictures}
    form = {"type": "object", "properties": {"files": pictures}, "required": ["files"]}
    return {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": form},
            "application/octet-stream": {"schema": picture | {"minLength": 1}},
        },
    }


def add_description(service: FastAPI, *, guarded: bool) -> None:
    """Add `/docs`; `guarded` shows where the token goes."""

    @service.get("/docs", include_in_schema=False)
    def docs(request: Request) -> HTMLResponse:
        page = jinja2.Environment(autoescape=True).from_string(_PAGE)
        return HTMLResponse(page.render(**service.openapi(), base=str(request.base_url), guarded=guarded))
