"""Makes an ONNX artifact of a checkpoint, and keeps it only if its detections are those of PyTorch.

Runs as a process of its own, `python -m export`, before the service starts.
"""
