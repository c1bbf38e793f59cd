"""The one exception that means: the input is wrong, here is a line that says what; and errors of others as a line."""


class UserError(Exception):
    """Bad input from the user. Its message is one line; command lines print it and exit with code 2."""


def first_line(error: Exception) -> str:
    """The first line of its message; the name of its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
