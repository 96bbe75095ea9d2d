"""Runs a program where neither namespaces nor mounts can be made, as in a container: forbidden.py PROGRAM ARGUMENT…

With `landlock` before the program Landlock is refused as well.
"""

import os
import struct
import sys

from mlgym.sandbox import enter, seccomp

# load the number; if it is landlock_create_ruleset: refuse; allow
NO_LANDLOCK = [(0x20, 0, 0, 0), (0x15, 0, 1, enter.CREATE_RULESET), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]

if __name__ == "__main__":
    argv = sys.argv[1:]
    enter.control(enter.PR_SET_NO_NEW_PRIVS, 1)
    enter.filtered(seccomp.program())
    if argv[0] == "landlock":
        argv = argv[1:]
        enter.filtered(b"".join(struct.pack("<HBBI", *each) for each in NO_LANDLOCK))
    os.execv(argv[0], argv)
