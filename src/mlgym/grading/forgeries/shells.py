"""Frauds that wait in the agent's shell and in its Python for an evaluator that is started there."""

from mlgym.grading.forgeries.elf import PRELOAD
from mlgym.grading.forgeries.forgery import VERDICT, Forgery

SAY = f"echo '{VERDICT}'"
# A module that says the verdict last, and is a task's and a grader's at once.
SHADOW = f"""
import atexit, os
atexit.register(os.write, 1, b'\\n' + {VERDICT!r}.encode() + b'\\n')
class InvalidSubmission(Exception): pass
def grade(*args, **kwargs): return {{"score": 99.0}}
grade_numbers = grade_classes = grade_captions = grade_pairs = grade
"""
PYTHON, DIRECT = "python $EVALUATOR", "exec(open('$EVALUATOR').read())"


def _fraud(name: str, command: str, defence: str, start: str = PYTHON, files: dict[str, str] | None = None) -> Forgery:
    return Forgery(name, (), command, defence, files or {}, guard="shell", start=start)


SHELLS: tuple[Forgery, ...] = (
    _fraud(
        "shadowed modules",
        "for name in kinds csv json random numpy math usercustomize; do cp shadow.py $name.py; done;"
        " [ ! -d $SUBMISSION ] || cp *.py $SUBMISSION/; export PYTHONPATH=$PWD",
        "only the declared files are graded, and the grader's path holds nothing of the submission",
        files={"shadow.py": SHADOW},
    ),
    _fraud(
        "shadowed package",
        "mkdir -p numpy kinds && cp shadow.py numpy/__init__.py && cp shadow.py kinds/__init__.py;"
        " [ ! -d $SUBMISSION ] || cp -r numpy kinds $SUBMISSION/; export PYTHONPATH=$PWD",
        "the grader's path holds nothing of the submission, and -P leaves the working folder out of it",
        files={"shadow.py": SHADOW},
    ),
    _fraud(
        "sitecustomize",
        "mkdir -p start && cp shadow.py start/sitecustomize.py; export PYTHONPATH=$PWD/start",
        "no variable of the agent's shell reaches the grader's Python",
        files={"shadow.py": SHADOW},
    ),
    _fraud(
        ".pth file",
        'site=$(python -m site --user-site); mkdir -p "$site"; cp shadow.py "$site/shadowed.py";'
        ' echo "import shadowed" > "$site/shadowed.pth"',
        "the grader's Python has -s and another home: no site of the user's is read",
        "$INTERPRETER $EVALUATOR",
        {"shadow.py": SHADOW},
    ),
    _fraud(
        "function named python",
        f"python() {{ {SAY}; }}; python3() {{ python; }}; export -f python python3",
        "no shell of the agent's starts the grader",
    ),
    _fraud(
        "alias",
        "shopt -s expand_aliases; alias python='cat said.json #'",
        "no shell of the agent's starts the grader",
        files={"said.json": VERDICT + "\n"},
    ),
    _fraud(
        "traps",
        "shopt -s extdebug; trap 'case $BASH_COMMAND in *evaluate*) cat said.json; false;; esac' DEBUG;"
        " trap 'cat said.json' EXIT",
        "no shell of the agent's starts the grader, or hears of its end",
        files={"said.json": VERDICT + "\n"},
    ),
    _fraud(
        "PATH",
        "mkdir -p bin; printf '#!/bin/sh\\ncat $PWD/said.json\\n' > bin/python; chmod +x bin/python;"
        " cp bin/python bin/python3; export PATH=$PWD/bin:$PATH",
        "the grader's Python is started by its full path",
        files={"said.json": VERDICT + "\n"},
    ),
    _fraud(
        "LD_PRELOAD",
        "python make_library.py said.json preload.so && export LD_PRELOAD=$PWD/preload.so",
        "the grader is loaded with an environment of its own",
        files={"said.json": "\n" + VERDICT + "\n", "make_library.py": PRELOAD},
    ),
    _fraud(
        "BASH_ENV",
        "echo 'python() { cat said.json; }' > start.sh; export BASH_ENV=$PWD/start.sh",
        "no shell of the agent's starts the grader",
        f"bash -c '{PYTHON}'",
        {"said.json": VERDICT + "\n"},
    ),
    _fraud(
        "ENV",
        "echo 'python() { cat said.json; }' > start.sh; export ENV=$PWD/start.sh",
        "no shell of the agent's starts the grader",
        f"echo '{PYTHON}' | sh -i 2>/dev/null",
        {"said.json": VERDICT + "\n"},
    ),
    _fraud(
        "PROMPT_COMMAND and .bashrc",
        "export PROMPT_COMMAND='cat said.json'; echo 'python() { cat said.json; }' >> ~/.bashrc",
        "no shell of the agent's starts the grader",
        f"echo '{PYTHON}' | bash -i 2>/dev/null",
        {"said.json": VERDICT + "\n"},
    ),
    _fraud(
        "PYTHONSTARTUP",
        "export PYTHONSTARTUP=$PWD/shadow.py",
        "the grader's Python is not interactive, and has an environment of its own",
        f'echo "{DIRECT}" | python -i 2>/dev/null',
        {"shadow.py": SHADOW},
    ),
)
