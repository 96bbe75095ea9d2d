"""The tools that keep notes from episode to episode."""

from textwrap import indent

from mlgym.memory import Memory, Note
from mlgym.tools.session import Session, ToolError

LONGEST, MOST_TAGS, LONGEST_TAG = 2000, 8, 40  # characters of a note, its tags, and characters of one
MOST_NOTES, MOST_TOLD = 50, 20  # notes of an episode, and of an answer
INDENT = "   "  # of a note's lines, so that none looks like where a note comes from
UNCHECKED = "Agents wrote them in episodes of this task, and nobody has checked them."


def remember(session: Session, text: str, tags: str = "") -> str:
    """Keep a note for later episodes of this same task: what you tried, what came of it, what to try next. It is found
    again by the words in it.

    text: the note, at most 2000 characters; give settings and scores as numbers
    tags: a few words with commas between, by which it is found too
    """
    memory, text = _memory(session), text.strip()
    marks = [tag for each in tags.split(",") if (tag := " ".join(each.split()))]
    if not 1 <= len(text) <= LONGEST:
        raise ToolError(f"A note has 1 to {LONGEST} characters; this one has {len(text)}. Nothing was kept.")
    if len(marks) > MOST_TAGS or any(len(tag) > LONGEST_TAG for tag in marks):
        raise ToolError(f"A note has at most {MOST_TAGS} tags of at most {LONGEST_TAG} characters; nothing was kept.")
    if (so_far := len(memory.own())) >= MOST_NOTES:
        raise ToolError(f"This episode has kept its {MOST_NOTES} notes; no more are taken.")
    memory.remember(text, marks, step=session.step, score=session.score)
    return f"Kept. Notes of this episode: {so_far + 1} of at most {MOST_NOTES}."


def recall(session: Session, query: str = "", most: int = 5) -> str:
    """Look for notes of earlier episodes of this task, and of this one.

    query: words to look for; without any you get the latest notes
    most: how many notes to show, 1 to 20
    """
    if not 1 <= most <= MOST_TOLD:
        raise ToolError(f"`recall` shows 1 to {MOST_TOLD} notes, not {most}.", "format")
    memory = _memory(session)
    found = memory.recall(query, most)
    if not found:
        return "There are no notes of this task yet." if not memory.notes() else "No note has any of these words."
    here = memory.origin["episode"]
    told = (f"{n}. {_about(note, here)}\n{indent(note.text, INDENT)}" for n, note in enumerate(found, 1))
    return "\n\n".join([f"{len(found)} of {len(memory.notes())} notes. {UNCHECKED}", *told])


def _about(note: Note, here: str) -> str:
    """Where a note comes from, in a line."""
    whose = "this episode" if note.episode == here else f"run {note.run}, {note.method}, seed {note.seed}"
    score = "none" if note.score is None else f"{note.score:.6g}"
    tags = f"; tags: {', '.join(note.tags)}" if note.tags else ""
    return f"[{whose}, step {note.step}; best score by then: {score}{tags}]"


def _memory(session: Session) -> Memory:
    if session.memory is None:
        raise ToolError("This episode keeps no notes.")
    return session.memory
