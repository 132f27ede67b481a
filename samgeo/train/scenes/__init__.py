"""Made-up images from above with exact masks: what the embedded model learns from, tests run on and the demo shows."""

from samgeo.train.scenes.compose import LABELS, Scene, make_scene

__all__ = ["LABELS", "Scene", "make_scene"]
