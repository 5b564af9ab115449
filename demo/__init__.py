"""What the service shows without a download: an embedded checkpoint, photos to send, and `draw` for the answers.

`checkpoint/` is loaded in the backends' replicas; `python -m demo.draw` is a client in a process of its own.
"""
