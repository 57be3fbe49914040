"""The web page and what it asks of the API beyond predictions: faces and evidence of an image, and corrections.

Files of our own alone: one HTML, one CSS and one JavaScript file. Images are evaluated in memory; only those that a
visitor corrects are written to disk.
"""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import jinja2
from fastapi import APIRouter, FastAPI, HTTPException, Query, Request
from markdown_it import MarkdownIt
from markupsafe import Markup
from PIL.Image import Image
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from ..data.samples import RejectedImageError
from ..errors import DataError
from ..evaluation.saliency import answer_evidence, draw_evidence
from ..reports.pages import data_uri
from ..runtime.photos import FaceAnswer, face_detector, predict_faces
from ..runtime.predictor import ImageFile, Predictor
from .access import Sessions, redirect_to_sign_in
from .corrections import Corrections
from .docs import CorrectionBody, FaceBody, InspectBody, errors, request_body
from .uploads import Gate, ServiceLimits, uploaded_images

STATIC = Path(__file__).with_name("static")
MAX_SIDE = 1280
_PAGES = jinja2.Environment(autoescape=True, loader=jinja2.FileSystemLoader(STATIC))
_CARD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Model card</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<link rel="stylesheet" href="static/page.css">
<p><a href=".">Back</a></p>{{ card }}</html>"""


def add_page(service: FastAPI, predictor: Predictor, sessions: Sessions, *, guarded: bool) -> None:
    """Add the page at `/`, its files and the model card. A browser gets a session with it; with a token it signs in."""
    bundle = predictor.bundle
    negative, positive = bundle.class_names
    score = bundle.scores.get("test", {}).get("accuracy")
    accuracy = " Right on {:.1%} of its test images (95 % interval {:.1%} to {:.1%}).".format(*score) if score else ""
    page = _PAGES.get_template("page.html").render(
        title=f"{positive} or {negative}?".capitalize(),
        negative=negative,
        positive=positive,
        model=predictor.model_id,
        made_for="photos, with or without faces" if bundle.scene else "images of one face",
        scene=bundle.scene is not None,
        accuracy=accuracy,
        guarded=guarded,
    )
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    card = _PAGES.from_string(_CARD).render(card=Markup(markdown.render(bundle.card())))  # noqa: S704 - no HTML of its own

    @service.get("/", include_in_schema=False)
    def home(request: Request) -> HTMLResponse:
        if guarded:
            redirect_to_sign_in(request, sessions)
        return sessions.with_cookie(request, HTMLResponse(page))

    @service.get("/card", include_in_schema=False)
    def model_card() -> HTMLResponse:
        return HTMLResponse(card)

    service.mount("/static", StaticFiles(directory=STATIC))


def add_page_calls(
    router: APIRouter,
    predictor: Predictor,
    corrections: Corrections,
    limits: ServiceLimits,
    gate: Gate,
    sessions: Sessions,
) -> None:
    """Add the calls of the page; corrections are those of a session."""
    detect, single = face_detector(predictor.bundle), replace(limits, images=1)
    described: dict[str, Any] = {"openapi_extra": {"requestBody": request_body(1)}}

    @router.post("/v1/inspect", responses=errors(_400="No image", _413="Too large", _503="Busy"), **described)
    async def inspect(
        request: Request,
        evidence: Annotated[bool, Query(description="Also the image and its evidence map, as data URIs")] = False,
    ) -> InspectBody:
        """The answer for one image, its faces, and what in it supports the answer."""
        image = (await uploaded_images(request, single))[0]
        with gate.enter():
            return await run_in_threadpool(inspected, image, evidence=evidence)

    def inspected(image: ImageFile, *, evidence: bool) -> InspectBody:
        (answer,) = predictor.answers([image])
        names = predictor.bundle.class_names
        try:
            upright, faces = predict_faces(predictor.one_face, detect, image)
            if faces and not evidence and predictor.bundle.scene is None:  # a camera, and a model of faces
                answer = max(faces, key=lambda face: face.box.side).answer
            pictures = _evidence(predictor, image, upright) if evidence else {}
        except RejectedImageError:
            return InspectBody(answer=answer.fields(names), faces=[])
        boxes = [_face(face, upright) for face in faces] if predictor.bundle.scene or not evidence else []
        return InspectBody(answer=answer.fields(names), faces=boxes, **pictures)

    @router.post("/v1/corrections", include_in_schema=False)
    async def correct(request: Request) -> CorrectionBody:
        """Keep one image under the `label` of the form, for the next training."""
        session, image = sessions.author(request), (await uploaded_images(request, single))[0]
        label = (await request.form()).get("label")
        try:
            kept = await run_in_threadpool(corrections.save, image.read(), str(label), session)
        except (DataError, RejectedImageError) as error:
            raise HTTPException(400, str(error)) from None
        return CorrectionBody(label=kept.label, count=kept.count, earlier=kept.earlier)


def _evidence(predictor: Predictor, image: ImageFile, upright: Image) -> dict[str, str]:
    pixels, probabilities, threshold = predictor.explained(image)
    small = upright.copy()
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    drawn = draw_evidence(small, answer_evidence(probabilities, pixels, threshold))
    return {"image": _as_uri(small), "evidence": _as_uri(drawn)}


def _as_uri(image: Image) -> str:
    stream = BytesIO()
    image.convert("RGB").save(stream, "JPEG", quality=88)
    return data_uri(stream.getvalue(), "jpeg")


def _face(face: FaceAnswer, image: Image) -> FaceBody:
    """Label and place of a face, as fractions of the image."""
    box, answer = face.box, face.answer
    place = {"left": box.left / image.width, "top": box.top / image.height}
    size = {"width": box.side / image.width, "height": box.side / image.height}
    return FaceBody(label=answer.label, confidence=answer.confidence, verdict=answer.verdict, **place, **size)
