"""The one error of this package's commands: input that a person has to mend. Raised anywhere, printed by `commands`."""


class BadInputError(Exception):
    """One line that names the path at fault and the remedy; a command prints it and exits with code 2."""
