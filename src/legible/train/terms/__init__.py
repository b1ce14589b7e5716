"""The terms of the joint training's reward."""
