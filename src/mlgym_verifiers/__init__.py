"""The name by which `vf-eval mlgym_verifiers` and prime-rl find mlgym's taskset and harness: they take no dots."""

from mlgym.adapters.verifiers import MlgymHarness, MlgymTaskset

__all__ = ["MlgymHarness", "MlgymTaskset"]
