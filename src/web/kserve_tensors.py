"""Tensors of the Open Inference Protocol: images out of a request, answers into a response, as JSON or as bytes."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from fastapi import HTTPException, Response
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from ..data.samples import RejectedImageError
from ..runtime.predictor import Answer, decode_base64
from .api_docs import example

MODEL = "happy-sad"
MAX_JSON_BYTES = 8_000_000
"""Of a request's JSON, whose lists take many times as much memory; bytes behind it count as any body."""

HEADER_LENGTH = "Inference-Header-Content-Length"
_TYPES: dict[str, type[np.generic]] = {"UINT8": np.uint8, "FP32": np.float32}
_SIZE = struct.Struct("<I")


class InferInput(BaseModel):
    """Images. `BYTES`, shape (n,): files, as base64 text in JSON. `UINT8` or `FP32`, shape (n, height, width, 3):
    RGB from 0 to 255.
    """

    name: str
    datatype: Literal["BYTES", "UINT8", "FP32"]
    shape: list[int] = Field(max_length=4)
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class InferOutput(BaseModel):
    """An output that is wanted; `parameters.binary_data` asks for it as bytes."""

    name: str
    parameters: dict[str, Any] = {}


class InferBody(BaseModel):
    """A request of the protocol."""

    model_config = example(inputs=[{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["/9j/4AAQSkZJRg..."]}])
    id: str | None = None
    parameters: dict[str, Any] = {}
    inputs: list[InferInput] = Field(min_length=1, max_length=1)
    outputs: list[InferOutput] | None = None


@dataclass(frozen=True)
class Output:
    """A tensor of the answer: its name, its type, and its value for one image."""

    name: str
    datatype: Literal["FP32", "BYTES"]
    value: Callable[[Answer], float | str]


def parse(
    body: bytes, header_length: str | None, max_images: int, known: Collection[str]
) -> tuple[InferBody, Sequence[Any]]:
    """A request for `known` outputs, and its images, each a file's bytes or pixels.

    Raises HTTPException 400 or 413.
    """
    announced = (header_length or "")[:20]
    length = len(body) if header_length is None else int(announced) if announced.isdecimal() else -1
    if not 0 <= length <= len(body):
        raise HTTPException(400, f"{HEADER_LENGTH}: accepts 0 to the length of the body, {len(body)}")
    if length > MAX_JSON_BYTES:
        raise HTTPException(413, f"more than {MAX_JSON_BYTES / 1e6:g} megabytes of JSON; send tensors as bytes")
    try:
        asked = InferBody.model_validate_json(body[:length])
    except ValidationError as error:
        first = error.errors()[0]
        raise HTTPException(400, f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}") from None
    unknown = [output.name for output in asked.outputs or [] if output.name not in known]
    if unknown:
        raise HTTPException(400, f"outputs: {unknown[0]}: accepts {', '.join(known)}")
    tensor = asked.inputs[0]
    count = tensor.shape[0] if tensor.shape else 0
    if not 0 < count <= max_images:
        raise HTTPException(400, f"shape {tensor.shape}: accepts 1 to {max_images} images")
    behind = tensor.parameters.get("binary_data_size")
    if behind is not None and behind != len(body) - length:
        raise HTTPException(400, f"binary_data_size {behind!r}: {len(body) - length} bytes follow the JSON")
    raw = None if behind is None else body[length:]
    images: Sequence[Any] = list(_files(tensor, raw) if tensor.datatype == "BYTES" else _pixels(tensor, raw))
    if len(images) != count:
        raise HTTPException(400, f"shape {tensor.shape}: the data holds {len(images)} images")
    return asked, images


def _files(tensor: InferInput, raw: bytes | None) -> list[bytes]:
    if raw is not None:
        return list(_elements(raw))
    try:
        return [decode_base64(text if isinstance(text, str) else "?") for text in tensor.data or []]
    except RejectedImageError as error:
        raise HTTPException(400, f"data: {error.detail}; BYTES are base64 in JSON") from None


def _elements(raw: bytes) -> Iterator[bytes]:
    """Bytes of the binary form: each element behind its length, four bytes, the lowest first."""
    place = 0
    while place < len(raw):
        if len(raw) - place < _SIZE.size:
            raise HTTPException(400, "BYTES: the data ends in the middle of a length")
        (size,) = _SIZE.unpack_from(raw, place)
        place += _SIZE.size
        if size > len(raw) - place:
            raise HTTPException(400, "BYTES: the data ends in the middle of an element")
        yield raw[place : place + size]
        place += size


def _pixels(tensor: InferInput, raw: bytes | None) -> NDArray[Any]:
    wanted = _TYPES[tensor.datatype]
    shape = tensor.shape
    if len(shape) != 4 or shape[3] != 3 or min(shape) < 1:
        raise HTTPException(400, f"shape {shape}: {tensor.datatype} accepts (n, height, width, 3)")
    try:
        flat = np.asarray(tensor.data or [], wanted).ravel() if raw is None else np.frombuffer(raw, wanted)
    except (ValueError, TypeError, OverflowError):
        raise HTTPException(400, f"data: no {tensor.datatype} numbers of one shape") from None
    if flat.size != math.prod(shape):
        raise HTTPException(400, f"shape {shape}: the data holds {flat.size} numbers")
    return flat.reshape(shape)


def infer_response(asked: InferBody, answers: list[Answer], outputs: list[Output]) -> Response:
    """What answers a request: the wanted outputs, as JSON or bytes."""
    known = {output.name: output for output in outputs}
    wanted = asked.outputs or [InferOutput(name=name) for name in known]
    described, behind = [], b""
    for output in wanted:
        values = [known[output.name].value(answer) for answer in answers]
        tensor: dict[str, Any] = {"name": output.name, "datatype": known[output.name].datatype, "shape": [len(values)]}
        if output.parameters.get("binary_data", asked.parameters.get("binary_data_output", False)) is True:
            data = _as_bytes(values)
            described.append(tensor | {"parameters": {"binary_data_size": len(data)}})
            behind += data
        else:
            described.append(tensor | {"data": values})
    named = {} if asked.id is None else {"id": asked.id}
    text = json.dumps({"model_name": MODEL, "model_version": "1", **named, "outputs": described}).encode()
    if not behind:
        return Response(text, media_type="application/json")
    return Response(text + behind, media_type="application/octet-stream", headers={HEADER_LENGTH: str(len(text))})


def _as_bytes(values: list[float | str]) -> bytes:
    if all(isinstance(value, float) for value in values):
        return np.asarray(values, "<f4").tobytes()
    encoded = [str(value).encode() for value in values]
    return b"".join(_SIZE.pack(len(element)) + element for element in encoded)
