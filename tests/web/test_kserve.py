"""The Open Inference Protocol, spoken byte for byte as tritonclient's HTTP client does."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from httpx import Response
from PIL import Image

from src.runtime.bundle import Bundle
from src.runtime.predictor import ImageFile, ImagePredictor
from src.web.kserve_tensors import MAX_JSON_BYTES
from src.web.service import create_service

INFER = "/v2/models/happy-sad/infer"
LENGTH = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def client(bundle: Bundle) -> TestClient:
    return TestClient(create_service(ImagePredictor(bundle)), base_url="http://localhost")


def tensor(datatype: str, shape: list[int], **rest: Any) -> dict[str, Any]:
    return {"name": "image", "datatype": datatype, "shape": shape, **rest}


def as_json(client: TestClient, given: dict[str, Any], **rest: Any) -> Response:
    return client.post(INFER, content=json.dumps({"inputs": [given], **rest}))


def as_bytes(client: TestClient, datatype: str, shape: list[int], data: bytes, **rest: Any) -> Response:
    """A request as `InferInput.set_data_from_numpy` makes it, whose default is bytes behind the JSON."""
    given = tensor(datatype, shape, parameters={"binary_data_size": len(data)})
    head = json.dumps({"inputs": [given], **rest}).encode()
    return client.post(INFER, content=head + data, headers={LENGTH: str(len(head))})


def outputs(response: Response) -> dict[str, list[Any]]:
    """The tensors of an answer by name, in either form."""
    assert response.status_code == 200, response.text
    length = int(response.headers.get(LENGTH, len(response.content)))
    behind, found = response.content[length:], {}
    for output in json.loads(response.content[:length])["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size", 0)
        data, behind = behind[:size], behind[size:]
        if "data" in output:
            found[output["name"]] = output["data"]
        elif output["datatype"] == "FP32":
            found[output["name"]] = np.frombuffer(data, "<f4").tolist()
        else:
            found[output["name"]] = texts = []
            while data:
                (size,) = struct.unpack_from("<I", data)
                texts.append(data[4 : 4 + size].decode())
                data = data[4 + size :]
        assert output["shape"] == [len(found[output["name"]])]
    assert not behind
    return found


def test_every_form_of_a_request_gets_the_answer_of_the_command(
    client: TestClient, bundle: Bundle, album: Path
) -> None:
    files = [album / "a.png", album / "e.webp"]
    said = list(ImagePredictor(bundle).answers(ImageFile(str(file)) for file in files))
    data = [file.read_bytes() for file in files]
    packed = b"".join(struct.pack("<I", len(file)) + file for file in data)
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    shape = list(pixels.shape)
    everything = {"parameters": {"binary_data_output": True}}
    answered = [
        as_json(client, tensor("BYTES", [2], data=[base64.b64encode(file).decode() for file in data])),
        as_bytes(client, "BYTES", [2], packed),
        as_bytes(client, "BYTES", [2], packed, **everything),
        as_json(client, tensor("UINT8", shape, data=pixels.tolist()), **everything),
        as_json(client, tensor("FP32", shape, data=pixels.astype(float).ravel().tolist())),
        as_bytes(client, "FP32", shape, pixels.astype("<f4").tobytes()),
    ]
    for response in answered:
        found = outputs(response)
        assert found["p_happy"] == pytest.approx([answer.probability for answer in said], abs=1e-5)
        assert found["label"] == [answer.label for answer in said]
        assert found["verdict"] == ["ok", "ok"]
        assert found["evidence"] == ["whole image"] * 2


def test_outputs_are_chosen_by_name_and_form_and_the_id_comes_back(client: TestClient, album: Path) -> None:
    given = tensor("BYTES", [1], data=[base64.b64encode((album / "a.png").read_bytes()).decode()])
    wanted = [{"name": "label", "parameters": {"binary_data": True}}, {"name": "p_happy"}]
    response = as_json(client, given, outputs=wanted, id="seven")
    assert list(outputs(response)) == ["label", "p_happy"]
    head = json.loads(response.content[: int(response.headers[LENGTH])])
    assert (head["id"], head["model_name"]) == ("seven", "happy-sad")
    assert "data" not in head["outputs"][0]
    assert "data" in head["outputs"][1]


def test_health_and_metadata_are_the_protocol_s(client: TestClient) -> None:
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/happy-sad/ready"):
        response = client.get(path)
        assert (response.status_code, response.content) == (200, b"")
    assert "binary_tensor_data" in client.get("/v2").json()["extensions"]
    metadata = client.get("/v2/models/happy-sad").json()
    assert metadata["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    assert [output["name"] for output in metadata["outputs"]] == ["p_happy", "label", "verdict", "evidence"]
    assert client.get("/v2/models/another").json().keys() == {"error"}


ONE = base64.b64encode(b"no image").decode()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (tensor("BYTES", [1], data=["?"]), "no base64"),
        (tensor("BYTES", [1], data=[7]), "no base64"),
        (tensor("BYTES", [1], data=[ONE]), "image 0: not_an_image"),
        (tensor("BYTES", [2], data=[ONE]), "the data holds 1 images"),
        (tensor("BYTES", [33], data=[ONE] * 33), "accepts 1 to 32 images"),
        (tensor("BYTES", [0], data=[]), "accepts 1 to 32 images"),
        (tensor("BYTES", [1]), "the data holds 0 images"),
        (tensor("INT64", [1], data=[1]), "inputs.0.datatype"),
        (tensor("FP32", [1, 8, 8], data=[0]), "(n, height, width, 3)"),
        (tensor("FP32", [1, -8, -8, 3], data=[0]), "(n, height, width, 3)"),
        (tensor("FP32", [1, 8, 8, 3], data=[0, 1]), "the data holds 2 numbers"),
        (tensor("UINT8", [1, 8, 8, 3], data=[999] * 192), "no UINT8 numbers"),
        (tensor("FP32", [1, 8, 8, 3], data=[[1], [1, 2]]), "no FP32 numbers"),
        (tensor("FP32", [1, 8, 8, 3], data=[0.5] * 192), "multiply them by 255"),
        (tensor("BYTES", [1], parameters={"binary_data_size": 5}), "0 bytes follow"),
    ],
)
def test_what_is_not_the_protocol_is_one_line(client: TestClient, given: dict[str, Any], said: str) -> None:
    response = as_json(client, given)
    assert response.status_code == 400
    assert said in response.json()["error"]


@pytest.mark.parametrize("address", ["models/another/infer", "models/happy-sad/versions/2/infer", "nothing"])
def test_another_model_is_an_error_that_clients_of_the_protocol_read(client: TestClient, address: str) -> None:
    for response in (client.post(f"/v2/{address}", content=b"{}"), client.get(f"/v2/{address}")):
        assert response.status_code == 404
        assert "the only model is /v2/models/happy-sad" in response.json()["error"]
    wrong = client.get(INFER)
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "POST")


def test_the_version_that_the_metadata_name_can_be_asked_by_name(client: TestClient, album: Path) -> None:
    metadata = client.get("/v2/models/happy-sad").json()
    (version,) = metadata["versions"]
    named = f"/v2/models/happy-sad/versions/{version}"
    assert client.get(named).json() == metadata
    assert client.get(f"{named}/ready").status_code == 200
    data = base64.b64encode((album / "a.png").read_bytes()).decode()
    asked = {"inputs": [tensor("BYTES", [1], data=[data])]}
    assert client.post(f"{named}/infer", json=asked).json() == client.post(INFER, json=asked).json()


def test_bytes_that_lie_about_their_length_are_one_line(client: TestClient) -> None:
    for data in (b"\x01", b"\xff\xff\xff\xff", struct.pack("<I", 2) + b"x"):
        assert "ends in the middle" in as_bytes(client, "BYTES", [1], data).json()["error"]
    assert client.post(INFER, content=b"{}", headers={LENGTH: "3"}).status_code == 400
    assert client.post(INFER, content=b"{}", headers={LENGTH: "-1"}).status_code == 400
    assert client.post(INFER, content=b"{}", headers={LENGTH: "9" * 5000}).status_code == 400
    assert client.post(INFER, content=b"[" * 100_000).status_code == 400
    assert client.post(INFER, content=b" " * (MAX_JSON_BYTES + 1)).status_code == 413
    given = tensor("BYTES", [1], data=[ONE])
    assert "accepts p_happy" in as_json(client, given, outputs=[{"name": "x"}]).json()["error"]


def test_metrics_count_these_images_too(bundle: Bundle, album: Path) -> None:
    client = TestClient(create_service(ImagePredictor(bundle)), base_url="http://localhost")
    data = base64.b64encode((album / "a.png").read_bytes()).decode()
    outputs(as_json(client, tensor("BYTES", [1], data=[data])))
    told = client.get("/metrics").text
    assert 'happy_sad_images_total{verdict="ok"} 1.0' in told
    assert "happy_sad_request_seconds_count 1.0" in told
