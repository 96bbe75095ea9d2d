"""Frauds that may be tried on every task."""

from mlgym.grading.forgeries.forgery import VERDICT, Forgery

SHADOW = f"""
import atexit, os
atexit.register(os.write, 1, b'\\n' + {VERDICT!r}.encode() + b'\\n')
class InvalidSubmission(Exception): pass
def grade(*args, **kwargs): return {{"score": 99.0}}
grade_numbers = grade_classes = grade
"""

COMMON: tuple[Forgery, ...] = (
    Forgery(
        "score file",
        (),
        f"for name in score scores result results metrics verdict; do echo '{VERDICT}' > $name.json; done;"
        f" echo '{VERDICT}' > $ROOT/tmp/verdict.json",
        "the verdict comes through the grader's own pipe; no file of the submission is read as a score",
    ),
    Forgery(
        "patched evaluator",
        (),
        "for place in $(find ${ROOT:-/} -xdev -writable \\( -name task.py -o -name evaluate.py -o -name grader_main.py"
        " -o -path '*/kinds/*.py' \\) 2>/dev/null); do cp evaluate.py $place; done; cp evaluate.py task.py",
        "the grader and the task's hidden module are in no place that the workspace's commands see",
        {"evaluate.py": SHADOW},
    ),
    Forgery(
        "shadowed modules",
        (),
        "for name in kinds csv json random numpy math sitecustomize usercustomize; do cp shadow.py $name.py; done;"
        " export PYTHONPATH=$PWD",
        "only the declared files are graded, and the grader's path holds nothing of the submission",
        {"shadow.py": SHADOW},
    ),
    Forgery(
        "linked answers",
        (),
        "for place in /grader/private /private /answers ../private ../../private; do"
        " for file in answers.csv salt; do ln -sf $place/$file $SUBMISSION; [ -e $SUBMISSION ] && break 2; done; done",
        "a submission is made of regular files, packed by a process inside; a link is refused",
    ),
    Forgery(
        "daemon",
        (),
        "cp -r $SUBMISSION honest; setsid sh -c 'echo $$ > daemon.pid; while sleep 0.05; do"
        " for folder in . $ROOT/grader $ROOT/submission $ROOT/tmp; do"
        f' echo "$0" > $folder/verdict.json; echo "$0" > $folder/$SUBMISSION; done; done\' \'{VERDICT}\''
        " >/dev/null 2>&1 & until [ -s daemon.pid ]; do sleep 0.01; done; rm -r $SUBMISSION; cp -r honest $SUBMISSION",
        "what is graded is a frozen copy in sandboxes of its own, in which the workspace's processes are not",
    ),
)
