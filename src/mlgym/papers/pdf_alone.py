"""A program of its own: the PDF from stdin, its pages' texts to stdout, a JSON string on each line.

The first line is an object with the number of pages, or with what is wrong. Its arguments are the folder that has
pypdf, and the most pages, seconds of a processor, bytes of memory and bytes of output.
"""

import contextlib
import json
import resource
import sys
from typing import Any


def main() -> None:
    """Read the PDF within the limits."""
    pages, seconds, memory, output = map(int, sys.argv[2:])
    limits = ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, output))
    for limit, most in (*limits, (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(OSError, ValueError):  # not every system has each
            resource.setrlimit(limit, (most, most))
    try:
        sys.path.append(sys.argv[1])
        import pypdf

        reader = pypdf.PdfReader(sys.stdin.buffer)
        total = len(reader.pages)
        say({"pages": total})
        for number in range(min(total, pages)):
            say(reader.pages[number].extract_text())
    except Exception as error:  # a foreign file may break anything
        say({"why": f"{type(error).__name__}: {error}"[:300]})


def say(what: Any) -> None:
    """One line, which is there even if the next page ends this process."""
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
