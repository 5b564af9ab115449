"""Measurements that a reader can repeat, each a command: `python -m bench.NAME`."""
