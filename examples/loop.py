#!/usr/bin/env python3
"""An agent in plain Python: ask the model for a command, have the task's sandbox run it, show what came of it."""

import json
import os
import subprocess
import urllib.request

OVER = 3  # the exit code of `task` once the episode has ended
SYSTEM = "Answer with one bash command and nothing else. `validate` scores your work, `submit` ends the task."


def ask(messages):
    """The model's reply."""
    body = json.dumps({"model": os.environ["MLGYM_MODEL"], "messages": messages}).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    request = urllib.request.Request(f"{os.environ['OPENAI_BASE_URL']}/chat/completions", body, headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]


messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": os.environ["MLGYM_TASK"]}]
while True:
    command = ask(messages)
    ran = subprocess.run(["task", "do", "-"], input=command, capture_output=True, text=True)
    if ran.returncode == OVER:
        break
    messages += [{"role": "assistant", "content": command}, {"role": "user", "content": ran.stdout + ran.stderr}]
