"""The HTTP service, asked as a client would."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from src.runtime.bundle import Bundle
from src.runtime.predictor import ImageFile, ImagePredictor
from src.web.service import ServiceLimits, create_service

TOKEN = "for-this-test-only"  # noqa: S105


@pytest.fixture(scope="module")
def classifier(bundle: Bundle) -> ImagePredictor:
    return ImagePredictor(bundle)


@pytest.fixture
def client(classifier: ImagePredictor) -> TestClient:
    return TestClient(create_service(classifier), base_url="http://localhost")


def test_forms_and_raw_bodies_get_the_answer_of_the_command(
    client: TestClient, classifier: ImagePredictor, album: Path
) -> None:
    paths = sorted(path for path in album.iterdir() if path.is_file())
    expected = list(classifier.answers(ImageFile(str(path)) for path in paths))
    form = client.post("/v1/predict", files=[("files", (path.name, path.read_bytes())) for path in paths]).json()
    assert form["model"] == classifier.model_id
    assert [answer["path"] for answer in form["answers"]] == [path.name for path in paths]
    assert [answer["verdict"] for answer in form["answers"]] == [answer.verdict for answer in expected]
    for answer, said in zip(form["answers"], expected, strict=True):
        told = said.fields(("sad", "happy")) | {"path": Path(said.path).name}
        assert answer == {name: pytest.approx(told[name], abs=1e-6) for name in answer}
    assert client.post("/v1/predict", content=b"").status_code == 400
    raw = client.post("/v1/predict", content=paths[0].read_bytes()).json()
    assert raw["answers"][0]["p_happy"] == pytest.approx(expected[0].probability, abs=1e-6)


def test_what_the_docs_show_is_what_is_answered(client: TestClient, album: Path) -> None:
    described = client.get("/openapi.json").json()
    schemas = described["components"]["schemas"]
    body = client.post("/v1/predict", content=(album / "a.png").read_bytes()).json()
    for name, found in (("PredictBody", body), ("AnswerBody", body["answers"][0])):
        (shown,) = schemas[name]["examples"]
        assert sorted(shown) == sorted(found)
        assert list(found) == list(schemas[name]["properties"])
    failed = described["paths"]["/v1/predict"]["post"]["responses"]["413"]["content"]["application/json"]["schema"]
    assert failed["$ref"].endswith("/ErrorBody")
    assert list(client.post("/v1/predict", content=b"").json()) == ["error"]
    page = client.get("/docs").text
    assert all(text in page for text in ("p_happy", "&#34;verdict&#34;: &#34;ok&#34;", "<code>unsure</code>"))


def test_p_is_named_for_the_class_whose_probability_it_is(bundle: Bundle, album: Path) -> None:
    pets = ImagePredictor(replace(bundle, class_names=("dog", "cat-like")))
    client = TestClient(create_service(pets), base_url="http://localhost")
    (answer,) = client.post("/v1/predict", content=(album / "a.png").read_bytes()).json()["answers"]
    assert answer["label"] in ("dog", "cat-like")
    assert 0 <= answer["p_cat-like"] <= 1


def test_a_token_guards_all_but_the_health_checks(classifier: ImagePredictor) -> None:
    client = TestClient(create_service(classifier, token=TOKEN), base_url="http://localhost")
    for path in ("/v1/model", "/metrics"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert client.get(path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert client.post("/v1/predict", content=b"x").status_code == 401
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").status_code == 200


def test_requests_past_the_limits_are_rejected(classifier: ImagePredictor) -> None:
    client = TestClient(
        create_service(classifier, limits=ServiceLimits(images=2, megabytes=0.01)), base_url="http://localhost"
    )
    assert client.post("/v1/predict", content=b"x" * 10_001).status_code == 413
    announced_nothing = client.post("/v1/predict", content=iter([b"x" * 6_000] * 2))
    assert announced_nothing.status_code == 413
    assert client.post("/v1/predict", files=[("f", (str(n), b"x")) for n in range(3)]).status_code == 400


def test_requests_past_the_bound_are_told_to_come_back(
    classifier: ImagePredictor, image: Callable[[int], Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, leave = threading.Event(), threading.Event()
    answers = classifier.answers

    def slow(images: list[ImageFile]) -> object:
        entered.set()
        assert leave.wait(20)
        return answers(images)

    monkeypatch.setattr(classifier, "answers", slow)
    client = TestClient(create_service(classifier, limits=ServiceLimits(requests=1)), base_url="http://localhost")
    first: list[int] = []
    data = image(0).tobytes()
    with client:
        thread = threading.Thread(target=lambda: first.append(client.post("/v1/predict", content=data).status_code))
        thread.start()
        assert entered.wait(20)
        rejected = client.post("/v1/predict", content=data)
        leave.set()
        thread.join(20)
    assert (rejected.status_code, rejected.headers["retry-after"]) == (503, "1")
    assert first == [200]


def test_metrics_count_images_by_verdict(client: TestClient) -> None:
    client.post("/v1/predict", files={"file": ("empty.png", b"")})
    assert 'happy_sad_images_total{verdict="unreadable"} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize("origin", ["http://[x", "http://elsewhere.example", "null"])
def test_what_another_site_asks_is_rejected(client: TestClient, origin: str) -> None:
    assert client.get("/healthz", headers={"Origin": origin}).status_code == 403


def test_binding_beyond_loopback_needs_a_token(run_command: Callable[..., object]) -> None:
    result = run_command("src.serve", "--host", "0.0.0.0")  # noqa: S104
    assert result.returncode == 2  # type: ignore[attr-defined]
    assert "needs --token" in result.stderr  # type: ignore[attr-defined]
