"""The image for serving: its lock holds what the service imports, and the image answers."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.serving import serving
from src.config import PROJECT_ROOT

pytestmark = pytest.mark.integration

IMAGE = "happy-sad-test"
TOKEN = "for-this-test-only"  # noqa: S105


LOCKED_ONLY = """
import re, sys
from importlib.metadata import packages_distributions
from pathlib import Path

def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()

locked = {plain(name) for name in re.findall(r"^(\\S+)==", Path("requirements/serve.lock").read_text(), re.MULTILINE)}
hidden = {top for top, owners in packages_distributions().items() if not {plain(owner) for owner in owners} & locked}
assert {"tensorflow", "keras", "mlflow", "hydra", "scipy"} <= hidden

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

from fastapi.testclient import TestClient  # which needs a client for HTTP that serving does not

sys.meta_path.insert(0, Hide())
import src.serve, src.web.page, src.web.server
from src.runtime.predictor import ImagePredictor
from src.conversion.opening import open_model
from src.web.service import create_service

client = TestClient(create_service(ImagePredictor(open_model())), base_url="http://localhost")
image = Path(sys.argv[1]).read_bytes()
assert client.post("/v1/predict", content=image).json()["answers"][0]["verdict"] == "ok"
assert client.post("/v1/predict", files={"file": image}).json()["answers"][0]["verdict"] == "ok"
assert "## Formats" in client.get("/v1/model").json()["card"]
"""


@pytest.fixture
def image_files(tmp_path: Path) -> Path:
    """A folder with what the Dockerfile copies, as far as .dockerignore lets it, and nothing else of the checkout."""
    kept = re.findall(r"^!(\S+)$", (PROJECT_ROOT / ".dockerignore").read_text(), re.MULTILINE)
    for source, target in re.findall(r"^COPY (\S+) (\S+)$", (PROJECT_ROOT / "Dockerfile").read_text(), re.MULTILINE):
        assert source in kept
        place = tmp_path / target / (Path(source).name if target.endswith("/") else "")
        place.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (PROJECT_ROOT / source).is_dir() else shutil.copyfile)(PROJECT_ROOT / source, place)
    return tmp_path


def test_the_files_and_packages_of_the_image_are_enough_to_serve(image_files: Path) -> None:
    command = [sys.executable, "-c", LOCKED_ONLY, str(PROJECT_ROOT / "docs" / "faces.jpg")]
    result = subprocess.run(command, cwd=image_files, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr


NEEDED = """
import importlib, importlib.metadata as metadata, re, sys
from pathlib import Path
from fastapi.testclient import TestClient
import src.serve, src.web.page
from src.runtime.predictor import ImagePredictor
from src.conversion.opening import open_model
from src.web.service import create_service

client = TestClient(create_service(ImagePredictor(open_model())), base_url="http://localhost")
client.post("/v1/predict", files={"file": Path("docs/faces.jpg").read_bytes()})
wanted = set(re.findall(r"^[a-z][a-z0-9-]*", Path("requirements/serve.in").read_text(), re.MULTILINE))
owners = metadata.packages_distributions()
used = {name.lower().replace("_", "-") for top in owners if top in sys.modules for name in owners[top]}
print(*sorted(wanted - used))
"""


def test_serving_imports_each_package_that_is_asked_for() -> None:
    command = [sys.executable, "-c", NEEDED]
    result = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (result.returncode, result.stdout.split()) == (0, []), result.stderr


def test_the_base_of_the_image_is_named_by_its_digest() -> None:
    (base,) = re.findall(r"^ARG BASE=(.*)$", (PROJECT_ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert re.fullmatch(r"python:3\.1[123][\w.-]*@sha256:[0-9a-f]{64}", base)


def test_the_lock_agrees_with_the_one_for_development() -> None:
    serve, development = (
        set(re.findall(r"^(\S+==\S+)", (PROJECT_ROOT / "requirements" / f"{name}.lock").read_text(), re.MULTILINE))
        for name in ("serve", "dev")
    )
    assert len(serve) > 10
    assert serve <= development


def test_the_health_check_of_the_image_notices_a_frozen_service() -> None:
    found = re.search(r"^HEALTHCHECK .*CMD (\[.*\])$", (PROJECT_ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found is not None
    _, flag, code = json.loads(found[1])
    with serving("--no-page") as server:
        check = [sys.executable, flag, code.replace("8000", str(server.port)).replace("timeout=10", "timeout=2")]
        assert subprocess.run(check, check=False).returncode == 0
        server.process.send_signal(signal.SIGSTOP)
        try:
            assert subprocess.run(check, check=False, capture_output=True).returncode != 0
        finally:
            server.process.send_signal(signal.SIGCONT)


def _docker(*arguments: str, seconds: int = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *arguments], cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=seconds, check=False
    )


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    """The address of a container that serves."""
    if shutil.which("docker") is None:
        pytest.skip("docker is not installed")
    if _docker("info").returncode != 0:
        pytest.skip("docker has no daemon that answers")
    (base,) = re.findall(r"^ARG BASE=(.*)$", (PROJECT_ROOT / "Dockerfile").read_text(), re.MULTILINE)
    if _docker("pull", base, seconds=300).returncode != 0:
        pytest.skip(f"docker cannot fetch {base}")
    built = _docker("build", "-t", IMAGE, ".", seconds=900)
    assert built.returncode == 0, built.stderr[-2000:]
    started = _docker("run", "-d", "--rm", "-p", "127.0.0.1::8000", "-e", f"HAPPY_SAD_TOKEN={TOKEN}", IMAGE)
    container = started.stdout.strip()
    assert container, started.stderr
    try:
        yield f"http://{_docker('port', container, '8000').stdout.split()[0]}"
    finally:
        _docker("stop", container)


def test_the_image_answers_as_another_user_than_root(service: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"{service}/readyz", timeout=2)  # noqa: S310
            break
        except OSError:
            assert time.monotonic() < deadline, "the container does not answer"
            time.sleep(0.5)
    image = (PROJECT_ROOT / "docs" / "faces.jpg").read_bytes()
    request = urllib.request.Request(  # noqa: S310
        f"{service}/v1/predict", image, {"Authorization": f"Bearer {TOKEN}", "Content-Type": "image/jpeg"}
    )
    assert b'"verdict":"ok"' in urllib.request.urlopen(request, timeout=10).read()  # noqa: S310
    assert _docker("run", "--rm", "--entrypoint", "id", IMAGE, "-u").stdout.strip() == "10001"
