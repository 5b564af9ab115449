"""Measurements that a reader can repeat: each room or module with a `main` is one command. Nothing serves from here.

Runs in the command's process, on Ray nodes and servers that it starts and ends itself.
"""
