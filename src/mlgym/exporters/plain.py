"""What the agents without a model do, as somebody would type it: their own apparatus is taken out.

They run the baseline under a watcher that they send with the command, and read files with a mark at their end. A run
that the watcher stopped stays as it was: the plain command would have gone on.
"""

import json
import re
import shlex

from mlgym.records import Step

END_OF_WATCHER = "END_OF_WATCHER"
_WATCHED = re.compile(
    rf"\S*python[\d.]* - ('(?:[^']|'\"'\"')*') <<'{END_OF_WATCHER}'\n.*?^{END_OF_WATCHER}$", re.MULTILINE | re.DOTALL
)
_TOLD = re.compile(r"\n?^\[watched\] (\{.*\})\n?", re.MULTILINE)
_MARKED = re.compile(r"; echo END-OF-FILE-\w+ \$\(wc -c < (?:'[^']*'|[^)']+)\)")
_MARK = re.compile(r"^END-OF-FILE-\w+ \d+\n?", re.MULTILINE)


def plain(step: Step) -> Step:
    """The step without a watcher and without marks."""
    command, text = step.action.args.get("command"), step.observation.text
    if not isinstance(command, str):
        return step
    watched, marked = _WATCHED.search(command), _MARKED.search(command)
    if watched:
        told = _TOLD.findall(text)
        try:
            if not told or json.loads(told[-1])["stopped"]:
                return step
            inner = str(json.loads(shlex.split(watched[1])[0])["command"])
        except (ValueError, LookupError, TypeError):
            return step
        command, text = command.replace(watched[0], inner), _TOLD.sub("", text)
    if marked:
        command, text = _MARKED.sub("", command), _MARK.sub("", text)
    if not watched and not marked:
        return step
    action = step.action.changed(args={**step.action.args, "command": command})
    return step.changed(action=action, observation=step.observation.changed(text=text))
