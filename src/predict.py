"""Classify images as happy or sad: `python -m src.predict photo.jpg`.

Neither TensorFlow nor MLflow is imported, unless the model is named by a run or by the registry.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from .cli.typer_command import typer_command
from .errors import ConfigError, DataError
from .system import progress

if TYPE_CHECKING:
    from PIL.Image import Image

    from .runtime.predictor import Answer, ImageFile, Predictor

SOME_REJECTED = 3
MIN_PROGRESS = 200
MAX_SIDE = 1280
VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ogv")
"""Files that are read as videos, by the ends of their names."""

Flag = typer.Option
Item = TypeVar("Item")


def predict(
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Images, folders of them, one video, or - for standard input.", show_default=False),
    ] = None,
    model: Annotated[
        str | None, Flag(help="A bundle, a run id or models:/NAME@ALIAS; default: the shipped model.")
    ] = None,
    tracking_uri: Annotated[
        str | None, Flag(envvar="MLFLOW_TRACKING_URI", help="The store of --model; default: the project's own.")
    ] = None,
    recursive: Annotated[bool, Flag("--recursive", help="Also search subfolders.")] = False,
    as_json: Annotated[bool, Flag("--json", help="Print one JSON object per line.")] = False,
    csv: Annotated[Path | None, Flag(help="Also write the answers to this CSV file.")] = None,
    parquet: Annotated[Path | None, Flag(help="Also write the answers to this Parquet file.")] = None,
    sort_into: Annotated[Path | None, Flag(help="Copy each image into a subfolder named by its answer.")] = None,
    link: Annotated[bool, Flag("--link", help="With --sort-into: link instead of copying.")] = False,
    faces: Annotated[bool, Flag("--faces", help="Find faces and give an answer for each.")] = False,
    no_faces: Annotated[bool, Flag("--no-faces", help="Do not look for faces: each image is one face.")] = False,
    annotate: Annotated[
        Path | None, Flag(help="Save the image here, with its faces boxed and labeled; implies --faces.")
    ] = None,
    explain: Annotated[
        Path | None, Flag(help="Save the image here, orange where it supports the answer, blue against.")
    ] = None,
    camera: Annotated[int | None, Flag(min=0, help="Answer for a camera, until Ctrl-C, instead of for files.")] = None,
    fps: Annotated[float, Flag(min=0.1, max=240, help="Of a video or camera: frames looked at in a second.")] = 10,
    timeline: Annotated[
        Path | None, Flag(help="Save the answers of a video over time, as .html page or .png figure.")
    ] = None,
) -> None:
    """Classify images as happy or sad. Prints the label, p_happy, the confidence (the probability of the label) and
    what the answer rests on. The confidence can be below 0.5, as the threshold is chosen on validation.

    Exit code 3: some images could not be read; 2: wrong usage.
    """
    if camera is not None or any(path.lower().endswith(VIDEOS) for path in paths or []):
        _require(not (parquet or sort_into or annotate or explain), "of a video only --csv, --json and --timeline")
        sources: list[str | int] = [*(paths or []), *([] if camera is None else [camera])]
        _require(len(sources) == 1, "one video or camera at a time, with nothing beside it")
        predictor = _open(model, tracking_uri, look_for_faces=not no_faces)
        return _predict_video(sources[0], fps, predictor, as_json, csv, timeline)
    _require(timeline is None, "--timeline takes a video or camera")
    each_face = faces or annotate is not None
    _require(bool(paths), "name images or folders, or - for standard input")
    _require(not (each_face and no_faces), "choose one of --faces and --no-faces")
    _check_outputs(sort_into, paths or [], recursive, [annotate, explain], link=link, each_face=each_face)

    from .runtime.photos import predict_each_face
    from .runtime.predictor import list_images

    images = list_images(paths or [], recursive=recursive)
    predictor = _open(model, tracking_uri, look_for_faces=not (each_face or no_faces))
    _require(len(images) == 1 or not (annotate or explain), "--annotate and --explain take one image")
    rejected = 0
    with ExitStack() as stack:
        writers = _writers(stack, predictor, as_json, [file for file in (csv, parquet) if file], sort_into, link)
        found = predict_each_face(predictor, images) if each_face else predictor.answers(images)
        for answer in _with_progress(found, len(images)):
            rejected += answer.verdict == "unreadable"
            for write in writers:
                write(answer)
    if annotate:
        _annotate(predictor, images[0], annotate)
    if explain:
        _explain(predictor, images[0], explain)
    raise typer.Exit(SOME_REJECTED if rejected else 0)


def _open(model: str | None, tracking_uri: str | None, *, look_for_faces: bool) -> Predictor[Any]:
    from .conversion.opening import open_model
    from .runtime.photos import open_predictor

    return open_predictor(open_model(model, tracking_uri), look_for_faces=look_for_faces)


def _require(allowed: bool, otherwise: str) -> None:
    if not allowed:
        raise ConfigError(otherwise)


def _check_outputs(
    sort_into: Path | None,
    paths: list[str],
    recursive: bool,
    saved: list[Path | None],
    *,
    link: bool,
    each_face: bool,
) -> None:
    """Raise ConfigError where images cannot be saved, or sorted into that folder."""
    _require(not link or sort_into is not None, "--link goes with --sort-into")
    for file in filter(None, saved):
        _require(_is_writable(file), f"{file}: cannot be written; name a .png in a folder that is there")
    if sort_into is None:
        return
    _require(not each_face, "--faces does not go with --sort-into")
    _require("-" not in paths, "--sort-into takes files and folders, not standard input")
    into = Path(os.path.realpath(sort_into))
    for folder in filter(os.path.isdir, paths):
        source = Path(os.path.realpath(folder))
        inside = into == source or (recursive and into.is_relative_to(source))
        _require(not inside, f"--sort-into {sort_into}: lies in {folder}, whose images are sorted; name another place")


def _is_writable(file: Path) -> bool:
    from PIL import Image

    known = Image.registered_extensions().get(file.suffix.lower()) in Image.SAVE
    return known and file.parent.is_dir() and os.access(file.parent, os.W_OK)


def _writers(
    stack: ExitStack, predictor: Predictor, as_json: bool, tables: list[Path], sort_into: Path | None, link: bool
) -> list[Callable[[Answer], object]]:
    from .runtime import outputs

    names = predictor.bundle.class_names
    line = outputs.as_json if as_json else outputs.as_text
    writers: list[Callable[[Answer], object]] = [lambda answer: print(line(answer, names))]
    writers += [stack.enter_context(outputs.table_writer(file, names)) for file in tables]
    if sort_into:
        sorter = outputs.Sorter(sort_into, link=link)
        writers.append(sorter.put)
        stack.callback(lambda: print(sorter.report, file=sys.stderr))
    return writers


def _with_progress(answers: Iterable[Item], count: int) -> Iterable[Item]:
    """The same answers, with a bar on stderr where that is a terminal and the answers go elsewhere."""
    if count < MIN_PROGRESS or sys.stdout.isatty():
        return answers
    return progress(answers, "predicting", count)


def _predict_video(
    source: str | int, fps: float, predictor: Predictor[Any], as_json: bool, csv: Path | None, timeline: Path | None
) -> None:
    """Print each change of a face's label as it comes, or with `as_json` the answer to every frame and face."""
    from .runtime.outputs import csv_rows, json_line
    from .runtime.video import Video, answer_fields, answer_frames

    video, positive = Video(source), predictor.bundle.class_names[1]
    labels: dict[int, str] = {}
    frames, start = 0, perf_counter()
    with ExitStack() as stack:
        writers = [stack.enter_context(csv_rows(csv, answer_fields(positive)))] if csv else []
        keep = _timeline(stack, predictor, video.name, timeline) if timeline else None
        if video.is_camera:
            stack.enter_context(suppress(KeyboardInterrupt))
        for frame, answers in _with_progress(answer_frames(predictor, video.frames(fps)), video.expected(fps)):
            frames += 1
            if keep:
                keep(frame, answers)
            for answer in answers:
                row = answer.fields(positive)
                for write in writers:
                    write(row)
                if as_json or labels.get(answer.face) != answer.label:
                    print(json_line(row) if as_json else answer.text(positive), flush=video.is_camera)
                labels[answer.face] = answer.label
    print(f"{video.summary(frames)}; {frames / (perf_counter() - start):.0f} frames a second", file=sys.stderr)


def _timeline(stack: ExitStack, predictor: Predictor[Any], name: str, file: Path) -> Callable[..., None]:
    """Return what takes the answers to each frame; the timeline is written when `stack` ends."""
    from .runtime.timeline import Timeline

    _require(file.suffix in (".html", ".png"), f"{file}: accepts a name that ends in .html or .png")
    _require(file.absolute().parent.is_dir(), f"{file}: its folder is not there")
    timeline = Timeline(name, predictor.bundle.class_names, predictor.bundle.threshold)
    stack.callback(lambda: timeline.write(file))
    return timeline.add


def _annotate(predictor: Predictor, image: ImageFile, file: Path) -> None:
    from .data.samples import RejectedImageError
    from .runtime.photos import draw_faces, face_detector, predict_faces

    try:
        found = predict_faces(predictor.one_face, face_detector(predictor.bundle), image)
    except RejectedImageError:
        return  # its verdict is already printed
    _save(draw_faces(*found, predictor.bundle.class_names), file)


def _explain(predictor: Predictor, image: ImageFile, file: Path) -> None:
    from .data.samples import RejectedImageError
    from .evaluation.saliency import answer_evidence, draw_evidence

    try:
        pixels, probabilities, threshold = predictor.explained(image)
        upright = predictor.shown(image)
    except RejectedImageError:
        return  # its verdict is already printed
    upright.thumbnail((MAX_SIDE, MAX_SIDE))
    _save(draw_evidence(upright, answer_evidence(probabilities, pixels, threshold)), file)


def _save(image: Image, file: Path) -> None:
    try:
        image.save(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be written: {getattr(error, 'strerror', None) or error}") from None


main = typer_command(predict)

if __name__ == "__main__":
    main()
