"""The one exception that means: the input is wrong, here is a line that says what and how to mend it."""


class UserError(Exception):
    """Bad input from the user. Its message is one line; command lines print it and exit with code 2."""
