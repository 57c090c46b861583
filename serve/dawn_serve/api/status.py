"""What the server says of itself: models, health, what it counts."""

from datetime import datetime, timezone
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from dawn_serve.api.asked import Asked
from dawn_serve.api.problems import ProblemError
from dawn_serve.api.service import Service


async def models(asked: Asked) -> Response:
    """Lists the model, as clients of OpenAI and of Anthropic expect it."""
    listed = [_model(asked.service, name) for name in asked.service.names]
    first, last = listed[0]["id"], listed[-1]["id"]
    pages = {"has_more": False, "first_id": first, "last_id": last}
    return JSONResponse({"object": "list", "data": listed, **pages})


async def model(asked: Asked) -> Response:
    """Describes it."""
    name = asked.parameter("name")
    asked.service.check_model(name)
    return JSONResponse(_model(asked.service, name))


def _model(service: Service, name: str) -> dict[str, Any]:
    manifest, bounds = service.decoder.manifest, service.scheduler.bounds
    begun = datetime.fromtimestamp(int(service.begun), timezone.utc)
    return {
        "id": name,
        "object": "model",
        "type": "model",
        "display_name": name,
        "created": int(service.begun),
        "created_at": begun.isoformat().replace("+00:00", "Z"),
        "owned_by": "dawn-edge",
        "max_model_len": manifest.dims.max_length,
        "dawn": {
            "family": manifest.family,
            "precision": manifest.precision,
            "engine": service.decoder.engine_name,
            "policy": service.defaults.get("policy") or manifest.decoding.policy,
            "max_batch_size": bounds.max_batch_size,
            "max_batch_tokens": bounds.tokens(manifest.dims.max_length),
        },
    }


async def health(asked: Asked) -> Response:
    """Tells whether the process is of any use."""
    state = asked.service.scheduler.state
    if state == "failed":
        raise ProblemError(503, "the thread that decodes has ended; start the server again")
    return JSONResponse({"status": "ok"})


async def ready(asked: Asked) -> Response:
    """Tells whether requests are taken."""
    state = asked.service.scheduler.state
    if state != "running":
        raise ProblemError(503, f"the server is {state} and takes no requests")
    return JSONResponse({"status": "ready"})


async def metrics(asked: Asked) -> Response:
    """Gives what is counted, in the text format of Prometheus."""
    scheduler = asked.service.scheduler
    gauges = {"dawn_running": scheduler.running, "dawn_waiting": scheduler.waiting}
    kind = "text/plain; version=0.0.4; charset=utf-8"
    return PlainTextResponse(scheduler.metrics.render(gauges), media_type=kind)
