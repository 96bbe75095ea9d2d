"""What the libraries of training make of a sandbox that has one processor: that many threads, and they still work."""

from pathlib import Path

import pytest

from mlgym.allocator import usable
from mlgym.environments import environment
from mlgym.sandbox import SandboxSpec, open_shell
from mlgym.task import load_task

NUMPY = """
import os, numpy, sklearn
from sklearn.ensemble import RandomForestClassifier
from threadpoolctl import threadpool_info
a = numpy.ones((600, 600)) @ numpy.ones((600, 600))
forest = RandomForestClassifier(8, n_jobs=-1).fit(a[:50], numpy.arange(50) % 2)
print(a[0, 0], {pool["num_threads"] for pool in threadpool_info()})
"""
TORCH = """
import torch
a = torch.ones(300, 300, requires_grad=True)
(a @ a).sum().backward()
data = torch.utils.data.TensorDataset(torch.arange(8))
loader = torch.utils.data.DataLoader(data, 2, num_workers=1)
print(sum(int(batch[0].sum()) for batch in loader), torch.get_num_threads())
"""
JAX = """
import os, jax, jax.numpy as jnp
print(float(jax.jit(lambda a: (a @ a).sum())(jnp.ones((300, 300)))))
pools = [open(f"/proc/self/task/{task}/comm").read().strip() for task in os.listdir("/proc/self/task")]
print(max(pools.count(name) for name in set(pools) if "Eigen" in name or "XLA" in name or "Cpu" in name))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "code", "said"),
    [
        ("house-price", NUMPY, "600.0 {1}\n"),
        ("cifar10-mini", TORCH, "28 1\n"),
        ("mountain-car-mini", JAX, "27000000.0\n1\n"),
    ],
)
def test_libraries_use_what_they_were_given(tmp_path: Path, task: str, code: str, said: str) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "look.py").write_text(code)
    env = environment(load_task(task).packages)
    with open_shell("bubblewrap", SandboxSpec(workspace, env, processors=(usable()[-1],))) as shell:
        assert shell.run("python look.py 2>&1", 100).output == said
