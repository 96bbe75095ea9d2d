"""mini-swe-agent's commands run in the task's sandbox: each is one step of the episode."""

import platform
import subprocess

from minisweagent.exceptions import Submitted

FINISHED = "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"  # with which its prompt has the model end
OVER = 3  # the exit code of `task` once the episode has ended


class TaskEnvironment:
    """An environment in mini-swe-agent's sense."""

    def __init__(self, **config):
        self.config = config

    def execute(self, action, cwd="", *, timeout=None):
        """Run a command; `validate` and `submit` are the task's own tools."""
        finished = FINISHED in action["command"]
        command = "submit" if finished else action["command"]
        ran = subprocess.run(
            ["task", "do", "-"], input=command.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        output = ran.stdout.decode(errors="replace")
        if finished or ran.returncode == OVER:
            end = {"exit_status": "Submitted", "submission": output}
            raise Submitted({"role": "exit", "content": output, "extra": end})
        return {"output": output, "returncode": ran.returncode, "exception_info": ""}

    def get_template_vars(self, **more):
        """What its prompts may name."""
        return platform.uname()._asdict() | self.config | more

    def serialize(self):
        """What its own record of the run has of this."""
        return {"info": {"config": {"environment": self.config}}}
