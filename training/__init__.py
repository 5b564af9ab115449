"""What made the demo checkpoint: drawn scenes, photo segmentation, the training loop, the evaluation.

Runs as commands of its own (`python -m training.train`, `.evaluate`, `.scenes`); the service never imports it.
"""
