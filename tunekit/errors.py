"""The exception for wrong input of the user, and the first line of another library's error."""


class UserError(Exception):
    """The user gave wrong input. The message is one line; commands print it and exit with code 2."""


def first_line(error: Exception) -> str:
    """Return the first line of the message of ``error``, or the name of its type where the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
