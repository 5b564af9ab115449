"""The service on one machine: starts Ray, deploys, moves the split, ends it all, and runs Prometheus beside it.

Runs in the process of the command that a person types (`make serve`, `split`, `stop`, `monitor`), never in a replica.
"""
