"""The first process of a program's sandbox: gives the host an address inside, starts the program, ends with it."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mlgym.sandbox.inside_network import hand_out


def start(path: str, port: int, line: str) -> None:
    """Run the command line; whatever it leaves behind ends with this process."""
    proxy = hand_out(path, port)
    child = os.fork()
    if not child:
        os.setsid()
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.execv("/bin/bash", ["bash", "-c", line])
    while True:
        ended, status = os.wait()
        if ended == child:
            proxy.close()
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
