"""The web page: drop images, see and correct the answers, look through many at once, or use the camera.

Nothing is loaded from another host, and images are kept for the session only, but for those that are corrected.
Importing this module imports Gradio, which takes seconds.
"""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
from fastapi import FastAPI
from starlette.routing import Mount

from ..data.samples import RejectedImageError
from ..detection.faces import Detector
from ..errors import BundleError, DataError
from ..runtime.photos import face_detector
from ..runtime.predictor import Answer, ImageFile, Predictor
from .corrections import Corrections
from .page_access import COOKIE, author
from .page_answers import PageAnswers, note
from .page_guard import PageGuard

KEPT_SECONDS = 3600
CAMERA_SECONDS = 0.4
_STYLE = Path(__file__).with_name("page.css")
_INTRODUCTION = """# {names}?
Which of two *apparent expressions* an image shows, as `{model}` sees it. It was made for {made_for};
an expression is not a feeling."""
_EVIDENCE = "Orange speaks for the answer, blue against it"
_WRONG = """{evidence}.
**Is the answer wrong?** Say what the image shows; it is kept for the next training."""


def build_page(
    classifier: Predictor, corrections: Corrections, temporary: TemporaryDirectory, *, signed_in: bool
) -> FastAPI:
    """An application with the page at `/`; `signed_in` shows the way out.

    `temporary` is deleted when the application ends; Gradio keeps uploads there if `GRADIO_TEMP_DIR` named it before
    the import.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with temporary:
            yield

    font = ["system-ui", "sans-serif"]  # names alone: no font is loaded
    theme = gr.themes.Soft(
        primary_hue="orange",
        secondary_hue="blue",
        neutral_hue="stone",
        font=font,
        font_mono=["ui-monospace", "monospace"],
    )
    page = gr.mount_gradio_app(
        FastAPI(openapi_url=None, lifespan=lifespan),
        _layout(PageAnswers(classifier, corrections, Path(temporary.name)), signed_in),
        "/",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        max_file_size=classifier.limits.bytes,
        theme=theme,
        css_paths=_STYLE,
    )
    (mounted,) = (route.app for route in page.routes if isinstance(route, Mount))
    page.add_middleware(PageGuard, folder=Path(temporary.name))
    assert isinstance(mounted, gr.routes.App)  # noqa: S101  (for the type checker)
    page.state.close_streams = mounted.stop_event.set  # else a browser's heartbeat holds the service up
    return page


def _layout(page: PageAnswers, signed_in: bool) -> gr.Blocks:
    names = " or ".join(reversed(page.class_names))
    with gr.Blocks(title=names, analytics_enabled=False, delete_cache=(600, KEPT_SECONDS)) as blocks:
        made_for = "photos, with or without faces" if page.classifier.bundle.scene else "images of one face"
        gr.Markdown(_INTRODUCTION.format(names=names.capitalize(), model=page.classifier.model_id, made_for=made_for))
        with gr.Tab("Images"):
            _lay_images(page)
        with gr.Tab("Camera"):
            _lay_camera(page)
        with gr.Tab("Model card"):
            gr.Markdown(page.classifier.bundle.card(), elem_id="card")
        if signed_in:
            gr.HTML('<a href="/logout">Sign out</a>')
    blocks.has_launched = True  # else Gradio, mounted in another application, checks no path that a request names
    blocks.queue(max_size=64, default_concurrency_limit=2)
    return blocks


def _lay_images(page: PageAnswers) -> None:
    answers, chosen = gr.State([], time_to_live=KEPT_SECONDS), gr.State(0)
    files = gr.File(label="Images, one or many", file_count="multiple", height=150, elem_id="drop")
    said = gr.HTML(elem_id="said")
    gallery = gr.Gallery(
        label="All of them",
        show_label=False,
        columns=5,
        height="auto",
        allow_preview=False,
        visible=False,
        buttons=[],
        elem_id="gallery",
    )
    with gr.Column(visible=False, elem_id="detail") as detail:
        panel = gr.HTML(elem_id="answer")
        with gr.Row():
            upright = gr.Image(
                label="Image", interactive=False, buttons=["fullscreen"], min_width=340, elem_id="upright"
            )
            evident = gr.Image(
                label="Evidence", interactive=False, buttons=["fullscreen"], min_width=340, elem_id="evidence"
            )
        apart = "; in the whole image, apart from its faces" if page.classifier.bundle.scene else ""
        gr.Markdown(_WRONG.format(evidence=_EVIDENCE + apart))
        with gr.Row():
            buttons = [gr.Button(name, elem_id=f"correct-{name}") for name in page.class_names]
        kept = gr.HTML(elem_id="kept")
    shown = [panel, upright, evident, kept, detail, chosen]

    events = _ImageEvents(page)
    private: dict[str, Any] = {"api_visibility": "private"}
    files.change(events.drop, files, [answers, said, gallery, *shown], **private)
    gallery.select(events.select, answers, shown, show_progress="minimal", **private)
    for button in buttons:
        button.click(events.correct, [button, answers, chosen], kept, show_progress="minimal", **private)


@dataclass(frozen=True)
class _ImageEvents:
    """What the tab of images shows after each thing that a visitor does."""

    page: PageAnswers

    def drop(self, paths: list[str] | None) -> list[Any]:
        found = self.page.answer(paths or [])
        sound = [answer for answer in found if answer.probability is not None]
        small = [(self.page.thumbnail(answer), self.page.caption(answer)) for answer in sound] if len(sound) > 1 else []
        few = gr.Gallery(small, visible=bool(small), selected_index=0 if small else None)
        return [found, self.page.summary(found, len(paths or [])), few, *self.look(0, sound)]

    def look(self, index: int, found: list[Answer]) -> list[Any]:
        if index >= len(found):
            return ["", None, None, "", gr.Column(visible=False), 0]
        try:
            both = self.page.images(found[index])
        except RejectedImageError as error:  # such as a file that was deleted after its time
            return [note(str(error)), None, None, "", gr.Column(visible=True), index]
        said_html = self.page.panel(found[index], os.path.basename(found[index].path))
        return [said_html, *both, "", gr.Column(visible=True), index]

    def select(self, found: list[Answer], event: gr.SelectData) -> list[Any]:
        return self.look(int(event.index), found)

    def correct(self, label: str, found: list[Answer], index: int, request: gr.Request) -> str:
        if not 0 <= index < len(found):
            return note("choose an image first")
        try:
            kept = self.page.corrections.save(
                ImageFile(found[index].path).read(self.page.classifier.limits),
                label,
                author(request.cookies.get(COOKIE, "")),
            )
        except (DataError, RejectedImageError) as error:
            return note(str(error))
        earlier = f" ({kept.earlier})" if kept.earlier else ""
        return note(f"Kept as {kept.label}{earlier}. {kept.count} corrected so far.")


def _lay_camera(page: PageAnswers) -> None:
    try:
        detect: Detector | None = face_detector(page.classifier.bundle)
    except BundleError:
        detect = None
    gr.Markdown("The largest face is evaluated, over and over, until you stop. No image is kept.")
    camera = gr.Image(label="Camera", sources=["webcam"], streaming=True, elem_id="camera")
    live = gr.HTML(elem_id="live")

    def watch(frame: dict[str, Any] | None) -> str:
        encoded = (frame or {}).get("url") or ""
        return page.frame(base64.b64decode(encoded.partition(",")[2]), detect) if encoded else ""

    # Without Gradio's own decoding: what comes from a browser is opened by one decoder only, under its limits.
    options: dict[str, Any] = {"stream_every": CAMERA_SECONDS, "time_limit": None, "preprocess": False}
    camera.stream(watch, camera, live, show_progress="hidden", api_visibility="private", **options)
