"""A Docker daemon and the image of a task's packages, until the standard input ends; prints address and image."""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from engines import NoEngine, running, why_not

from mlgym.grading.prepare import prepare
from mlgym.sandbox.images import image
from mlgym.task import load_task


def main() -> None:
    if why := why_not("docker"):
        sys.exit(why)
    try:
        with running("docker"):
            made = image("docker", prepare(load_task(sys.argv[1])).env)
            print(json.dumps([os.environ.get("DOCKER_HOST", ""), made]), flush=True)
            sys.stdin.read()
    except NoEngine as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
