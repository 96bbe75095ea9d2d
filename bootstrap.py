"""Set mlgym up in the folder .venv beside this file, once, and run it.

    python3 bootstrap.py demo           the main job; a few minutes the first time
    python3 bootstrap.py test [ARGS]    the tests, side by side; with ARGS, which go to pytest, one by one
    python3 bootstrap.py check          formatter, linter and type checker
    python3 bootstrap.py bench [ARGS]   the benchmarks

It needs Python and some pip, and neither make nor ensurepip. A Python that is too old must be able to read this file,
for it tells what to do then: so no f-strings, no annotations, and nothing but ASCII.
"""

from __future__ import print_function

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time

OLDEST = (3, 11)
HERE = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(HERE, ".venv")
PYTHON = os.path.join(VENV, "Scripts", "python.exe") if os.name == "nt" else os.path.join(VENV, "bin", "python")
# These variables would make packages of elsewhere look installed, or hide this one.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
COMMANDS = {"demo": ["-m", "mlgym", "demo"], "test": ["-m", "pytest"], "bench": ["benchmarks/run.py"]}
CHECKS = [["ruff", "format", "--check", "--quiet"], ["ruff", "check", "--quiet"], ["mypy", "--no-error-summary"]]


def main(args):
    """Run one of the commands; exits with its exit code, with 2 where there is no such command."""
    if sys.version_info < OLDEST:
        sys.exit(too_old(args))
    command = args[0] if args else ""
    if command not in COMMANDS and args != ["check"]:
        print(__doc__.split("\n\n")[1])
        sys.exit(0 if command in ("-h", "--help") else 2)
    set_up(dev=command != "demo")
    if command != "demo":
        os.chdir(HERE)
    if command == "check":
        sys.exit(check())
    arguments = args[1:]
    if command == "test" and not arguments:  # side by side, for most of them wait; whole files share what they set up
        arguments = ["-n", str(min(os.cpu_count() or 1, 8)), "--dist", "loadfile"]
    become(COMMANDS[command] + arguments)


def too_old(args):
    """One sentence: what was found, and what to do."""
    found = "mlgym needs Python %d.%d or newer, but this is Python " % OLDEST
    found += "%d.%d.%d (%s): " % (sys.version_info[:3] + (sys.executable,))
    for minor in range(OLDEST[1] + 10, OLDEST[1] - 1, -1):
        name = "python3.%d" % minor
        try:
            subprocess.check_output([name, "-c", ""], stderr=subprocess.STDOUT)
        except (OSError, subprocess.CalledProcessError):
            continue
        return found + "run it with a newer one that you have, `%s %s`." % (name, " ".join(["bootstrap.py"] + args))
    return (
        found + "get a newer one from python.org, your system's packages or `uv python install`, and run it with that."
    )


def set_up(dev):
    """Make .venv and install mlgym into it, with `dev` also the tools of its tests; nothing when that is done."""
    with open(os.path.join(HERE, "pyproject.toml"), "rb") as project:
        key = hashlib.sha256(project.read() + (sys.version + sys.base_prefix + HERE).encode()).hexdigest()
    stamp = os.path.join(VENV, "mlgym-stamp")
    done = read(stamp).split()
    if key in done and (not dev or "dev" in done) and os.path.exists(PYTHON):
        return
    began = time.time()
    pip = find_pip(pips())
    if read_version(PYTHON) != sys.version:
        print("Making %s with Python %d.%d.%d." % ((VENV,) + sys.version_info[:3]), flush=True)
        make = subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", VENV], capture_output=True)
        if make.returncode:
            sys.exit("%s could not be made: %s" % (VENV, last_line(make.stderr or make.stdout)))
    install(pip, ".[dev]" if dev else ".")
    with open(stamp, "w") as file:
        file.write(key + (" dev" if dev else ""))
    print("Set up in %.0f s." % (time.time() - began), flush=True)


def pips():
    """The commands that may be a pip, best first."""
    for python in (sys.executable, getattr(sys, "_base_executable", None)):
        if python:
            yield [python, "-m", "pip"]
    for name in ("pip3", "pip"):
        program = shutil.which(name)
        if program:
            yield [program]
    try:
        import ensurepip
    except ImportError:  # some distributions leave it out
        return
    folder = os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")
    for wheel in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        if wheel.startswith("pip-"):
            yield [sys.executable, os.path.join(folder, wheel, "pip")]


def find_pip(commands):
    """The first of the commands that is a pip new enough to install into another environment."""
    for command in commands:
        try:
            said = subprocess.run(command + ["--version"], capture_output=True, env=ENVIRONMENT).stdout.decode()
        except OSError:
            continue
        version = re.match(r"pip (\d+)\.(\d+)", said)
        if version and tuple(map(int, version.groups())) >= (22, 3):
            return command
    sys.exit(
        "No pip (22.3 or newer) was found: install one, for example with `%s -m ensurepip` "
        "or your system's package python3-pip." % sys.executable
    )


def install(pip, what):
    """Install `what` of this folder, telling each package as it is looked at; pip's whole output goes to a log file."""
    arguments = ["--python", PYTHON, "install", "--disable-pip-version-check", "--no-input", "--editable", what]
    print("Installing mlgym and what it needs, with the pip of your machine:", end="", flush=True)
    log = os.path.join(VENV, "pip.log")
    with open(log, "wb") as file:
        run = subprocess.Popen(
            pip + arguments, cwd=HERE, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for line in run.stdout:
            file.write(line)
            package = re.match(r"\s*Collecting ([\w.-]+)", line.decode(errors="replace"))
            if package:
                print(" " + package.group(1), end="", flush=True)
    print(flush=True)
    if run.wait():
        with open(log, "rb") as file:
            errors = [line for line in file.read().splitlines() if line.startswith(b"ERROR")] or [b"pip failed"]
        sys.exit("The packages could not be installed: %s (all that pip said is in %s)." % (last_line(errors[-1]), log))


def check():
    """Run all the checks; 1 when one of them fails."""
    failed = [" ".join(tool) for tool in CHECKS if subprocess.call([PYTHON, "-m"] + tool, cwd=HERE, env=ENVIRONMENT)]
    print("failed: " + ", ".join(failed) if failed else "ruff and mypy have no complaint")
    return 1 if failed else 0


def become(arguments):
    """Go on as the environment's Python, so that signals and exit codes are its own."""
    sys.stdout.flush()
    if os.name == "nt":
        sys.exit(subprocess.call([PYTHON] + arguments, env=ENVIRONMENT))
    os.execve(PYTHON, [PYTHON] + arguments, ENVIRONMENT)


def read(path):
    """The file's text, empty when there is none."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def read_version(python):
    """What an interpreter says its version is, empty when it does not run."""
    try:
        said = subprocess.run([python, "-c", "import sys; print(sys.version)"], capture_output=True, env=ENVIRONMENT)
    except OSError:
        return ""
    return said.stdout.decode().rstrip("\r\n")


def last_line(said):
    """The last line of what a program said, without a full stop."""
    return (said.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1].rstrip(".")


if __name__ == "__main__":
    main(sys.argv[1:])
