"""Serve a model: `python -m src.serve --port 8000`, then open the page, or POST images to /v1/predict (see /docs)."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

import typer

from .cli.typer_command import typer_command
from .config import PROJECT_ROOT
from .errors import BundleError, ConfigError

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
    page: Annotated[bool, Option(help="Serve the web page too.")] = True,
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
        from .web.corrections import Corrections
        from .web.server import bind, run
        from .web.service import create_service
        from .web.uploads import SERVING_LIMITS
    except ImportError as error:
        raise BundleError(f"serving needs {error.name}: pip install '.[serve]' in the checkout") from None
    from .conversion.opening import open_model
    from .runtime.photos import open_predictor

    predictor = open_predictor(open_model(model, tracking_uri), limits=SERVING_LIMITS)
    hosts = None if token and not allowed_host else [host, *(allowed_host or [])]
    kept = Corrections(corrections, predictor.bundle.class_names) if page else None
    service = create_service(predictor, token=token, corrections=kept, hosts=hosts)
    listening = bind(host, port)
    shown_host = f"[{host}]" if ":" in host else host
    print(f"serving {predictor.model_id} at http://{shown_host}:{listening.getsockname()[1]}/", flush=True)
    run(service, listening)


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
