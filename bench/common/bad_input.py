"""What the benches' scripts refuse."""


class BadInput(Exception):
    """One line for the user."""
