"""`python -m serve_app.check serve_config.yaml`: check a Serve config file before it is deployed."""

import typer

from serve_app.config.serve_file import main

if __name__ == "__main__":
    typer.run(main)
