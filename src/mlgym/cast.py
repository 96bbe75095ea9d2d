"""Who plays in an episode: the sandbox's backend, the agent with what only an episode may hand out, and its notes."""

from collections.abc import Callable
from pathlib import Path

from mlgym import agents
from mlgym.env import END
from mlgym.errors import SandboxError, UsageError
from mlgym.marks import moved
from mlgym.memory import RUN, Memory
from mlgym.names import MCP, PROGRAM, split
from mlgym.records import EpisodeSpec, Move
from mlgym.sandbox import choose
from mlgym.sandbox.local import Local
from mlgym.store import Episode, episode_folder, method, slug
from mlgym.task import Task
from mlgym.tools import Papers

Say = Callable[[str], None]
RUN_NOTES = "memory"  # in a run's folder


def backend_for(spec: EpisodeSpec, say: Say) -> str:
    """The backend's name; where nothing isolates, shipped agents without a model go on in `local`, said in a line."""
    try:
        backend = choose(spec.sandbox)
    except SandboxError as error:
        shipped = split(agents.core(spec.agent))[0] in agents.NICKNAMES and not spec.model
        if spec.sandbox != "auto":
            raise SandboxError(str(error), lasting=True) from error
        if not shipped:
            raise SandboxError(f"{error} Or ask for no isolation by name, with --sandbox local.", True) from error
        say(f"No isolation on this machine, but the agent is shipped code, so it runs without (local): {error}")
        return "local"
    if backend.isolation == "none":
        say(Local.warning)
    return backend.name


def agent_for(spec: EpisodeSpec, task: Task, store: Episode) -> agents.Agent | None:
    """The agent, given what only the episode may hand out: recorded actions, or the hidden solution; None for one from
    outside.
    """
    name, options = split(spec.agent)
    if name in (PROGRAM, MCP):
        return None
    if name == "human":
        return agents.load(spec.agent, moves=_moves(store))
    if name == "oracle":
        return agents.load(spec.agent, files=_solution(task))
    if name == "replay":
        folder = options.get("episode")
        if not folder or len(options) > 1:
            raise UsageError("The agent replay needs a recorded episode and nothing else: replay?episode=FOLDER.")
        return agents.load(name, moves=_moves(Episode.read(Path(str(folder)))))
    return agents.load(spec.agent)


def memory_for(spec: EpisodeSpec, store: Episode, task: Task) -> Memory | None:
    """The notes of the task and its version; those of episodes that were shown test scores are kept apart."""
    if not spec.memory:
        return None
    run = next((up for up in store.folder.parents if episode_folder(up, spec) == store.folder), store.folder)
    folder = run / RUN_NOTES if spec.memory == RUN else Path(spec.memory)
    name = slug(f"{task.name}-v{task.version}{'-test' * (spec.feedback == 'test')}")
    origin = {"task": task.name, "run": run.resolve().name, "method": method(spec), "seed": spec.seed}
    memory = Memory(folder / f"{name}.jsonl", {**origin, "episode": store.id})
    memory.begin(len(store.steps()))
    return memory


def papers_for(spec: EpisodeSpec) -> Papers | None:
    """Where literature is looked up; None where it is not."""
    if not spec.papers:
        return None
    from mlgym.papers import open_papers  # with the clients of a network, which most episodes need not load

    return open_papers(spec.papers)


def _moves(recorded: Episode) -> list[Move]:
    """What was done in a recorded episode, up to its end."""
    steps = (step for step in recorded.steps() if step.action.tool != END)
    return [move for step in steps for move in (*map(moved, step.marks), step.action)]


def _solution(task: Task) -> dict[str, str]:
    if task.solution is None:
        raise UsageError(f"The task {task.name} has no hidden solution, so the agent oracle cannot run on it.")
    files = (path for path in sorted(task.solution.rglob("*")) if path.is_file())
    named = {str(path.relative_to(task.solution)): path for path in files}
    return {name: path.read_text() for name, path in named.items() if "__pycache__" not in name.split("/")}
