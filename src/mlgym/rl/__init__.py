"""Reinforcement learning in the environments: rollouts by tokens, and a learner.

An Engine lets a Policy act in many episodes side by side; what comes back are Trajectories.
"""

from mlgym.rl.engine import Engine, Row
from mlgym.rl.policy import Policy, Sampled
from mlgym.rl.sampling import TorchPolicy
from mlgym.rl.scripted import ScriptedPolicy
from mlgym.rl.served import ServerPolicy, TextPolicy

__all__ = ["Engine", "Policy", "Row", "Sampled", "ScriptedPolicy", "ServerPolicy", "TextPolicy", "TorchPolicy"]
