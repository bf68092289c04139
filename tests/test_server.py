"""The server: its answers without a network, and a real client against a real process."""

import asyncio
import dataclasses
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("httpx", reason="pip install hamur[test]")
pytest.importorskip("uvicorn", reason="pip install hamur[serve]")

import httpx

import hamur
from hamur import serving
from hamur.data.columns import Columns, Domain, MultiColumn
from hamur.data.own_table import load_table
from hamur.predictor import Predictor
from hamur.request import Scorer
from hamur.serving import main_serve, make_app
from tests.support.commands import assert_refused

ROW = {"user": "u1", "item": 3, "country": "NL", "price": 0.5, "tags": ["a", "b"], "ignored": {}}
MAX_ROWS, MAX_BYTES = 5, 2000
ROOT = Path(__file__).resolve().parents[1]


def make_table(rows: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "user": [f"u{number}" for number in random.integers(0, 9, rows)],
            "item": random.integers(0, 7, rows),
            "country": random.choice(["NL", "FR", "ES"], rows, p=[0.5, 0.3, 0.2]),
            "price": random.random(rows).round(3),
            "tags": random.choice(["a|b", "b", "c|a"], rows),
            "click": np.arange(rows) % 2,
            "buy": np.arange(rows) // 2 % 2,
        }
    )


def make_schema(**changes):
    kinds = dict(user="code", item="code", country="code", price="number", tags="text")
    columns = Columns(
        kinds=kinds | dict(click="int", buy="int"),
        labels=dict(click="click", buy="buy"),
        sparse=("user", "item"),
        dense=("price",),
        multi=(MultiColumn("tags", "tags", max_len=2),),
        domain=Domain("country"),
    )
    return load_table(make_table(600, 1), dataclasses.replace(columns, **changes))[1]


@pytest.fixture(scope="module")
def schema():
    return make_schema()


def ids_and_price(table, preference):
    """What stands for a model: (B, 2), of everything that a row has."""
    if preference is not None and np.shape(preference)[-1] != 2:
        raise ValueError("a preference has 2 weights.")
    first = table.sparse.sum(axis=1) / 100 + table.dense[:, 0] / 7
    weights = np.broadcast_to([0.5, 0.5] if preference is None else preference, (len(table), 2))
    return first[:, None] * weights


@pytest.fixture(scope="module")
def predictor(schema):
    return Predictor(schema, ids_and_price, "stand-in")


@pytest.fixture(scope="module")
def ask(predictor):
    """A request to the routes of a warm server: ask(method, path, **of httpx)."""
    return caller(predictor)


def caller(predictor, warm=True):
    event = threading.Event()
    if warm:
        event.set()
    app = make_app(Scorer(predictor, MAX_ROWS), event, MAX_BYTES)

    def ask(method, path, **options):
        async def call():
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, **options)

        return asyncio.run(call())

    return ask


def refused(response, status, *words):
    """One line with these words; returns the answer."""
    answer = response.json()
    assert response.status_code == status, answer
    assert "\n" not in answer["detail"] and "/" not in answer["detail"]
    for word in words:
        assert word in answer["detail"]
    return answer


def changed(**cells):
    return {"rows": [ROW, ROW | cells]}


def test_the_scores_are_those_of_the_predictor_and_counts_of_what_is_unknown_come_with_them(
    ask, predictor
):
    rows = [ROW, ROW | {"user": "strange", "item": "3", "price": 9, "tags": "a|z"}]
    rows += [dict.fromkeys(ROW) | {"country": "ES"}]
    response = ask("POST", "/predict", json={"rows": rows})
    answer = response.json()
    assert response.status_code == 200 and np.shape(answer["probabilities"]) == (3, 2)
    names = ("user", "item", "country", "price")
    needed = [{n: row[n] for n in names} | {"tags": "a|b"} for row in rows]
    needed[1]["tags"], needed[2]["tags"] = "a|z", None
    np.testing.assert_allclose(answer["probabilities"], predictor.predict(needed), atol=1e-6)
    assert answer["unknown"] == {"user": 2, "item": 1, "tags": 1} | answer["unknown"]
    assert answer["rows"] == 3 and answer["clipped"] == {"price": 1}
    assert answer["model"] == {"name": "stand-in", "labels": ["click", "buy"]}


def test_the_example_of_the_schema_is_scored_with_nothing_unknown(ask, schema):
    described = ask("GET", "/schema").json()
    assert described["domains"] == list(schema.domain_names) == ["NL", "FR", "ES"]
    assert list(described["columns"]) == list(described["example"])
    answer = ask("POST", "/predict", json={"rows": [described["example"]]}).json()
    assert (answer["unknown"], answer["clipped"]) == ({}, {})


def test_a_preference_is_one_for_all_rows_or_one_per_row(ask):
    def scores(preference):
        body = {"rows": [ROW, ROW], "preference": preference}
        return np.array(ask("POST", "/predict", json=body).json()["probabilities"])

    np.testing.assert_allclose(scores([0.25, 0.75]) * [3, 1], scores([0.75, 0.25]) * [1, 3])
    np.testing.assert_array_equal(scores([[1, 0], [0, 1]])[:, 0] > 0, [True, False])


def test_rows_of_an_unknown_domain_are_scored_as_the_one_that_the_request_names(ask):
    answer = refused(ask("POST", "/predict", json=changed(country="BE")), 422, "'BE'", "NL, FR, ES")
    assert (answer["row"], answer["field"]) == (2, "country")
    body = changed(country="BE")
    answer = ask("POST", "/predict", json=body | {"unknown_domain": "NL"}).json()
    assert answer["other_domain"] == 1
    assert answer["probabilities"][0] == answer["probabilities"][1]
    refused(ask("POST", "/predict", json=body | {"unknown_domain": "BE"}), 422, "NL, FR, ES")


@pytest.mark.parametrize(
    ("body", "status", "row", "field", "word"),
    [
        (changed(price="dear"), 422, 2, "price", "'dear'"),
        (changed(price=[1]), 422, 2, "price", "text or a number"),
        (changed(user={"a": 1}), 422, 2, "user", "text or a number"),
        (changed(tags=["a", None]), 422, 2, "tags", "without '|'"),
        (changed(tags=["a|b"]), 422, 2, "tags", "without '|'"),
        (changed(tags={"a": 1}), 422, 2, "tags", "or a list"),
        (changed(user="x" * 999 + "\0"), 422, 2, "user", "..."),
        ({"rows": [ROW, {"user": "u1"}]}, 422, 2, "item", "missing"),
        ({"rows": [ROW, 3]}, 422, 2, None, "object"),
        ({"rows": ROW}, 422, None, "rows", "array"),
        ({"rows": []}, 422, None, "rows", "at least 1"),
        ({}, 422, None, "rows", "required"),
        ([], 422, None, None, "object"),
        ({"rows": [ROW], "preferences": [1, 0]}, 422, None, "preferences", "known are rows"),
        ({"rows": [ROW], "preference": [1, "0"]}, 422, None, "preference", "numbers"),
        ({"rows": [ROW], "preference": [[1, 0], [1]]}, 422, None, "preference", "numbers"),
        ({"rows": [ROW], "preference": [[1, 0], [0, 1]]}, 422, None, None, "2 for 1 rows"),
        ({"rows": [ROW], "preference": [10**400, 0]}, 422, None, "preference", "numbers"),
        ({"rows": [ROW], "preference": [1, 0, 0]}, 422, None, None, "2 weights"),
        ({"rows": [ROW], "histories": [ROW]}, 422, None, "histories", "cross-domain"),
        ({"rows": [ROW], "unknown_domain": 3}, 422, None, "unknown_domain", "string"),
        ({"rows": [ROW] * (MAX_ROWS + 1)}, 413, None, None, f"at most {MAX_ROWS}"),
        ({"rows": ["x" * MAX_BYTES]}, 413, None, None, f"at most {MAX_BYTES} bytes"),
    ],
)
def test_what_is_wrong_with_a_request_is_told_with_row_and_field(
    ask, body, status, row, field, word
):
    answer = refused(ask("POST", "/predict", json=body), status, word)
    assert (answer.get("row"), answer.get("field")) == (row, field)


@pytest.mark.parametrize(
    ("cell", "status"),
    [
        ("NaN", 422),
        ("-Infinity", 422),
        ("1e999", 422),
        ("1" * 1500, 422),
        ('"\\ud800"', 400),
        ("[" * 1500, 400),
        ("", 400),
        ("\\x", 400),
        ("'a'", 400),
    ],
)
def test_what_json_does_not_have_is_refused(ask, cell, status):
    body = json.dumps(changed(price=0.25)).replace("0.25", cell)
    answer = refused(ask("POST", "/predict", content=body.encode()), status)
    assert status == 400 or (answer["row"], answer["field"]) == (2, "price")


def test_a_body_is_json_in_utf_8(ask):
    body = json.dumps({"rows": [ROW]})
    assert ask("POST", "/predict", content=body.encode("utf-8")).status_code == 200
    refused(ask("POST", "/predict", content=body.encode("utf-16")), 400, "JSON")


def test_rows_of_a_cross_domain_model_come_with_histories(schema):
    class Pair(Predictor):
        def predict(self, rows, histories=None, **options):
            self.encode([{name: row[name] for name in self.encoders.needed} for row in rows])
            return np.array([[len(histories or ()), row.get("timestamp", 0)] for row in rows])

    ask = caller(Pair(schema, None, "pair", {"cross_domain": {}}))
    body = {"rows": [ROW | {"timestamp": 9, "other": 1}, ROW]}
    assert ask("POST", "/predict", json=body).json()["probabilities"] == [[0, 9], [0, 0]]
    body["histories"] = [ROW] * 3
    assert ask("POST", "/predict", json=body).json()["probabilities"] == [[3, 9], [3, 0]]
    body["histories"] = [ROW, {"user": "u1"}]
    refused(ask("POST", "/predict", json=body), 422, "row 2: field 'item'")


def test_a_server_that_warms_up_answers_503_and_its_schema(predictor):
    ask = caller(predictor, warm=False)
    refused(ask("POST", "/predict", json={"rows": [ROW]}), 503, "warming up")
    assert ask("GET", "/health").status_code == 503
    assert ask("GET", "/schema").status_code == 200


def test_a_client_that_sends_too_slowly_is_cut_off(ask, monkeypatch):
    async def slow():
        yield b"{"
        await asyncio.sleep(60)

    monkeypatch.setattr(serving, "BODY_SECONDS", 0.05)
    refused(ask("POST", "/predict", content=slow()), 408, "did not come")


def test_a_defect_says_nothing_to_the_client_and_no_cell_to_the_log(schema, capsys):
    def defect(table, preference):
        raise OSError("a cell, and /a/path")

    ask = caller(Predictor(schema, defect))
    assert refused(ask("POST", "/predict", json={"rows": [ROW]}), 500) == {
        "detail": "internal error"
    }
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "OSError" in error and "cell" not in error


def test_requests_are_counted_by_status(predictor):
    ask = caller(predictor)
    for body in ({"rows": [ROW]}, {"rows": [ROW]}, {}):
        ask("POST", "/predict", json=body)
    text = ask("GET", "/metrics").text
    assert 'hamur_predict_seconds_count{status="200"} 2.0' in text
    assert 'hamur_predict_seconds_count{status="422"} 1.0' in text


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of an untrained pomoe."""
    from hamur import model_folder, models
    from hamur.files import write_json
    from hamur.training.checkpoint import save_weights, snapshot

    folder = tmp_path_factory.mktemp("run")
    sizes = dict(embed_dim=3, num_experts=2, expert_dims=(6, 5), tower_dims=(4, 3))
    config, schema = models.MultiTaskConfig(**sizes), make_schema(multi=(), ignore=("tags",))
    model = models.MULTI_TASK["pomoe"](schema, config=config, seed=3)
    options = {"options": {"model_name": "pomoe"}, "model_config": dataclasses.asdict(config)}
    write_json(folder / "config.json", options)
    model_folder.write(folder, schema, model="pomoe", takes_preferences=True)
    save_weights(folder / "model.safetensors", snapshot(model))
    return folder


class Server:
    """A process that serves a folder; `url` once it listens."""

    def __init__(self, folder, log):
        flags = ["--model", str(folder), "--port", "0", "--max_rows", "4", "--max_bytes", "9000"]
        command, self.log = [sys.executable, "-m", "hamur.serving", *flags], log
        with log.open("w") as file:
            how = dict(cwd=ROOT, stdout=subprocess.PIPE, stderr=file, text=True)
            self.process = subprocess.Popen(command, **how)
        port = re.match(r"port (\d+) of 127.0.0.1", self.process.stdout.readline())
        assert port, log.read_text()
        self.url = f"http://127.0.0.1:{port[1]}"

    def end(self, number) -> int:
        with self.process:
            self.process.send_signal(number)
            return self.process.wait(timeout=60)


@pytest.fixture(scope="module")
def server(run, tmp_path_factory):
    server = Server(run, tmp_path_factory.mktemp("log") / "stderr")
    with httpx.Client(base_url=server.url, timeout=60) as client:
        warming = client.post("/predict", json={"rows": [ROW]})
        assert client.get("/schema").status_code == 200
        assert "ready after" in server.process.stdout.readline(), server.log.read_text()
        server.client, server.warming = client, warming
        yield server
    server.end(signal.SIGKILL)


def json_rows(rows: int, seed: int) -> list[dict]:
    return make_table(rows, seed).drop(columns=["click", "buy"]).to_dict("records")


def test_a_served_run_gives_the_scores_of_its_predictor(server, run):
    assert server.warming.status_code == 503
    assert server.warming.json() == {"detail": "warming up"}
    assert server.client.get("/health").json() == {"status": "ready"}
    model = hamur.load(run)
    for seed, preference in enumerate([None, [0.2, 0.8], [[0.2, 0.8], [1, 0], [0.5, 0.5]]]):
        rows = json_rows(3, seed)
        answer = server.client.post("/predict", json={"rows": rows, "preference": preference})
        expected = model.predict(make_table(3, seed), preference)
        np.testing.assert_allclose(answer.json()["probabilities"], expected, atol=1e-6)
        assert answer.json()["model"]["name"] == "pomoe"
    answer = server.client.post("/predict", json={"rows": rows, "preference": [0.2, 0.9]})
    refused(answer, 422, "preference")


ODD = (b"NaN", b"1e999", b"[", b"{}", b"\xff", b'"\\ud800"', b"\0", b"-", b'"a":1,', b"9" * 5000)


def mutated(random, body: bytes) -> bytes:
    """A body that is refused: torn, or with a part replaced."""
    if random.random() < 0.3:
        return body[: random.integers(len(body))]
    part = ODD[random.integers(len(ODD))]
    begin = random.integers(len(body))
    return body[:begin] + part + body[begin + random.integers(3) :]


def test_200_malformed_requests_are_one_line_each_and_the_server_goes_on(server):
    random, statuses = np.random.default_rng(5), []
    body = json.dumps({"rows": json_rows(2, 1), "preference": [0.5, 0.5]}).encode()
    while len(statuses) < 200:
        answer = server.client.post("/predict", content=mutated(random, body))
        if answer.status_code == 200:  # as good as before, such as another name of a user
            continue
        assert 400 <= answer.status_code < 500, answer.text
        refused(answer, answer.status_code)
        statuses.append(answer.status_code)
    assert {400, 422} <= set(statuses)
    assert server.client.post("/predict", content=body).status_code == 200
    assert server.log.read_text() == ""


def test_bytes_are_counted_while_they_come(server):
    def endless(parts):
        for _ in range(parts):
            yield b" " * 4000

    for content in (b" " * 20_000, endless(8)):
        refused(server.client.post("/predict", content=content), 413, "at most 9000 bytes")
    with pytest.raises(httpx.HTTPError):  # cut off; what is sent later is not read
        server.client.post("/predict", content=endless(100_000)).raise_for_status()
    rows = {"rows": json_rows(5, 1)}
    refused(server.client.post("/predict", json=rows), 413, "5 rows; at most 4")


def test_what_is_no_http_is_refused_and_the_server_goes_on(server):
    address = server.url.removeprefix("http://").split(":")
    for content in (b"\0" * 300, b"GET /health HTTP/9\r\n\r\n", b"POST /predict\r\n\r\n"):
        with socket.create_connection(address, timeout=20) as connection:
            connection.sendall(content)
            assert connection.recv(100).startswith(b"HTTP/1.1 400")
    assert server.client.get("/health").status_code == 200


def test_no_answer_waits_for_the_acknowledgement_of_its_head(server):
    """Which takes 40 ms, where the system is to fill packets."""
    times = []
    for _ in range(20):
        started = time.perf_counter()
        server.client.get("/health")
        times.append(time.perf_counter() - started)
    assert min(times) < 0.03


def test_clients_at_once_get_their_own_scores(server):
    def post(client):
        """Scores of the client's own rows, some requests one after the other."""
        url, answers = server.url + "/predict", []
        with httpx.Client(timeout=60) as http:
            for request in range(5):
                rows = json_rows(1 + (client + request) % 4, 100 + client)
                answers.append(http.post(url, json={"rows": rows}).json()["probabilities"])
        return answers

    with ThreadPoolExecutor(16) as pool:
        at_once = list(pool.map(post, range(16)))
    for client in (0, 7, 15):
        for one, other in zip(at_once[client], post(client)):
            np.testing.assert_allclose(one, other, atol=1e-6)


def test_sigterm_ends_a_server_when_it_has_answered(server):
    """The last test of the process."""
    body = json.dumps({"rows": json_rows(4, 1)}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n"
    address = server.url.removeprefix("http://").split(":")
    with socket.create_connection(address, timeout=60) as connection:
        connection.sendall(head.encode() + body[:9])
        assert server.client.get("/health").status_code == 200  # so the request is there too
        server.process.send_signal(signal.SIGTERM)
        server.client.close()
        until = time.monotonic() + 60
        while "SIGTERM" not in server.log.read_text():
            assert time.monotonic() < until
            time.sleep(0.05)
        connection.sendall(body[9:])
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    with server.process:
        assert server.process.wait(timeout=60) == 0


@pytest.fixture
def busy_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield str(listener.getsockname()[1])


def test_what_cannot_be_served_is_one_line(capsys, monkeypatch, busy_port, tmp_path):
    def lines(words, *flags):
        assert_refused(capsys, words, main_serve, "serving", "", flags)

    lines(["--model is missing"])
    lines(["--port must be less than 65536"], "--model", "x", "--port", "65536")
    lines(["Address already in use", busy_port], "--model", "x", "--port", busy_port)
    lines(["no run is here"], "--model", str(tmp_path), "--port", "0")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    lines(["needs uvicorn: pip install hamur[serve]"], "--model", str(tmp_path))
