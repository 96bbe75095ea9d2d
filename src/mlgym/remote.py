"""An episode at a server: the Session protocol over `mlgym serve`, with the standard library alone.

Each request is short: an action that takes longer is a job, whose result is asked for. A connection that breaks is made
again, and a request that may have got through is told from a new one by its id, so no action is taken twice.
"""

import contextlib
import http.client
import json
import os
import secrets
import threading
import time
import urllib.parse
from typing import Any

from mlgym import wire
from mlgym.errors import GradingError, MlgymError, SandboxError, SourceError, StorageError, TaskError, UsageError
from mlgym.records import Action, Brief, Limits
from mlgym.session import Elsewhere, Outcome

TOKEN = "MLGYM_SERVE_TOKEN"
ANSWER_S, CLOSE_S = 90.0, 25.0  # a server answers within 60, a request to close within 20
KINDS = {kind.__name__: kind for kind in (GradingError, SandboxError, SourceError, StorageError, TaskError)}
FULL_S = 1.0  # between two tries for a place at a server that is full


class RemoteSession(Elsewhere):
    """A Session at the server at `url`, which holds the token (http://HOST:PORT/TOKEN) unless `token` is given or the
    variable MLGYM_SERVE_TOKEN is set.

    `options` go to the reset: reward, tools ("modern" or "classic"), limits. For `patience` seconds a server that
    cannot be reached, or has no place free, is tried again; an episode that is lost to it then ends without a score.
    Raises UsageError for what the server refuses, SandboxError where a reset finds no server.
    """

    def __init__(self, url: str, task: str, token: str = "", *, patience: float = 60.0, **options: Any) -> None:
        self.link = Link(url, token, patience)
        self.task, self.id = task, secrets.token_hex(16)
        self._lock = threading.Lock()
        limits = options.get("limits")
        self._options = {**options, "limits": limits.model_dump()} if isinstance(limits, Limits) else options
        super().__init__()

    def reset(self, seed: int = 0) -> str:
        """Begin anew; returns the brief as text."""
        if self._closed:
            raise UsageError("The session is closed: open another.")
        self._clear()
        wanted = self._named(task=self.task, seed=seed, **self._options)
        with self._lock:
            told = self._result(self.link.ask("/reset", wanted))
        self._brief = Brief.model_validate_json(json.dumps(told["metadata"]["brief"]))
        return str(told["observation"]["text"])

    def _acted(self, action: str | Action, left: float | None) -> Outcome:
        """Have the server take the action."""
        try:
            with self._lock:
                told = self._result(self.link.ask("/step", self._named(action=wire.asked(action), left_s=left)))
        except SandboxError:
            self.id = secrets.token_hex(16)  # the old one may still be at it
            raise
        about = told["metadata"]
        for name in ("steps", "reward", "parts", "status", "progress", "noise"):
            setattr(self, name, about[name])
        self.done = bool(told["done"])
        text, reward = told["observation"]["text"], told["reward"]
        return Outcome(text, reward, about["terminated"], about["truncated"], about["info"])

    def close(self) -> None:
        """End the sandbox, from any thread; nothing is graded. A server that is gone has done so or will."""
        self._closed, self.link.patience = True, 0.0
        own = self.link.another(CLOSE_S)  # the other one may wait for an action, which ends by this
        with contextlib.suppress(MlgymError):
            own.ask("/close", {"session_id": self.id})
        own.close()
        if self._lock.acquire(timeout=CLOSE_S):
            self.link.close()
            self._lock.release()

    def _named(self, **fields: Any) -> dict[str, Any]:
        return {**fields, "session_id": self.id, "request_id": secrets.token_hex(8)}

    def _result(self, told: dict[str, Any]) -> dict[str, Any]:
        """What a job comes to, once it has ended."""
        while job := told["observation"]["job"]:
            told = self.link.ask("/step", self._named(action={"poll": job}))
        return told


def places(url: str, token: str = "") -> int:
    """How many sessions the holder of the token may have at a server at once."""
    with contextlib.closing(Link(url, token)) as link:
        told = link.ask("/places", {})
    return min(int(told["sessions"]), int(told["per_token"]))


class Link:
    """A connection to a server, made when needed and made again when it breaks; for one thread at a time."""

    def __init__(self, url: str, token: str = "", patience: float = 60.0, answer_s: float = ANSWER_S) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"'{url}' is no address of a server: give http://HOST:PORT/TOKEN, as 'mlgym serve' shows.")
        self.url, self.secure, self.host = url, parts.scheme == "https", parts.hostname
        try:
            self.port = parts.port
        except ValueError as error:
            raise UsageError(f"The address '{url}' is wrong: {error}.") from error
        self.shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self.base, self.token = (
            parts.path.rstrip("/"),
            token or ("" if parts.path.strip("/") else os.environ.get(TOKEN, "")),
        )
        self.patience, self.answer_s = patience, answer_s
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request. Raises what the server says was wrong, SandboxError where it is not to be had."""
        data, began, wait = json.dumps(wire.finite(body)).encode(), time.monotonic(), 0.1
        while True:
            try:
                status, answer = self._once(path, data)
                if status not in (429, 503):
                    break
                why, wait = str(answer.get("detail", "it has no place free")), FULL_S
            except (OSError, http.client.HTTPException) as error:
                self.close()
                why, wait = str(error) or type(error).__name__, min(2 * wait, 5.0)
            if time.monotonic() + wait > began + self.patience:  # which `close` of a session makes 0
                raise SandboxError(f"The server {self.shown} cannot be used: {why}.")
            time.sleep(wait)
        if status != 200:
            kind = KINDS.get(str(answer.get("error")), UsageError)
            raise kind(f"The server {self.shown} said: {answer.get('detail', status)}")
        return answer

    def _once(self, path: str, data: bytes) -> tuple[int, dict[str, Any]]:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self.secure else http.client.HTTPConnection
            self._connection = kind(self.host, self.port, timeout=self.answer_s)
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        self._connection.request("POST", self.base + path, data, headers)
        response = self._connection.getresponse()
        text = response.read()
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if isinstance(answer, dict):
            return response.status, answer
        if response.status >= 500:  # of a proxy before it
            raise OSError(f"it answers {response.status} {response.reason}")
        raise UsageError(f"What answers at {self.shown} is no 'mlgym serve': take the address that it has shown.")

    def another(self, answer_s: float = ANSWER_S) -> "Link":
        """A second connection to the same server, for one try."""
        return Link(self.url, self.token, 0.0, answer_s)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
