"""The HTTP service: answers for uploaded images, the model's card, health and metrics.

Decoding and the model run in worker threads; requests beyond a bound are turned away at once rather than piled up.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

import prometheus_client
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import JSONResponse

from ..runtime.predictor import Answer, Predictor
from .access import Sessions, add_sign_in, guard
from .corrections import Corrections
from .docs import ErrorBody, ModelBody, StatusBody, add_description, answer_types, errors, model_body, request_body
from .page import add_page, add_page_calls
from .server import Protection
from .uploads import Gate, ServiceLimits, uploaded_images


class Metrics:
    """Prometheus metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = prometheus_client.CollectorRegistry()
        self.images = prometheus_client.Counter(
            "happy_sad_images", "Images by verdict", ["verdict"], registry=self.registry
        )
        self.seconds = prometheus_client.Histogram(
            "happy_sad_request_seconds", "Seconds for one prediction request", registry=self.registry
        )

    def count(self, answers: Sequence[Answer], seconds: float) -> None:
        """Add one request."""
        self.seconds.observe(seconds)
        for answer in answers:
            self.images.labels(answer.verdict).inc()


def create_service(
    predictor: Predictor,
    *,
    token: str | None = None,
    limits: ServiceLimits | None = None,
    corrections: Corrections | None = None,
    hosts: Collection[str] | None = (),
) -> FastAPI:
    """Make the application, with the web page where there is a place for `corrections`.

    With a `token`, all but the health checks, the description and the page's own files ask for it. `hosts` are the
    names that a request may ask for, apart from addresses and `localhost`; None: any.
    """
    Image.init()  # Pillow loads its formats at first use, which threads must not do at once
    sessions, metrics, limits = Sessions(), Metrics(), limits or ServiceLimits()
    gate = Gate(limits.requests)
    service = FastAPI(
        title="happy-sad",
        description="Classify the apparent expression in an image.",
        docs_url=None,  # FastAPI's own page loads its script from another host
        redoc_url=None,
    )
    service.add_middleware(Protection, hosts=hosts)
    service.add_exception_handler(StarletteHTTPException, _say_error)
    _add_health(service, predictor)
    add_description(service, guarded=bool(token))
    guarded = APIRouter(
        dependencies=[Depends(guard(token, sessions))] if token else [],
        responses=errors(_401="The bearer token is missing or wrong") if token else None,
    )
    _add_predict(guarded, predictor, limits, gate, metrics)
    _add_descriptions(guarded, predictor, metrics)
    if token:
        add_sign_in(service, token, sessions)
    if corrections is not None:
        add_page(service, predictor, sessions, guarded=bool(token))
        add_page_calls(guarded, predictor, corrections, limits, gate, sessions)
    service.include_router(guarded)
    return service


async def _say_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)  # noqa: S101  (for the type checker)
    return JSONResponse(ErrorBody(error=error.detail).model_dump(), error.status_code, error.headers)


def _add_predict(router: APIRouter, predictor: Predictor, limits: ServiceLimits, gate: Gate, metrics: Metrics) -> None:
    names = predictor.bundle.class_names
    answer_body, predict_body = answer_types(names)

    @router.post(
        "/v1/predict",
        response_model=predict_body,
        responses=errors(_400="No image, or a broken form", _408="Too slow", _413="Too large", _503="Busy"),
        openapi_extra={"requestBody": request_body(limits.images)},
    )
    async def predict(request: Request) -> Any:
        """Answers for the files of a form (any field names), or for a body that is one image."""
        images = await uploaded_images(request, limits)  # before a place is taken: slow senders hold none
        with gate.enter():
            start = time.perf_counter()
            answers = await run_in_threadpool(lambda: list(predictor.answers(images)))
            seconds = time.perf_counter() - start
        metrics.count(answers, seconds)
        told = [answer_body.model_validate(answer.fields(names)) for answer in answers]
        return predict_body(model=predictor.model_id, answers=told, seconds=seconds)


def _add_descriptions(router: APIRouter, predictor: Predictor, metrics: Metrics) -> None:
    @router.get("/v1/model")
    def model() -> ModelBody:
        """The model, its scores with 95 % intervals and its card."""
        return model_body(predictor)

    @router.get("/metrics", response_class=Response)
    def measured() -> Response:
        """Prometheus metrics."""
        return Response(prometheus_client.generate_latest(metrics.registry), media_type="text/plain; version=0.0.4")


def _add_health(service: FastAPI, predictor: Predictor) -> None:
    blank = predictor.blank()

    @service.get("/healthz")
    def alive() -> StatusBody:
        """The process answers."""
        return StatusBody(status="ok")

    @service.get("/readyz")
    def ready() -> StatusBody:
        """The model answers: it does not while its threads are stuck."""
        predictor.evaluate([blank])
        return StatusBody(status="ready")
