"""The routes of a server: OpenEnv's, with sessions that outlive a connection, and `/close` and `/places` beside."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from mlgym import wire
from mlgym.errors import UsageError
from mlgym.offer import Reset, listed
from mlgym.serve.sessions import Hosted, House, Refused

NAME, VERSION = "mlgym", "1"
ABOUT = "Machine-learning research in a sandbox, graded where the agent cannot reach; actions are shell commands."
LISTS = ("tasks", "num_tasks", "task", "task_range")
BODY_S = 30.0  # seconds in which a request's body must have come


class Stepped(BaseModel):
    """A step over HTTP. `timeout_s` bounds the wait for an answer, `left_s` the seconds that commands have."""

    model_config = ConfigDict(strict=True)

    action: wire.Asked
    session_id: str
    request_id: str = Field(default="", max_length=255)
    timeout_s: float | None = Field(default=None, gt=0)
    left_s: float | None = None


class State(BaseModel):
    """What a session is at; `job` is the number of an action that runs."""

    model_config = ConfigDict(extra="forbid")

    episode_id: str | None = None
    step_count: int = 0
    session: str = ""
    task: str = ""
    done: bool = False
    status: str = "not_scored"
    job: str = ""


class Listed(BaseModel):
    """What a request for tasks names."""

    split: str
    index: int = 0
    start: int | None = None
    stop: int | None = None


class Routes:
    """The endpoints over the sessions of a house."""

    def __init__(self, house: House) -> None:
        self.house = house

    async def reset(self, request: Request) -> JSONResponse:
        """Begin an episode, in the session of that id."""
        wanted, owner = Reset(**await self._body(request)), request.scope["owner"]
        id = wanted.session_id or secrets.token_hex(16)
        hosted = self._there(owner, id) or self.house.open(owner, id)
        return await self._answer(hosted, self.house.begin(hosted, wanted))

    async def step(self, request: Request) -> JSONResponse:
        """Take an action, or ask for a job."""
        asked = Stepped(**await self._body(request))
        hosted = self.house.find(request.scope["owner"], asked.session_id)
        job = self.house.act(hosted, asked.action, asked.request_id, asked.left_s)
        return await self._answer(hosted, job, asked.timeout_s)

    async def close(self, request: Request) -> JSONResponse:
        """End a session."""
        id = str((await self._body(request)).get("session_id"))
        ended = self.house.close(self.house.find(request.scope["owner"], id))
        await asyncio.wait([ended], timeout=min(self.house.bounds.answer_s, 20.0))
        return JSONResponse({"closed": ended.done()})

    async def state(self, request: Request) -> JSONResponse:
        """The state of the session that `session_id` names."""
        id = request.query_params.get("session_id", "")
        return JSONResponse(self.house.state(self.house.find(request.scope["owner"], id)))

    async def places(self, request: Request) -> JSONResponse:
        """How many sessions there are, and how many there can be."""
        taken, most = len(self.house.sessions) + len(self.house.ending), self.house.bounds
        return JSONResponse({"taken": taken, "sessions": most.sessions, "per_token": most.per_token})

    async def health(self, request: Request) -> JSONResponse:
        """That it runs."""
        return JSONResponse({"status": "healthy"})

    async def metadata(self, request: Request) -> JSONResponse:
        """What it is."""
        return JSONResponse({"name": NAME, "description": ABOUT, "version": VERSION})

    async def schema(self, request: Request) -> JSONResponse:
        """The schemas of actions, observations and states."""
        kinds: dict[str, type[BaseModel]] = {"action": wire.Asked, "observation": wire.Told, "state": State}
        return JSONResponse({name: kind.model_json_schema() for name, kind in kinds.items()})

    async def openapi(self, request: Request) -> JSONResponse:
        """The routes that there are."""
        known = [route for route in request.app.routes if isinstance(route, Route)]
        said = {"responses": {"200": {"description": "JSON; docs/serve.md says of what form"}}}
        paths = {route.path: {method.lower(): said for method in route.methods or ()} for route in known}
        return JSONResponse({"openapi": "3.1.0", "info": {"title": NAME, "version": VERSION}, "paths": paths})

    async def mcp(self, request: Request) -> JSONResponse:
        """OpenEnv's servers answer here; tools are called by steps alone, so that no call misses the limits."""
        error = {"code": -32601, "message": "There are no tools for MCP here: call them by steps."}
        return JSONResponse({"jsonrpc": "2.0", "id": None, "error": error})

    async def environments(self, request: Request) -> JSONResponse:
        """The one name that tasks are listed under."""
        return JSONResponse([NAME])

    async def splits(self, request: Request) -> JSONResponse:
        """The splits."""
        return JSONResponse([{"name": name, "type": name} for name in self.house.offer.splits])

    async def tasks(self, request: Request) -> JSONResponse:
        """The tasks of a split: all, how many, one, or some."""
        asked, what = Listed(**await self._body(request)), request.url.path.rpartition("/")[2]
        offer = self.house.offer
        if what == "task":
            return JSONResponse({"task": listed(offer.at(asked.split, asked.index), asked.index)})
        found = [listed(task, index) for index, task in enumerate(offer.splits.get(asked.split, []))]
        if what == "num_tasks":
            return JSONResponse({"num_tasks": len(found)})
        return JSONResponse({"tasks": found[asked.start : asked.stop], "env_name": NAME})

    async def socket(self, socket: WebSocket) -> None:
        """A client's WebSocket, which goes on with the session that `session_id` names if it names one."""
        await socket.accept()
        talk = Talk(self.house, socket.scope["owner"])
        id = socket.query_params.get("session_id")
        with contextlib.suppress(WebSocketDisconnect):
            if id:
                opened = await talk.reply(json.dumps({"type": "state", "data": {"session_id": id}}))
                if opened is None or opened["type"] == "error":
                    await socket.send_json(opened)
                    return await socket.close()
            while (message := await socket.receive())["type"] == "websocket.receive":
                reply = await talk.reply(message.get("text") or message.get("bytes") or "")
                if reply is None:
                    return await socket.close()
                await socket.send_json(reply)
        talk.left()

    async def _body(self, request: Request) -> dict[str, Any]:
        data = bytearray()
        try:
            async with asyncio.timeout(BODY_S):
                async for chunk in request.stream():
                    data += chunk
                    if len(data) > self.house.bounds.message:
                        raise Refused(
                            413, "VALIDATION_ERROR", f"A message has {self.house.bounds.message} bytes at most."
                        )
        except TimeoutError:
            raise Refused(408, "VALIDATION_ERROR", "The request's body did not come in time.") from None
        return parsed(bytes(data) or b"{}")

    async def _answer(self, hosted: Hosted, job: Any, wait_s: float | None = None) -> JSONResponse:
        return JSONResponse(wire.message(await self.house.answer(hosted, job, wait_s)))

    def _there(self, owner: int, id: str) -> Hosted | None:
        return self.house.find(owner, id) if (owner, id) in self.house.sessions else None


class Talk:
    """What is said in one WebSocket."""

    def __init__(self, house: House, owner: int) -> None:
        self.house, self.owner = house, owner
        self.hosted: Hosted | None = None

    async def reply(self, raw: str | bytes) -> dict[str, Any] | None:
        """The reply to a message; None at the end."""
        try:
            message = parsed(raw)
            kind, data = message.get("type"), message.get("data", {})
            if not isinstance(data, dict):
                raise Refused(422, "VALIDATION_ERROR", "The field data must be an object.")
            if kind == "close":
                if self.hosted is not None:
                    self.house.close(self.hosted)
                return None
            if kind == "state":
                return {"type": "state", "data": self.house.state(self._session(data))}
            if kind not in ("reset", "step"):
                raise Refused(400, "UNKNOWN_TYPE", "A message is one of reset, step, state and close.")
            told = await (self._reset(data) if kind == "reset" else self._step(data))
            return {"type": "observation", "data": wire.message(told)}
        except (Refused, ValidationError, UsageError) as error:
            refused = as_refused(error)
            return {"type": "error", "data": {"message": refused.why, "code": refused.code}}

    def left(self) -> None:
        """The client is gone: an episode that goes on waits for it, one that has ended does not."""
        hosted = self.hosted
        if hosted is not None and not hosted.closed and hosted.local is not None and hosted.local.done:
            self.house.close(hosted)

    def _session(self, data: dict[str, Any] | None = None) -> Hosted:
        """The session, found again because it may have been closed since; raises Refused where there is none."""
        id = (data or {}).get("session_id") or (self.hosted.id if self.hosted else "")
        self.hosted = self.house.find(self.owner, str(id))
        return self.hosted

    async def _reset(self, data: dict[str, Any]) -> dict[str, Any]:
        wanted = Reset(**data)
        if wanted.resume:
            hosted = self._session({"session_id": wanted.resume})
            if hosted.job is None:
                raise Refused(404, "EXECUTION_ERROR", "Nothing has begun in this session: begin with a reset.")
            return await self.house.answer(hosted, hosted.job)
        id = wanted.session_id or (self.hosted.id if self.hosted else secrets.token_hex(16))
        there = (self.owner, id) in self.house.sessions
        self.hosted = self.house.find(self.owner, id) if there else self.house.open(self.owner, id)
        return await self.house.answer(self.hosted, self.house.begin(self.hosted, wanted))

    async def _step(self, data: dict[str, Any]) -> dict[str, Any]:
        asked, hosted = wire.Asked(**data), self._session()
        return await self.house.answer(hosted, self.house.act(hosted, asked))


def parsed(raw: str | bytes) -> dict[str, Any]:
    """A message as an object; raises Refused for what is none."""
    try:
        value = json.loads(raw, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Refused(400, "INVALID_JSON", "The message is no JSON.") from None
    if not isinstance(value, dict):
        raise Refused(422, "VALIDATION_ERROR", "The message is no JSON object.")
    return value


def as_refused(error: Refused | ValidationError | UsageError) -> Refused:
    """A mistake of the client as a sentence."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, UsageError):
        return Refused(400, "EXECUTION_ERROR", str(error))
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))[:80] or "the message"
    return Refused(422, "VALIDATION_ERROR", f"{where}: {first['msg']}.")


def application(house: House) -> Starlette:
    """The application, without its guard."""
    routes = Routes(house)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        sweep = asyncio.create_task(house.sweep())
        yield
        sweep.cancel()
        await house.shut()

    async def refuse(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, ClientDisconnect):
            return JSONResponse({})
        assert isinstance(error, Refused | ValidationError | UsageError)
        refused = as_refused(error)
        told = {"detail": refused.why, "error": refused.kind, "code": refused.code}
        unread = {"Connection": "close"} if refused.status in (408, 413) else None
        return JSONResponse(told, refused.status, unread)

    return Starlette(
        routes=[
            Route("/reset", routes.reset, methods=["POST"]),
            Route("/step", routes.step, methods=["POST"]),
            Route("/close", routes.close, methods=["POST"]),
            Route("/state", routes.state),
            Route("/places", routes.places, methods=["GET", "POST"]),
            Route("/health", routes.health),
            Route("/metadata", routes.metadata),
            Route("/schema", routes.schema),
            Route("/openapi.json", routes.openapi),
            Route("/mcp", routes.mcp, methods=["POST"]),
            Route("/list_environments", routes.environments),
            Route(f"/{NAME}/splits", routes.splits),
            *(Route(f"/{NAME}/{what}", routes.tasks, methods=["POST"], name=what) for what in LISTS),
            WebSocketRoute("/ws", routes.socket),
        ],
        exception_handlers={kind: refuse for kind in (Refused, ValidationError, UsageError, ClientDisconnect)},
        lifespan=lifespan,
    )


def _no_number(name: str) -> float:
    raise ValueError(name)
