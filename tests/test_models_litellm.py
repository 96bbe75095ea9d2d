"""Models by litellm: without the library a sentence, with it (an extra) the real one against a local server."""

from importlib.util import find_spec
from typing import Any

import pytest

from mlgym import models
from mlgym.errors import ModelError, ToolsRefused, UsageError
from mlgym.models.endpoint import priced
from mlgym.records import Limits, Message
from tests.servers import OpenAIServer

ASK = [Message(role="user", content="Hello")]
TOOL = {"type": "function", "function": {"name": "bash", "description": "", "parameters": {"type": "object"}}}
HERE = find_spec("litellm") is not None


@pytest.mark.skipif(HERE, reason="litellm is installed")
def test_without_the_library_one_sentence_says_what_to_install() -> None:
    for call in (models.load, lambda name: models.default_limits(name, "", Limits(money=1.0))):
        with pytest.raises(UsageError, match=r"pip install 'mlgym-env\[litellm\]'"):
            call("litellm/openai/x")


@pytest.mark.slow
@pytest.mark.skipif(not HERE, reason="litellm is not installed")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the library leaves its connections to be collected
def test_the_real_library(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="needs a key: set OPENAI_API_KEY"):
        models.load("litellm/openai/gpt-4o")
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    item: dict[str, Any] = {"calls": [("bash", {})], "more_message": {"reasoning_content": "hm"}}
    with OpenAIServer(lambda body: item) as server:
        model: Any = models.load("litellm/openai/gpt-4o", base_url=server.url, sampling={"temperature": 0.5})
        reply = model(ASK, [TOOL])
        assert (reply.calls[0].name, reply.reasoning, reply.tokens_in) == ("bash", "hm", 100)
        assert reply.money == reply.told_money == pytest.approx(350 / 1e6)
        assert (model.context, model.native, server.requests[0]["body"]["temperature"]) == (128_000, True, 0.5)
        for status, said, kind, tries in (
            (401, "no", ModelError, 1),
            (429, "slow", ModelError, 5),
            (400, "tools is not supported", ToolsRefused, 1),
        ):
            server.requests.clear()
            item.update(status=status, error=said)
            with pytest.raises(kind):
                model(ASK, [TOOL])
            assert len(server.requests) == tries
    assert priced("litellm/nobody/knows") is None
