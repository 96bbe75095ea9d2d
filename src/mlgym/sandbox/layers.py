"""Folders laid over each other by the kernel (overlayfs): how they are mounted, and where that works.

Nothing of a layer is copied until it is changed. It is probed apart from bubblewrap, whose older versions know no
overlay and whose newer ones force every changed file to the disk: the mount is made in a mount namespace of its own,
in which bwrap is started then.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from mlgym.sandbox.scratch import scratch

MOST = 400  # layers; the kernel takes 500
# Root's own marks let folders of a layer be renamed; an ordinary user's do not (`os.rename` says EXDEV, `mv` copies).
MARKS = ("redirect_dir=on", "userxattr")
# Names are relative, so that many layers fit the page that mount options may have and no place of the host is told.
# Newer versions of mount hand over options one by one, where each may be 256 bytes long, unless told otherwise.
MOUNT = (
    'cd "$1" && LIBMOUNT_FORCE_MOUNT2=always /usr/bin/mount -t overlay overlay -o "$2" "$3" || exit 125; cd /; '
    'shift 3; exec "$@"'
)
_found: dict[int, str] = {}  # by the number of the file system
TRY = 'cd "$1" && mv f g && echo 2 >>g && rm -r d && mkdir d && test ! -e d/x && test -e g && test ! -e f'


def mounted(folder: Path, layers: Sequence[Path], marks: str) -> list[str]:
    """The beginning of a command line whose rest runs where `folder` shows the `layers` (the topmost first) too.

    What is changed goes into `folder`, and `work(folder)` must be an empty folder beside it.
    """
    place = folder.parent
    below = ":".join(os.path.relpath(layer, place) for layer in layers)
    options = f"{marks},volatile,lowerdir={below},upperdir={folder.name},workdir={work(folder).name}"
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    shell = ["/bin/sh", "-c", MOUNT, "mount", str(place), options, folder.name]
    return ["/usr/bin/unshare", *user, "--mount", "--", *shell]


def work(folder: Path) -> Path:
    """The folder that the kernel needs beside the one that takes the changes."""
    return folder.with_name(f"{folder.name}-work")


def marks(place: Path) -> str:
    """The kind of marks with which overlays work in a folder of the host, empty where none do."""
    device = place.stat().st_dev
    if device not in _found:
        _found[device] = next((kind for kind in MARKS if works(place, kind)), "")
    return _found[device]


def works(place: Path, marks: str) -> bool:
    """Whether an overlay in that folder can be mounted and changed; tried there."""
    try:
        with scratch(place) as folder:
            top, low = folder / "top", folder / "low"
            for made in (top, work(top), low / "d"):
                made.mkdir(parents=True)
            (low / "f").write_text("1")
            (low / "d" / "x").touch()
            command = [*mounted(top, [low], marks), "/bin/sh", "-c", TRY, "try", str(top)]
            return subprocess.run(command, env={}, capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False
