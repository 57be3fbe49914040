"""Serve a model: `python -m src.serve --port 8000`, then open the page, or POST images to /v1/predict (see /docs)."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .cli.typer_command import typer_command
from .config import PROJECT_ROOT
from .errors import BundleError, ConfigError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from .runtime.predictor import Predictor

CORRECTIONS = PROJECT_ROOT / "outputs" / "corrections"

MIN_TOKEN_LENGTH = 16
Option = typer.Option


def serve(
    model: Annotated[
        str | None, Option(help="A bundle, a run id or models:/NAME@ALIAS; default: the shipped model.")
    ] = None,
    tracking_uri: Annotated[
        str | None, Option(envvar="MLFLOW_TRACKING_URI", help="The store of --model; default: the project's own.")
    ] = None,
    host: Annotated[str, Option(help="The address to listen on; other than loopback needs --token.")] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, help="The port; 0 takes any free one.")] = 8000,
    token: Annotated[str | None, Option(envvar="HAPPY_SAD_TOKEN", help="Require this bearer token.")] = None,
    allowed_host: Annotated[
        list[str] | None, Option(help="Another host name of the service, besides localhost.")
    ] = None,
    page: Annotated[bool, Option(help="Serve the web page too, which needs Gradio.")] = True,
    corrections: Annotated[
        Path, Option(help="The folder for corrections made on the page.", show_default="outputs/corrections")
    ] = CORRECTIONS,
) -> None:
    """Serve a model over HTTP, with a web page. Ctrl-C finishes the current requests and stops."""
    if not token and not _is_loopback(host):
        raise ConfigError(f"--host {host}: reachable from other machines, which needs --token (or HAPPY_SAD_TOKEN)")
    if token and len(token) < MIN_TOKEN_LENGTH:
        raise ConfigError(f"--token: {len(token)} characters can be guessed; give {MIN_TOKEN_LENGTH} or more")
    try:
        from .web.server import bind, run
        from .web.service import create_service
        from .web.uploads import SERVING_LIMITS
    except ImportError as error:
        raise BundleError(f"serving needs {error.name}: pip install '.[serve]' in the checkout") from None
    from .conversion.opening import open_model
    from .runtime.photos import open_predictor

    classifier = open_predictor(open_model(model, tracking_uri), limits=SERVING_LIMITS)
    hosts = None if token and not allowed_host else [host, *(allowed_host or [])]
    made_page = _page(classifier, corrections, token) if page else None
    service = create_service(classifier, token=token, page=made_page, hosts=hosts)
    listening = bind(host, port)
    shown_host = f"[{host}]" if ":" in host else host
    print(f"serving {classifier.model_id} at http://{shown_host}:{listening.getsockname()[1]}/", flush=True)
    run(service, listening)


def _page(classifier: Predictor, folder: Path, token: str | None) -> Callable[[], FastAPI]:
    """What makes the page, later and in a thread: importing Gradio takes seconds."""
    if importlib.util.find_spec("gradio") is None:
        raise BundleError("the page needs gradio: pip install '.[serve]' in the checkout, or serve with --no-page")
    from .web.corrections import Corrections

    corrections = Corrections(folder, classifier.bundle.class_names)

    def build() -> FastAPI:
        temporary = tempfile.TemporaryDirectory(prefix="happy-sad-page-")
        # Gradio reads both when it is imported; by default it shares one folder with all users of the machine.
        os.environ["GRADIO_TEMP_DIR"], os.environ["GRADIO_ANALYTICS_ENABLED"] = temporary.name, "False"
        from .web.page import build_page

        return build_page(classifier, corrections, temporary, signed_in=bool(token))

    return build


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


main = typer_command(serve)

if __name__ == "__main__":
    main()
