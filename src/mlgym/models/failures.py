"""What a client's exception means, as one sentence for the user; both official clients name their errors alike."""

import json
import re
import time
from contextlib import suppress
from email.utils import mktime_tz, parsedate_tz

from mlgym.errors import BudgetError, MlgymError, ModelError, ToolsRefused
from mlgym.models.endpoint import Endpoint

# vLLM: '"auto" tool choice requires --enable-auto-tool-choice …'; Ollama: '… does not support tools'; llama.cpp: 'tools
# param requires --jinja flag', 'Unsupported param: tools'; OpenRouter: 'No endpoints found that support tool use';
# others: "'tools' is not supported with this model", 'Unrecognized request argument supplied: tools'.
_REFUSALS = re.compile(
    r"tool choice requires --|tools? (param )?requires? --|support\w* tool|unsupported param\w*:? '?tool"
    r"|tool_choice' value|(tools|tool calling|function calling|tool use)\W* (is|are) not (supported|enabled|available)"
    r"|not support (function|tool)[ _-]?call|not support the .{0,3}(tools|tool_choice)|no endpoints found.{0,40}tool"
    r"|(unrecognized|unknown|unexpected|extra)\b.{0,60}\btools\b",
    re.IGNORECASE | re.DOTALL,
)
_TOO_LONG = re.compile(
    r"context.{0,3}(length|window|size)|prompt is too long|maximum.{0,20}tokens|too many tokens|request too large",
    re.IGNORECASE,
)
_PASSING = (402, 408, 409, 425, 429)  # what waiting, or somebody's paying, may end
_THEIRS = (401, 402, 404, 408, 425, 429, 502, 503, 504, 529)  # what no conversation brings about
_NO_MODEL = re.compile(r"model|not_found_error", re.IGNORECASE)


def explain(error: Exception, place: Endpoint, with_tools: bool) -> MlgymError:
    """The error to raise for a client's exception: ToolsRefused if native tools were sent and refused.

    A conversation that is too long is a limit reached (BudgetError "context"), not the provider's failure.
    """
    status = getattr(error, "status_code", None)
    if not isinstance(status, int):
        return _unreached(error, place)
    said = detail(error)
    if with_tools and status in (400, 404, 405, 422, 500, 501) and _REFUSALS.search(said):
        return ToolsRefused(f"{place.name} takes no native tool calls here ({said}).")
    if _TOO_LONG.search(said) and status in (400, 413, 422, 429, 500):
        sentence = f"The conversation is too long for {place.name}; a smaller react?window=N keeps less of it ({said})."
        return BudgetError(sentence, limit="context")
    lasting = status < 500 and status not in _PASSING
    failed = ModelError(f"{_sentence(status, said, place)} ({said}).", lasting, doubtful=status not in _THEIRS)
    failed.after = _after(error)
    return failed


def _after(error: Exception) -> float | None:
    """The seconds that the answer's headers ask to wait, in the forms that servers use: a number or a date."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            wait = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if wait >= 0:
            return wait
    with suppress(ValueError, OverflowError):
        if date := parsedate_tz(headers.get("retry-after", "")):
            return max(0.0, mktime_tz(date) - time.time())
    return None


def detail(error: Exception) -> str:
    """The server's own words in one short line, without a full stop.

    Servers write them as {"error": {"message": …}}, {"error": …}, {"message": …} or {"detail": …}.
    """
    body = getattr(error, "body", None)
    for key in ("error", "message", "detail"):
        if isinstance(body, dict) and body.get(key):
            body = body[key]
    text = body if isinstance(body, str) else json.dumps(body) if body else getattr(error, "message", "") or str(error)
    line = " ".join(text.split())
    return (line if len(line) <= 300 else line[:299] + "…").rstrip(". ") or type(error).__name__


def _unreached(error: Exception, place: Endpoint) -> ModelError:
    kind = type(error).__name__
    if kind == "APITimeoutError":
        return ModelError(f"{place.name} did not answer in time at {place.url}; try again, or take a faster model.")
    if kind == "APIConnectionError":
        cause = " ".join(str(error.__cause__ or error).split())
        failed = ModelError(f"No server answers at {place.url} ({cause}); is it running, and is the address right?")
        failed.reached = False
        return failed
    said = detail(error)
    what = f"{place.url} answered something that {place.provider}'s client cannot read ({said})."
    return ModelError(what, doubtful=True)


def _sentence(status: int, said: str, place: Endpoint) -> str:
    if status == 404:
        if _NO_MODEL.search(said):
            return f"There is no model '{place.model}' at {place.url}"
        return f"Nothing is served at {place.url}; the base URL of an OpenAI-compatible server usually ends in /v1"
    sentences = {
        401: f"{place.url} does not accept the key; check {place.key_variable}",
        402: f"The account behind {place.key_variable} has no credit left at {place.url}",
        403: f"The key in {place.key_variable} may not use '{place.model}' at {place.url}",
        429: f"{place.url} has reached a rate limit or a quota; wait, or run fewer episodes at once",
    }
    if status in sentences:
        return sentences[status]
    return f"{place.url} failed with status {status}" if status >= 500 else f"{place.name} refused the request"
