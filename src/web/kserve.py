"""The Open Inference Protocol (KServe v2) beside the service's own API, so that clients of Triton or KServe work:
`/v2/models/happy-sad/infer`, as JSON or with tensors as bytes behind the JSON (the binary tensor data extension).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute

from ..runtime.predictor import Answer, Predictor
from .api_docs import errors, example
from .kserve_tensors import HEADER_LENGTH, MODEL, InferBody, Output, infer_response, parse
from .uploads import Gate, ServiceLimits, body_within

Count = Callable[[Sequence[Answer], float], None]
_MODEL_PATH, _VERSION = f"/v2/models/{MODEL}", "1"


class Tensor(BaseModel):
    """What a tensor is called and holds; -1 is any length."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """The model's one input and its outputs."""

    model_config = example(
        name=MODEL,
        versions=["1"],
        platform="litert",
        inputs=[{"name": "image", "datatype": "BYTES", "shape": [-1]}],
        outputs=[{"name": "p_happy", "datatype": "FP32", "shape": [-1]}],
    )
    name: str
    versions: list[str]
    platform: str
    inputs: list[Tensor]
    outputs: list[Tensor]


class ServerMetadata(BaseModel):
    """What the server is, and what of the protocol it knows beyond the standard."""

    model_config = example(name=MODEL, version="1.0.0", extensions=["binary_tensor_data"])
    name: str
    version: str
    extensions: list[str]


class InferAnswer(BaseModel):
    """Tensors with a value for each image, in order: P(class 1), the label (empty where the verdict is not `ok`), the
    verdict, and what the answer rests on.
    """

    model_config = example(
        model_name=MODEL,
        model_version="1",
        outputs=[
            {"name": "p_happy", "datatype": "FP32", "shape": [1], "data": [0.93]},
            {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["happy"]},
        ],
    )
    model_name: str
    model_version: str
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[dict[str, Any]]


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A JSON schema whose definitions stand where they are used."""
    definitions = schema.pop("$defs", {})

    def within(part: Any) -> Any:
        if isinstance(part, dict):
            return (
                within(definitions[part["$ref"].rpartition("/")[2]])
                if "$ref" in part
                else {name: within(value) for name, value in part.items()}
            )
        return [within(value) for value in part] if isinstance(part, list) else part

    return within(schema)  # type: ignore[no-any-return]


_JSON_BODY = {"application/json": {"schema": _inlined(InferBody.model_json_schema())}}


def outputs_of(classifier: Predictor) -> list[Output]:
    """The model's outputs. A tensor has no empty place, so that confidence, which is P(label), is not among them."""
    return [
        Output(f"p_{classifier.bundle.class_names[1]}", "FP32", lambda answer: answer.probability or 0.0),
        Output("label", "BYTES", lambda answer: answer.label or ""),
        Output("verdict", "BYTES", lambda answer: answer.verdict),
        Output("evidence", "BYTES", lambda answer: answer.evidence),
    ]


def add_kserve(
    service: FastAPI,
    guarded: APIRouter,
    classifier: Predictor,
    check: Callable[[], object],
    limits: ServiceLimits,
    gate: Gate,
    count: Count,
) -> None:
    """Add the protocol's routes: health to `service`, which asks for no token, the rest to `guarded`; `check` has the
    model answer, `count` gets the answers to each request and its seconds.
    """
    outputs = outputs_of(classifier)
    _add_readiness(service, guarded, check)
    _add_description(guarded, outputs)
    _add_inference(guarded, classifier, outputs, limits, gate, count)

    @guarded.api_route("/v2/{rest:path}", methods=["GET", "POST"], include_in_schema=False)
    def unknown(request: Request) -> None:
        """Another model's name or version, as an error that the protocol's clients can read."""
        raise _unknown(request.url.path, [*service.routes, *guarded.routes])


def _add_readiness(service: FastAPI, guarded: APIRouter, check: Callable[[], object]) -> None:
    @service.get("/v2/health/live", response_class=Response)
    def live() -> Response:
        """The process answers."""
        return Response()

    @service.get("/v2/health/ready", response_class=Response)
    def ready() -> Response:
        """The model answers."""
        check()
        return Response()

    @guarded.get(f"{_MODEL_PATH}/versions/{_VERSION}/ready", response_class=Response, include_in_schema=False)
    @guarded.get(f"{_MODEL_PATH}/ready", response_class=Response)
    def model_ready() -> Response:
        """The model answers."""
        check()
        return Response()


def _add_description(guarded: APIRouter, outputs: Sequence[Output]) -> None:
    @guarded.get("/v2")
    def server() -> ServerMetadata:
        """The server, as the protocol describes it."""
        return ServerMetadata(name=MODEL, version=_version(), extensions=["binary_tensor_data"])

    @guarded.get(f"{_MODEL_PATH}/versions/{_VERSION}", include_in_schema=False)
    @guarded.get(_MODEL_PATH)
    def metadata() -> ModelMetadata:
        """The model's input and outputs. Pixels are taken too, as `UINT8` or `FP32` (n, height, width, 3)."""
        image = Tensor(name="image", datatype="BYTES", shape=[-1])
        given = [Tensor(name=output.name, datatype=output.datatype, shape=[-1]) for output in outputs]
        return ModelMetadata(name=MODEL, versions=[_VERSION], platform="litert", inputs=[image], outputs=given)


def _add_inference(
    guarded: APIRouter, classifier: Predictor, outputs: list[Output], limits: ServiceLimits, gate: Gate, count: Count
) -> None:
    names = [output.name for output in outputs]

    @guarded.post(f"{_MODEL_PATH}/versions/{_VERSION}/infer", include_in_schema=False)
    @guarded.post(
        f"{_MODEL_PATH}/infer",
        response_model=InferAnswer,
        responses=errors(_400="Not the protocol, or no image", _408="Too slow", _413="Too large", _503="Busy"),
        openapi_extra={"requestBody": {"required": True, "content": _JSON_BODY}},
    )
    async def infer(request: Request) -> Response:
        """Answers by the protocol. An image that cannot be read fails the request, and the error names it."""
        body = await body_within(request, limits.bytes)
        length = request.headers.get(HEADER_LENGTH)

        def answer() -> Response:
            asked, images = parse(body, length, limits.images, names)
            start = time.perf_counter()
            answers = list(classifier.answer_inputs(images))
            count(answers, time.perf_counter() - start)
            unread = next((answer for answer in answers if answer.probability is None), None)
            if unread:
                raise HTTPException(400, f"image {unread.path}: {unread.detail}")
            return infer_response(asked, answers, outputs)

        with gate.enter():
            return await run_in_threadpool(answer)


def _unknown(path: str, routes: Sequence[BaseRoute]) -> HTTPException:
    """404, or 405 where one of `routes` has this path for another method."""
    there = [route for route in routes if isinstance(route, APIRoute) and route.path == path]
    allowed = sorted({method for route in there for method in route.methods or ()})
    if allowed:
        return HTTPException(405, "Method Not Allowed", {"Allow": ", ".join(allowed)})
    return HTTPException(404, f"{path[:100]}: the only model is {_MODEL_PATH}, version {_VERSION}")


def _version() -> str:
    try:
        return version("happy-sad")
    except PackageNotFoundError:
        return "checkout"
