"""The service: one room a folder. `app` names the deployments that Ray Serve starts, each in processes of its own.

Who may import whom is written in pyproject.toml, under import-linter.
"""
