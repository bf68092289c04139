"""Scores of raw rows over HTTP: `python -m hamur.serving --model DIR`.

    POST /predict   {"rows": [{column: value, ...}, ...], "preference": ..., "unknown_domain": ...,
                     "histories": rows of the source domain of a cross-domain model}
                    -> {"probabilities": [...], "unknown": {field: cells}, ..., "model": {...}}
    GET /health     200 once requests of every size are compiled, 503 until then
    GET /schema     fields, domains, labels, an example row
    GET /metrics    counts and times, for Prometheus

A cell is read as the same cell of a CSV file; null is a missing one.  A refused request gets one
line, {"detail": ...}, with "row" (from 1) and "field" where one is to blame.  The server keeps
nothing but the model, and writes nothing of a request to its log.
"""

import asyncio
import json
import socket
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from hamur.commands.script import command, from_flags
from hamur.config import REQUIRED, check_fields, run_flag, shared
from hamur.interrupts import ending_loop

CONNECTIONS = 256  # at a time, each with up to --max_bytes in memory; above them 503
THREADS = 4  # that read and score requests
BODY_SECONDS = 60  # for a client to send its request
SHUTDOWN_SECONDS = 10  # for the requests that run when the server is told to end
DRAINED = 4  # times --max_bytes that are read only to be dropped
LOOK_SECONDS = 0.1  # between looks for a signal
WARMING_UP = "warming up"


@dataclass(frozen=True)
class ServingConfig:
    """What a server can be told."""

    model: str | None = run_flag(
        None, "folder of a run or of an exported model", default_text=REQUIRED
    )
    host: str = run_flag("127.0.0.1", "address to listen on; 0.0.0.0 serves every network")
    port: int = run_flag(8000, "port to listen on; 0 takes a free one", at_least=0, below=65536)
    max_rows: int = run_flag(10_000, "rows per request", at_least=1)
    max_bytes: int = run_flag(8_000_000, "bytes per request", at_least=1)
    debug: bool = shared("debug")

    def __post_init__(self):
        check_fields(self)


def make_app(scorer, warm: threading.Event, max_bytes: int):
    """The routes.  scorer: a `hamur.request.Scorer`; warm: set when it is."""
    from fastapi import FastAPI, Request, Response
    from prometheus_client import CollectorRegistry, Histogram, generate_latest
    from starlette.requests import ClientDisconnect

    from hamur.request import Refused

    app, pool = FastAPI(openapi_url=None), ThreadPoolExecutor(THREADS)
    described, registry = json.dumps(scorer.described()), CollectorRegistry()
    text = "Seconds of POST /predict"
    seconds = Histogram("hamur_predict_seconds", text, ["status"], registry=registry)

    async def body_of(request: Request) -> bytes:
        """Refused above the limit.  A client that is cut off while it sends never sees the answer,
        so more is read, and dropped."""
        body, size = bytearray(), 0
        async for part in request.stream():
            size += len(part)
            if size <= max_bytes:
                body += part
            elif size > DRAINED * max_bytes:
                break
        if size > max_bytes:
            raise Refused(413, f"at most {max_bytes} bytes per request")
        return bytes(body)

    def answer(body: bytes) -> str:
        try:
            return json.dumps(scorer.answer(body), allow_nan=False)
        except Refused:
            raise
        except Exception as error:  # its text might hold what a client sent
            last = traceback.extract_tb(error.__traceback__)[-1]
            what = f"internal error: {type(error).__name__} ({last.filename}:{last.lineno})"
            print(what, file=sys.stderr, flush=True)
            raise Refused(500, "internal error") from None

    def as_json(text: str, status: int = 200) -> Response:
        return Response(text, status, media_type="application/json")

    @app.post("/predict")
    async def predict(request: Request):
        started, loop = time.perf_counter(), asyncio.get_running_loop()
        try:
            if not warm.is_set():
                raise Refused(503, WARMING_UP)
            body = await asyncio.wait_for(body_of(request), BODY_SECONDS)
            response = as_json(await loop.run_in_executor(pool, answer, body))
        except Refused as refused:
            response = as_json(json.dumps(refused.answer), refused.status)
        except (asyncio.TimeoutError, ClientDisconnect):
            response = as_json(json.dumps({"detail": "the body did not come"}), 408)
        seconds.labels(response.status_code).observe(time.perf_counter() - started)
        return response

    @app.get("/health")
    async def health():
        ready = warm.is_set()
        text = json.dumps({"status": "ready" if ready else WARMING_UP})
        return as_json(text, 200 if ready else 503)

    @app.get("/schema")
    async def schema():
        return as_json(described)

    @app.get("/metrics")
    async def metrics():
        return Response(generate_latest(registry), media_type="text/plain")

    return app


def serve(config: ServingConfig) -> None:
    """Listen until a signal comes.

    Raises:  ValueError: no such model, the extra is missing.  OSError: the address is in use.
    """
    try:
        import prometheus_client  # noqa: F401
        import uvicorn

        from hamur.request import Scorer
    except ImportError as error:
        raise ValueError(f"the server needs {error.name}: pip install hamur[serve]") from None
    import hamur

    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.create_server((config.host, config.port), family=family) as listener:
        # Head and body of an answer are two packets; asyncio sets this for its own sockets only.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        scorer, warm = Scorer(hamur.load(config.model), config.max_rows), threading.Event()
        options = dict(limit_concurrency=CONNECTIONS, timeout_graceful_shutdown=SHUTDOWN_SECONDS)
        options |= dict(lifespan="off", log_level="warning", access_log=False)
        app = make_app(scorer, warm, config.max_bytes)
        server = uvicorn.Server(uvicorn.Config(app, **options))
        asyncio.run(_until_signal(server, listener, scorer, warm))


async def _until_signal(server, listener: socket.socket, scorer, warm: threading.Event) -> None:
    """While the model warms up a signal ends the process, see `interrupts.run`; later the server
    answers what it has begun."""
    serving = asyncio.create_task(server.serve([listener]))
    host, port = listener.getsockname()[:2]
    print(f"port {port} of {host}: {WARMING_UP}", flush=True)
    started = time.perf_counter()
    await asyncio.to_thread(scorer.model.warm_up, scorer.max_rows)
    warm.set()
    print(f"ready after {time.perf_counter() - started:.1f} s", flush=True)
    with ending_loop() as check:
        while not serving.done():
            try:
                check()
            except KeyboardInterrupt:
                server.should_exit = True
                break
            await asyncio.sleep(LOOK_SECONDS)
        await serving


def main_serve(script: str, description: str, argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 after a signal to a server that was ready."""
    config = from_flags(ServingConfig, argv, description)
    return command(script, config, partial(serve, config), "start it again")


if __name__ == "__main__":
    sys.exit(main_serve(__file__, __doc__))
