"""Reinforcement learning in the environments: rollouts by tokens, and a learner."""
