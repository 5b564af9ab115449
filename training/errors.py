"""The error for bad input to a command of this package. Raised wherever it is found, printed by `commands`."""


class BadInputError(Exception):
    """One line that names the path at fault and the remedy; a command prints it and exits with code 2."""
