"""The HTTP service: answers for uploaded pictures, the model's card, health and metrics.

Decoding and the model run in worker threads; requests beyond a bound are turned away at once rather than piled up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import prometheus_client
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from PIL import Image
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from ..runtime.classifier import Answer, Classifier
from .api_docs import add_description
from .page_access import PageSlot, add_sign_in, same_secret
from .uploads import ServiceLimits, uploaded_pictures

RETRY_SECONDS = 1
_BEARER = HTTPBearer(auto_error=False)


class AnswerBody(BaseModel):
    """One picture's answer. `probability` is that of the class called 1 in `/v1/model`."""

    path: str
    label: str | None
    probability: float | None
    verdict: str
    detail: str


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


class Gate:
    """Lets a bounded number of requests in; the rest get 503 with Retry-After."""

    def __init__(self, places: int) -> None:
        self.places = threading.BoundedSemaphore(places)

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Hold a place. Raises HTTPException where there is none left."""
        if not self.places.acquire(blocking=False):
            raise HTTPException(503, "too many requests at once", {"Retry-After": str(RETRY_SECONDS)})
        try:
            yield
        finally:
            self.places.release()


class Metrics:
    """Prometheus metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = prometheus_client.CollectorRegistry()
        self.pictures = prometheus_client.Counter(
            "happy_sad_pictures", "Pictures by verdict", ["verdict"], registry=self.registry
        )
        self.seconds = prometheus_client.Histogram(
            "happy_sad_request_seconds", "Seconds for one prediction request", registry=self.registry
        )


def create_service(
    classifier: Classifier,
    *,
    token: str | None = None,
    limits: ServiceLimits | None = None,
    page: Callable[[], FastAPI] | None = None,
) -> FastAPI:
    """The application. With a `token`, all but the health checks and the description ask for it.

    `page` makes the application that answers wherever the API does not; it may take seconds.
    """
    limits = limits or ServiceLimits()
    Image.init()  # Pillow loads its formats at first use, which threads must not do at once
    gate, metrics = Gate(limits.requests), Metrics()
    slot = PageSlot(page, token) if page else None
    service = FastAPI(
        title="happy-sad",
        description="Says of pictures which apparent expression they show.",
        docs_url=None,  # FastAPI's own page loads its script from another host
        redoc_url=None,
        lifespan=slot.lifespan if slot else None,
    )
    guarded = [Depends(_guard(token))] if token else []
    rejections: dict[int | str, dict[str, Any]] = (
        {401: {"description": "The bearer token is missing or wrong"}} if token else {}
    )
    _add_health(service)
    add_description(service, guarded=bool(token))
    if slot:
        service.router.default = slot
        service.state.close_streams = slot.close_streams
        if token:
            add_sign_in(service, token)

    @service.post(
        "/v1/predict",
        dependencies=guarded,
        responses={400: {}, 413: {}, 503: {"description": "Busy; see Retry-After"}, **rejections},
        openapi_extra={"requestBody": _request_body(limits)},
    )
    async def predict(request: Request) -> PredictBody:
        """Answers for the files of a form (any field names), or for a body that is one picture."""
        with gate.enter():
            start = time.perf_counter()
            pictures = await uploaded_pictures(request, limits)
            answers = await run_in_threadpool(lambda: list(classifier.answers(pictures)))
            seconds = time.perf_counter() - start
        metrics.seconds.observe(seconds)
        for answer in answers:
            metrics.pictures.labels(answer.verdict).inc()
        return PredictBody(model=classifier.model_id, answers=[_body(answer) for answer in answers], seconds=seconds)

    @service.get("/v1/model", dependencies=guarded, responses=rejections)
    def model() -> ModelBody:
        """The model, its scores with 95 % intervals and its card."""
        return _model_body(classifier)

    @service.get("/metrics", dependencies=guarded, responses=rejections, response_class=Response)
    def measured() -> Response:
        """Prometheus metrics."""
        return Response(prometheus_client.generate_latest(metrics.registry), media_type="text/plain; version=0.0.4")

    return service


def _request_body(limits: ServiceLimits) -> dict[str, Any]:
    picture = {"type": "string", "format": "binary"}  # an empty file among others gets a verdict
    pictures = {"type": "array", "items": picture, "minItems": 1, "maxItems": limits.pictures}
    form = {"type": "object", "properties": {"files": pictures}, "required": ["files"]}
    return {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": form},
            "application/octet-stream": {"schema": picture | {"minLength": 1}},
        },
    }


def _add_health(service: FastAPI) -> None:
    @service.get("/healthz")
    def alive() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @service.get("/readyz")
    def ready() -> dict[str, str]:
        """The model is loaded: the service does not start without it."""
        return {"status": "ready"}


def _guard(token: str):  # type: ignore[no-untyped-def] # a FastAPI dependency
    def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> None:
        if given is None or not same_secret(given.credentials, token):
            raise HTTPException(401, "a bearer token is needed", {"WWW-Authenticate": "Bearer"})

    return check


def _body(answer: Answer) -> AnswerBody:
    return AnswerBody(**{name: getattr(answer, name) for name in AnswerBody.model_fields})


def _model_body(classifier: Classifier) -> ModelBody:
    bundle = classifier.bundle
    return ModelBody(
        model=classifier.model_id,
        class_names=list(bundle.class_names),
        image_size=bundle.image_size,
        threshold=bundle.threshold,
        temperature=bundle.temperature,
        dataset_digest=bundle.dataset_digest,
        scores=bundle.scores,
        card=bundle.card(),
    )
