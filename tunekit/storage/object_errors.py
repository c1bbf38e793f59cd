"""Errors of an object store's server, as one line that says what is wrong and how to mend it."""

import errno
import re


class ServerError(OSError):
    """A server refused a request or did not answer; the message is one line."""

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


REASONS = (
    (r"NO_SUCH_BUCKET|[Bb]ucket .*not found|bucket does not exist", errno.ENOENT,
     "there is no bucket {bucket!r} at {server}; make it, or mend the name"),
    (r"NETWORK_CONNECTION|[Cc]ould ?n.t (connect|resolve)|Could not (connect|resolve)", errno.EHOSTUNREACH,
     "{server} can't be reached; mend AWS_ENDPOINT_URL or endpoint_override, or the network"),
    (r"INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN_ID|UNRECOGNIZED_CLIENT|EXPIRED_TOKEN",
     errno.EACCES, "{server} does not know these credentials, or they have run out; mend AWS_ACCESS_KEY_ID, "
     "AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN or the profile"),
    (r"ACCESS_DENIED|FORBIDDEN|HTTP status 403|PERMISSION_DENIED|UNAUTHENTICATED|HTTP status 401", errno.EACCES,
     "{server} denies {operation} on bucket {bucket!r}: there are no credentials here, or theirs is not the right to "
     "it; reading, listing, writing and deleting are needed"),
)  # fmt: skip
"""Patterns of the server's answer, with the error number and the line that each stands for."""


def server_error(message: str, path: str, bucket: str, server: str) -> ServerError:
    """Return the error that ``message``, which pyarrow gave for ``path``, stands for."""
    operation = re.search(r"during (\w+) operation", message)
    for pattern, number, line in REASONS:
        if re.search(pattern, message):
            named = {"bucket": bucket, "server": server, "operation": operation[1] if operation else "the request"}
            return ServerError(number, line.format(**named), path)
    return ServerError(errno.EIO, message.splitlines()[0], path)
