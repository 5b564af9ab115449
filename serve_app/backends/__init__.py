"""A backend as the router sees it: calls to its replicas, their errors, and whether any replica is alive.

Runs in the router's process. `traffic` uses it; only this room knows Serve's handles.
"""
