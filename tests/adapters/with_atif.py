"""Harbor's own models take every exported trajectory, those with tokens too."""

import json
from importlib.metadata import version

from exports import exports
from harbor.models.trajectories.trajectory import Trajectory


def main() -> None:
    with exports() as folder:
        count = steps = tokens = 0
        for path in sorted(folder.glob("atif-*/data/*.jsonl")):
            for line in path.read_text().splitlines():
                found = Trajectory.model_validate(json.loads(line))
                assert (
                    found.to_json_dict() and found.final_metrics and found.final_metrics.total_steps == len(found.steps)
                )
                count, steps = count + 1, steps + len(found.steps)
                tokens += sum(len(s.metrics.completion_token_ids or ()) for s in found.steps if s.metrics)
        assert count
    print(f"Harbor {version('harbor')} took {count} trajectories of {steps} steps, {tokens} sampled tokens in them")


if __name__ == "__main__":
    main()
