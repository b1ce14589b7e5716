"""Training: targets, the warm start of both roles, joint reinforcement learning, checkpoints."""
