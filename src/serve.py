"""Serve a model over HTTP: `python -m src.serve --port 8000`, then POST pictures to /v1/predict; docs at /docs."""

from __future__ import annotations

import ipaddress
import sys
from typing import Annotated

import typer

from src.errors import BundleError, ConfigError, UserError

Option = typer.Option


def serve(
    model: Annotated[str | None, Option(help="A bundle's folder, a run id or models:/NAME@ALIAS.")] = None,
    tracking_uri: Annotated[str | None, Option(help="The store of --model, where it is not the project's own.")] = None,
    host: Annotated[str, Option(help="The address to bind to; beyond loopback --token is needed.")] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, help="0: any free one.")] = 8000,
    token: Annotated[str | None, Option(envvar="HAPPY_SAD_TOKEN", help="Ask for this bearer token.")] = None,
) -> None:
    """Serve a model over HTTP. Ctrl-C finishes the requests under way and stops."""
    if not token and not _is_loopback(host):
        raise ConfigError(f"--host {host}: reachable from other machines, which needs --token (or HAPPY_SAD_TOKEN)")
    try:
        import uvicorn

        from src.inference.web import create_service
    except ImportError as error:
        raise BundleError(f"serving needs {error.name}: pip install 'happy-sad[serve]'") from None
    from src.inference.classifier import Classifier
    from src.inference.opening import open_model

    classifier = Classifier(open_model(model, tracking_uri))
    print(f"serving {classifier.model_id} at http://{host}:{port}/docs", flush=True)
    service = create_service(classifier, token=token)
    uvicorn.run(service, host=host, port=port, log_level="warning", timeout_graceful_shutdown=10)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def main() -> None:
    """Run the command on `sys.argv`; what the user can mend is one line, not a traceback."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(serve)
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
