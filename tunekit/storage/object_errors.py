"""Errors of an object store's server, as one line that says what is wrong and how to mend it."""

import errno
import os
import re

from tunekit.storage.object_servers import SERVICES


class ServerError(OSError):
    """A server refused a request or did not answer; the message is one line."""

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


REASONS = (
    (r"NoSuchBucket|ContainerNotFound|bucket does not exist", errno.ENOENT,
     "there is no bucket {bucket!r} at {server}; make it, or mend the name"),
    (r"get_credentials|config profile|169\.254\.169\.254|performing token request|credential provider", errno.EACCES,
     "no credentials for {server} are found here; mend {credentials}, or give the machine a role"),
    (r"error sending request|error decoding response|timed out|HTTP error", errno.EHOSTUNREACH,
     "{server} can't be reached; mend {variable} or endpoint_override, or the network"),
    (r"InvalidAccessKeyId|SignatureDoesNotMatch|InvalidClientTokenId|UnrecognizedClient|ExpiredToken|InvalidToken|"
     r"AuthenticationFailed|AuthorizationFailure|InvalidAuthenticationInfo|status code: 401", errno.EACCES,
     "{server} does not know these credentials, or they have run out; mend {credentials}"),
    (r"status code: 403", errno.EACCES,
     "{server} denies {operation} on bucket {bucket!r}: there are no credentials here, or they lack a right; "
     "reading, listing, writing and deleting are needed"),
    (r"PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraint|Received redirect", errno.EINVAL,
     "bucket {bucket!r} lies in another region; name it, as in s3://{bucket}?region=eu-west-1"),
    (r"status code: 501|NotImplemented", errno.ENOTSUP,
     "{server} can't write an object only where there is none (the header If-None-Match), which sweeps need"),
    (r"status code: (429|5)", errno.EAGAIN,
     "{server} answers {status} however often it is asked; it is overloaded or broken, so try again later"),
)  # fmt: skip
"""Patterns of the server's answer, each with the error number and the line to raise."""


def server_error(error: Exception, scheme: str, path: str, bucket: str, endpoint: str | None) -> OSError:
    """Return the OSError for ``error``, which obstore or botocore raised for ``path``."""
    said = str(error).partition("\n\nDebug source")[0]
    service = SERVICES[scheme]
    operation = re.search(r"performing ([A-Z]+) ", said)
    status = re.search(r"status code: ([^:]+)", said)
    named = {
        "bucket": bucket,
        "server": endpoint or service.name,
        "operation": operation[1] if operation else "the request",
        "status": status[1] if status else "an error",
        "credentials": service.credentials,
        "variable": service.variables[-1],
    }
    for pattern, number, line in REASONS:
        if re.search(pattern, said):
            return ServerError(number, line.format_map(named), path)
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return ServerError(errno.EIO, " ".join(said.split()), path)
