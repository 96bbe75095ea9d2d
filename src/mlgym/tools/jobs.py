"""Long commands beside the shell: one tool starts them, asks after them, shows what they print and stops them.

A job is a script under coreutils' `timeout`, in a process group of its own, with its output in a file. What is known of
it lies in its folder inside, where an agent could change it: that is told to the agent, and decides nothing but how
many of the seconds between the steps are counted, which what runs in the background of the shell has for nothing.
"""

import re
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from mlgym.records import Step
from mlgym.tools.session import Session, ToolError
from mlgym.tools.shell import longest
from mlgym.tools.windows import WINDOW

Job = dict[str, Any]  # folder, limit, began, ended, code, stopped: what a session remembers is JSON
GRACE_S = 5.0  # from SIGINT to SIGKILL
SLACK_S = 30.0  # for a look at jobs, beside the time that it waits
TAIL_BYTES = 200_000  # among which the last lines are looked for
INSIDE = Path(__file__).with_name("jobs_inside.py")
RUN = """timeout -s INT -k {grace:g} {limit:g} bash {folder}/command &
echo $$ $! > {folder}/pids
wait $!
code=$?
truncate -s '<{most}' {folder}/output # so that there is room for what follows
echo $code $(date +%s.%N) > {folder}/end
"""
START = """( \\builtin export PYTHONUNBUFFERED="${{PYTHONUNBUFFERED-1}}"; \\command rm -f {folder}/pids {folder}/end
\\command bash {folder}/run >|{folder}/output 2>&1 </dev/null &
for _ in {{1..2000}}; do [[ -s {folder}/pids ]] && break; \\command sleep 0.01; done; [[ -s {folder}/pids ]] )"""
# The `timeout` hands the signal on to all of its group, and kills what is left after GRACE_S. It comes from the shell:
# under Landlock what runs beside the shell may not signal what it has started.
STOP = """( \\builtin read -r _ __pid <{folder}/pids && \\builtin kill -INT "$__pid" ) 2>/dev/null"""
GONE = """[ -f "$2" ] || { echo "(its output is gone)"; exit; }; """
LAST = GONE + r"""tail -c "$1" -- "$2" | tr '\r' '\n' | tail -n "$3" """
FROM = GONE + """tail -n "+$1" -- "$2" | head -n "$3" """


def job(
    session: Session,
    action: Literal["start", "poll", "tail", "stop"],
    command: str | None = None,
    id: int | None = None,
    wait: float = 0,
    lines: int = 20,
    first: int | None = None,
) -> str:
    """Run a long command in the background while you go on. `start` starts it in the shell's folder with its exported
    variables, `poll` says whether it still runs and shows its last lines, `tail` shows lines of its output, `stop` ends
    it. It has the time limit of a command of `bash`, and ends with the episode.

    action: what to do
    command: what bash is to run, for `start`; without an & at its end
    id: the number that `start` gave, for the others; by default the latest
    wait: seconds that `poll` waits at most for the job to end
    lines: how many lines of output `poll` and `tail` show, 1 to 1000
    first: the line of the output from which `tail` shows them, counted from 1; by default it shows the last ones
    """
    if action == "start":
        return _start(session, command)
    number, known = _known(session, id)
    if not 1 <= lines <= WINDOW or (first is not None and first < 1):
        raise ToolError(f"`job` shows 1 to {WINDOW} lines, from line 1 on.", "format")
    if action == "tail":
        return _output(session, known, lines, first)
    _look(session, [known], min(max(wait, 0.0), known["limit"] + GRACE_S) if action == "poll" else 0.0)
    if action == "stop" and known["ended"] is None:
        known["stopped"] = True
        session.shell.run(STOP.format(folder=shlex.quote(known["folder"])), SLACK_S)
        _look(session, [known], GRACE_S + 2.0)
    return f"{_told(number, known)}\n{_output(session, known, lines)}"


def ran_since(session: Session, moment: float) -> float:
    """The seconds since `moment` (of `time.time`) in which a job ran that was running then."""
    now, running = time.time(), _running(session)
    _look(session, running)
    ends = (min(job["ended"] or now, now) for job in running if job["ended"] is None or job["code"] is not None)
    return max(0.0, max(ends, default=moment) - moment)


def catch_up(session: Session, step: Step) -> None:
    """Before a step is played back, give jobs the time that they had when it was recorded: while the model thought, and
    until the end of one that the step found ended.
    """
    over = (
        re.match(r"Job (\d{1,9}) (ended|was stopped at)", step.observation.text) if step.action.tool == "job" else None
    )
    for job in session.state.get("jobs", [])[int(over[1]) - 1 :][:1] if over else ():
        _look(session, [job], job["limit"] + GRACE_S)
    _look(session, _running(session), step.model_s)


def _start(session: Session, command: str | None) -> str:
    if not command or not command.strip():
        raise ToolError("`job` needs the `command` that it is to start; nothing was done.", "format")
    jobs = session.state.setdefault("jobs", [])
    number, limit = len(jobs) + 1, longest(command, session.limits)
    folder = f"{session.shell.sandbox.outputs}/job-{number}"
    place = shlex.quote(folder)
    session.shell.write(f"{folder}/command", f"{command}\n".encode())
    run = RUN.format(grace=GRACE_S, limit=limit, folder=place, most=session.shell.sandbox.spec.limits.output_max)
    session.shell.write(f"{folder}/run", run.encode())
    began = time.time()
    ran = session.shell.run(START.format(folder=place), SLACK_S)
    if ran.status != "ok" or ran.code:
        raise ToolError(f"The job could not be started.\n{ran.output}".strip())
    jobs.append({"folder": folder, "limit": limit, "began": began, "ended": None, "code": None, "stopped": False})
    return f"Job {number} is started. Its output goes to {folder}/output; it is stopped after {limit:g} seconds."


def _known(session: Session, id: int | None) -> tuple[int, Job]:
    """The number of a job, and what is known of it."""
    jobs: list[Job] = session.state.get("jobs", [])
    number = len(jobs) if id is None else id
    if not 1 <= number <= len(jobs):
        raise ToolError(f"There is no job {number}: {len(jobs)} were started so far." if id else "No job was started.")
    return number, jobs[number - 1]


def _running(session: Session) -> list[Job]:
    """The jobs of which no end is known."""
    return [job for job in session.state.get("jobs", ()) if job["ended"] is None]


def _look(session: Session, jobs: Sequence[Job], wait: float = 0.0) -> None:
    """Learn how jobs are, once none of them runs or `wait` seconds are over."""
    asked = [job for job in jobs if job["ended"] is None]
    if not asked:
        return
    script = [session.shell.sandbox.interpreter, "-I", "-S", "-c", INSIDE.read_text(encoding="utf-8")]
    ran = session.shell.exec([*script, f"{wait:g}", *(job["folder"] for job in asked)], timeout=wait + SLACK_S)
    now = time.time()
    for job, line in zip(asked, ran.output.splitlines(), strict=False):
        found = re.fullmatch(r"ended (\d{1,3}) (\d{1,12}(?:\.\d+)?)", line)
        if found:
            job["code"], job["ended"] = int(found[1]), min(max(float(found[2]), job["began"]), now)
        elif line == "gone":
            job["ended"] = now


def _told(number: int, job: Job) -> str:
    """How a job is, in a line."""
    seconds, code = (job["ended"] or time.time()) - job["began"], job["code"]
    if job["ended"] is None:
        return f"Job {number} is running: {seconds:.3g} of at most {job['limit']:g} seconds."
    if code is None:
        return f"Job {number} is lost: a snapshot or force ended it, so that there is no exit code."
    if code in (124, 137) and seconds >= job["limit"]:
        return f"Job {number} was stopped at its limit of {job['limit']:g} seconds."
    how = "was stopped" if job["stopped"] else "ended"
    return f"Job {number} {how} after {seconds:.3g} seconds with exit code {code}."


def _output(session: Session, job: Job, lines: int, first: int | None = None) -> str:
    """Lines of what a job has printed: from a line on, or the last ones."""
    script, start = (LAST, TAIL_BYTES) if first is None else (FROM, first)
    argv = ["bash", "-c", script, "job", str(start), f"{job['folder']}/output", str(lines)]
    return session.shell.exec(argv, timeout=SLACK_S).output or "(no output)"
