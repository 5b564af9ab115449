"""Seeded flat-lay scenes with exact boxes, drawn with PIL and numpy alone."""

from training.scenes.scene import Scene, SceneObject, render_scene

__all__ = ["Scene", "SceneObject", "render_scene"]
