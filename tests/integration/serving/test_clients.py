"""The clients that people use get from the server what `foretail forecast` writes, to 1e-9, by every protocol."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from served import NAME

KEYS = ("store_id", "dept_id")
OUTPUTS = ("predictions", "q2_5", "q10", "q50", "q90", "q97_5")
TOLERANCE = {"rtol": 1e-9, "atol": 0}


def columns(frame):
    """The tensors that ask for every row of the forecasts."""
    keys = {name: frame[name].to_numpy().astype(np.int64) for name in KEYS}
    return keys | {"target_date": np.array([str(date).encode() for date in frame["date"]], dtype=np.object_)}


def kserve_request(frame, *, binary, **more):
    inputs = []
    for name, values in columns(frame).items():
        item = InferInput(name, [len(values)], "BYTES" if values.dtype == object else "INT64")
        item.set_data_from_numpy(values, binary_data=binary)
        inputs.append(item)
    return InferRequest(NAME, inputs, request_id="golden", **more)


def check(answer, frame):
    for output in OUTPUTS:
        expected = frame["y_hat" if output == "predictions" else output].to_numpy()
        np.testing.assert_allclose(answer[output], expected, **TOLERANCE)


def rest(protocol, call):
    async def run():
        async with InferenceRESTClient(RESTConfig(protocol=protocol)) as client:
            return await call(client)

    return asyncio.run(run())


def test_kserve_rest_client_v1(world, server):
    frame = world.forecasts[1]
    instances = frame.select(*KEYS, pl.col("date").cast(pl.String).alias("target_date")).to_dicts()
    answer = rest("v1", lambda client: client.infer(server.http, {"instances": instances}, NAME))
    table = pl.DataFrame(answer["predictions"])
    check({"predictions": table["y_hat"].to_numpy(), **{name: table[name].to_numpy() for name in OUTPUTS[1:]}}, frame)
    assert table.select(*KEYS).to_dicts() == frame.select(*KEYS).to_dicts()
    assert table["cutoff"].to_list() == [str(date) for date in frame["cutoff"]]
    for name in ("step", "model", "model_version", "source"):
        assert table[name].to_list() == frame[name].to_list()


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
def test_kserve_rest_client_v2(world, server, binary):
    frame = world.forecasts[1]
    request = kserve_request(frame, binary=binary, parameters={"binary_data_output": binary})
    answer = rest("v2", lambda client: client.infer(server.http, request, NAME))
    check({output.name: output.as_numpy() for output in answer.outputs}, frame)
    assert answer.id == "golden"
    assert answer.parameters["model_version"] == f"{NAME}/1"
    assert answer.parameters["cutoff"] == str(frame["cutoff"][0])
    assert answer.parameters["source"] == "model"


def test_kserve_rest_client_asks_for_readiness(server):
    assert rest("v2", lambda client: client.is_server_ready(server.http))
    assert rest("v2", lambda client: client.is_server_live(server.http))
    assert rest("v1", lambda client: client.is_model_ready(server.http, NAME))


@pytest.mark.parametrize("binary", [False, True], ids=["contents", "raw"])
def test_kserve_grpc_client(world, server, binary):
    async def run():
        async with InferenceGRPCClient(server.grpc) as client:
            assert await client.is_server_ready()
            assert await client.is_model_ready(NAME)
            return await client.infer(kserve_request(world.forecasts[1], binary=binary))

    answer = asyncio.run(run())
    check({output.name: output.as_numpy() for output in answer.outputs}, world.forecasts[1])


def triton_inputs(module, frame):
    inputs = []
    for name, values in columns(frame).items():
        item = module.InferInput(name, [len(values)], "BYTES" if values.dtype == object else "INT64")
        item.set_data_from_numpy(values)
        inputs.append(item)
    return inputs


def test_triton_http_client(world, server):
    http = pytest.importorskip("tritonclient.http")
    with http.InferenceServerClient(server.http.removeprefix("http://")) as client:
        assert client.is_server_ready()
        assert client.is_model_ready(NAME, "2")
        names = [tensor["name"] for tensor in client.get_model_metadata(NAME)["inputs"]]
        assert names == [*KEYS, "target_date"]
        for version, frame in world.forecasts.items():
            answer = client.infer(NAME, triton_inputs(http, frame), model_version=str(version))
            check({name: answer.as_numpy(name) for name in OUTPUTS}, frame)
        with pytest.raises(Exception, match="no output 'q11'"):
            client.infer(NAME, triton_inputs(http, frame), outputs=[http.InferRequestedOutput("q11")])


TRITON = """
import json, sys
import numpy as np
import tritonclient.grpc as grpc
from served import NAME

address, version, columns = json.loads(sys.stdin.read())
with grpc.InferenceServerClient(address) as client:
    assert client.is_server_ready()
    assert client.is_model_ready(NAME, version)
    inputs = []
    for name, values in columns.items():
        kind = "BYTES" if name == "target_date" else "INT64"
        array = np.array(values, dtype=object if kind == "BYTES" else np.int64)
        inputs.append(grpc.InferInput(name, [len(array)], kind))
        inputs[-1].set_data_from_numpy(array)
    answer = client.infer(NAME, inputs, model_version=version)
    names = [output.name for output in client.get_model_metadata(NAME).outputs]
    assert answer.get_response().model_version == version
    print(json.dumps({name: answer.as_numpy(name).tolist() for name in names}))
"""


@pytest.mark.parametrize("version", [1, 2])
def test_triton_grpc_client(world, server, version):
    """In a process of its own: one process holds only one of the two clients' descriptions of the same protocol."""
    frame = world.forecasts[version]
    columns = {name: frame[name].cast(pl.String if name == "date" else pl.Int64).to_list() for name in (*KEYS, "date")}
    given = json.dumps([server.grpc, str(version), {"target_date": columns.pop("date"), **columns}])
    command = [sys.executable, "-c", TRITON]
    done = subprocess.run(command, input=given, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert tuple(answer) == OUTPUTS
    check(answer, frame)


def test_curl_as_in_the_documentation(server):
    for line in documented_curls():
        command = line.replace("http://127.0.0.1:8080", server.http)
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        if "/metrics" not in line:
            assert "error" not in json.loads(done.stdout), done.stdout


def documented_curls():
    """The shell lines of the documentation that call curl; a line may go on after a backslash."""
    text = (Path(__file__).resolve().parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")
    blocks = [part.split("```", 1)[0] for part in text.split("```bash\n")[1:]]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = [line for line in lines if line.startswith("curl ")]
    assert len(found) >= 5
    return found
