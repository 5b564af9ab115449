"""The engines behind one interface, `spec.Detector`: PyTorch, ONNX Runtime, OpenVINO, and what they need of the CPU.

Runs in the backends' replicas, each of which loads the library of its own engine only, and in the export.
"""
