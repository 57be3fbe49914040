"""Classify images as happy or sad: `python -m src.predict photo.jpg`.

Neither TensorFlow nor MLflow is imported, unless the model is named by a run or by the registry.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .cli.hydra_command import typer_command
from .config import PROJECT_ROOT
from .errors import ConfigError, DataError
from .terminal import printable

if TYPE_CHECKING:
    from PIL.Image import Image

    from .detection.detectors import Detector
    from .runtime.classifier import Answer, Answering
    from .runtime.image_files import ImageFile
    from .runtime.sorting import Mode

SOME_REJECTED = 3
CACHE = PROJECT_ROOT / ".cache" / "answers.sqlite"
BAR_FROM = 200
SHOWN = 1280

Flag = typer.Option


def predict(
    paths: Annotated[
        list[str] | None, typer.Argument(help="Images, folders of them, or - for standard input.", show_default=False)
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
    move: Annotated[bool, Flag("--move", help="With --sort-into: move instead of copying.")] = False,
    undo: Annotated[Path | None, Flag(help="Undo everything that was sorted into this folder.")] = None,
    faces: Annotated[bool, Flag("--faces", help="Find faces and give an answer for each.")] = False,
    no_faces: Annotated[bool, Flag("--no-faces", help="Do not look for faces: each image is one face.")] = False,
    yunet: Annotated[Path | None, Flag(help="With --faces: find them with this YuNet model file.")] = None,
    annotate: Annotated[
        Path | None, Flag(help="Save the image here, with its faces boxed and labeled; implies --faces.")
    ] = None,
    explain: Annotated[
        Path | None, Flag(help="Save the image here, orange where it supports the answer, blue against.")
    ] = None,
    cache: Annotated[bool, Flag("--cache", help="Store the answers, and reuse those of unchanged files.")] = False,
) -> None:
    """Classify images as happy or sad. Prints the label, p_happy, the confidence (the probability of the label) and
    what the answer rests on. The confidence can be below 0.5, as the threshold is chosen on validation.

    Exit code 3: some images could not be read; 2: wrong usage.
    """
    if undo:
        _undo(undo)
        return
    _check(bool(paths), "name images or folders, or - for standard input")
    _check(not (faces or annotate) or not (sort_into or cache), "--faces goes with neither --sort-into nor --cache")
    _check(bool(faces or annotate) or yunet is None, "--yunet goes with --faces")
    _check(not no_faces or not (faces or annotate), "choose one of --faces and --no-faces")
    mode = _sorting_mode(sort_into, paths or [], recursive=recursive, link=link, move=move)
    for file in (annotate, explain):
        _check(
            file is None or _can_be_written(file), f"{file}: cannot be written; name a .png in a folder that is there"
        )
    one_by_one = faces or annotate is not None
    classifier, images = _open(model, tracking_uri, paths or [], recursive, not (one_by_one or no_faces))
    _check(len(images) == 1 or not (annotate or explain), "--annotate and --explain take one image")
    rejected = 0
    with ExitStack() as stack:
        writers = _writers(stack, classifier, as_json, [file for file in (csv, parquet) if file], sort_into, mode)
        found = stack.enter_context(_answers(classifier, images, one_by_one, yunet, cache))
        for answer in _with_progress(found, len(images)):
            rejected += answer.verdict == "unreadable"
            for write in writers:
                write(answer)
    if annotate:
        _annotate(classifier, images[0], yunet, annotate)
    if explain:
        _explain(classifier, images[0], explain)
    raise typer.Exit(SOME_REJECTED if rejected else 0)


def _check(allowed: bool, otherwise: str) -> None:
    if not allowed:
        raise ConfigError(otherwise)


def _sorting_mode(sort_into: Path | None, paths: list[str], *, recursive: bool, link: bool, move: bool) -> Mode:
    """How images are sorted. Raises ConfigError where they cannot be sorted into that folder, or in that way."""
    _check(not (link and move), "choose one of --link and --move")
    mode: Mode = "link" if link else "move" if move else "copy"
    if sort_into is None:
        _check(mode == "copy", f"--{mode} goes with --sort-into")
        return mode
    _check("-" not in paths, "--sort-into takes files and folders, not standard input")
    into = Path(os.path.realpath(sort_into))
    for folder in filter(os.path.isdir, paths):
        sorted_folder = Path(os.path.realpath(folder))
        inside = into == sorted_folder or (recursive and into.is_relative_to(sorted_folder))
        _check(not inside, f"--sort-into {sort_into}: lies in {folder}, whose images are sorted; name another place")
    return mode


def _can_be_written(file: Path) -> bool:
    from PIL import Image

    known = Image.registered_extensions().get(file.suffix.lower()) in Image.SAVE
    return known and file.parent.is_dir() and os.access(file.parent, os.W_OK)


def _open(
    model: str | None, tracking_uri: str | None, paths: list[str], recursive: bool, look_for_faces: bool
) -> tuple[Answering, list[ImageFile]]:
    from .conversion.opening import open_model
    from .runtime.image_files import list_images
    from .runtime.photos import open_classifier

    images = list_images(paths, recursive=recursive)
    return open_classifier(open_model(model, tracking_uri), look_for_faces=look_for_faces), images


def _answers(
    classifier: Answering, images: list[ImageFile], one_by_one: bool, yunet: Path | None, cache: bool
) -> AbstractContextManager[Iterator[Answer]]:
    """The answers in order, from the cache where that is asked for."""
    if one_by_one:
        from .runtime.faces import face_answers

        detect, faces = _detector(classifier, yunet), classifier.one_face
        return nullcontext(answer for image in images for answer in face_answers(faces, detect, image))
    if not cache:
        return nullcontext(classifier.answers(images))
    from .runtime.cache import cached_answers

    return cached_answers(CACHE, classifier, images)


def _detector(classifier: Answering, yunet: Path | None) -> Detector:
    from .detection.detectors import yunet_detector
    from .runtime.faces import face_detector

    return yunet_detector(yunet) if yunet else face_detector(classifier.bundle)


def _writers(
    stack: ExitStack, classifier: Answering, as_json: bool, tables: list[Path], sort_into: Path | None, mode: Mode
) -> list[Callable[[Answer], object]]:
    from .runtime import outputs

    names = classifier.bundle.class_names

    def show(answer: Answer) -> None:
        print((outputs.as_json if as_json else outputs.as_text)(answer, names))

    writers: list[Callable[[Answer], object]] = [show]
    writers += [stack.enter_context(outputs.table_writer(file, names)) for file in tables]
    if sort_into:
        from .runtime.sorting import Sorter

        sorter = Sorter(sort_into, mode)
        writers.append(sorter.put)
        stack.callback(lambda: print(sorter.report, file=sys.stderr))
    return writers


def _with_progress(answers: Iterator[Answer], count: int) -> Iterator[Answer]:
    """The same answers, with a bar on stderr where that is a terminal and the answers go elsewhere."""
    if count < BAR_FROM or not sys.stderr.isatty() or sys.stdout.isatty():
        return answers
    from rich.console import Console
    from rich.progress import track

    return iter(track(answers, "predicting", count, console=Console(stderr=True), transient=True))


def _annotate(classifier: Answering, image: ImageFile, yunet: Path | None, file: Path) -> None:
    from .data.samples import RejectedImageError
    from .runtime.faces import classify_faces, draw_faces

    try:
        found = classify_faces(classifier.one_face, _detector(classifier, yunet), image)
        drawn = draw_faces(*found, classifier.bundle.class_names)
    except RejectedImageError:
        return  # its verdict is already printed
    _save(drawn, file)


def _explain(classifier: Answering, image: ImageFile, file: Path) -> None:
    from .data.samples import RejectedImageError
    from .explanation.saliency import answer_evidence, draw_evidence

    try:
        pixels, probabilities, threshold = classifier.explained(image)
        upright = classifier.shown(image)
    except RejectedImageError:
        return  # its verdict is already printed
    upright.thumbnail((SHOWN, SHOWN))
    _save(draw_evidence(upright, answer_evidence(probabilities, pixels, threshold)), file)


def _save(image: Image, file: Path) -> None:
    try:
        image.save(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be written: {getattr(error, 'strerror', None) or error}") from None


def _undo(folder: Path) -> None:
    from .runtime.sorting import LOG, undo

    print(f"{undo(folder)} images undone in {printable(str(folder))}")
    if (folder / LOG).exists():
        print("the others stay: their old place is taken, or they are not where they were put", file=sys.stderr)


main = typer_command(predict)

if __name__ == "__main__":
    main()
