"""The submission's way out of the workspace, and its frozen copies."""

import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from mlgym.errors import GradingError
from mlgym.sandbox.shell import Shell
from mlgym.sandbox.tar import SubmissionRefused, read_tar


def collect(shell: Shell, paths: Sequence[str], into: Path, max_bytes: float, max_files: int) -> dict[str, str]:
    """Freeze files of the workspace (names, globs, folders) into the fresh folder `into`; relative path -> sha256.

    Raises SubmissionRefused, in one sentence, for what is missing, too big, or no regular file.
    """
    try:
        return read_tar(_packed(shell, paths, int(max_bytes), max_files), into, int(max_bytes), max_files)
    except SubmissionRefused as error:
        raise SubmissionRefused(f"The submission was refused: {str(error).rstrip('.')}.") from error


def _packed(shell: Shell, paths: Sequence[str], max_bytes: int, max_files: int) -> bytes:
    try:
        return shell.pack(paths, max_bytes, max_files)
    except OSError as error:  # of the inside, such as a file that the agent made unreadable
        raise SubmissionRefused(f"{error.filename or paths[0]!r} cannot be read ({error.strerror})") from error


def copy(files: Path, into: Path) -> None:
    """A copy that every user may read and nobody write; raises GradingError for anything but files and folders."""
    into.mkdir()
    for folder, names, plain in os.walk(files):
        target = into / Path(folder).relative_to(files)
        for name in plain + names:
            path = Path(folder, name)
            kind = path.lstat().st_mode
            if stat.S_ISREG(kind):
                shutil.copyfile(path, target / name, follow_symlinks=False)
                (target / name).chmod(0o444)
            elif stat.S_ISDIR(kind):
                (target / name).mkdir()
            else:
                raise GradingError(f"{path} is neither a file nor a folder: grade a folder of regular files.")
        target.chmod(0o755)
