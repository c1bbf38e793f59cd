"""Connections to object stores: the kinds of servers, the options of their URIs, and the credentials."""

import os
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from tunekit.errors import UserError

if TYPE_CHECKING:
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.store import ObjectStore


class NoCredentials(Exception):
    """AWS's tools find no credentials, or none of the profile that the environment names."""


class Service(NamedTuple):
    """A kind of object store."""

    name: str
    """The server's name in messages, where no endpoint is given."""
    endpoint: str
    """The server's address, where no endpoint is given."""
    options: tuple[str, ...]
    """The options that may follow the ``?`` of a URI."""
    variables: tuple[str, ...]
    """Environment variables that name another server; the first one that is set counts."""
    credentials: str
    """Where credentials are looked for, for messages."""


SERVICES = {
    "s3": Service("AWS", "https://s3.{region}.amazonaws.com", ("endpoint_override", "region", "scheme"),
                  ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
                  "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN or the profile"),
    "gs": Service("Google Cloud Storage", "https://storage.googleapis.com", ("endpoint_override", "scheme"),
                  ("GOOGLE_BASE_URL",), "GOOGLE_APPLICATION_CREDENTIALS, or log in with gcloud"),
    "az": Service("Azure", "https://{account_name}.blob.core.windows.net",
                  ("account_name", "endpoint_override", "scheme"), ("AZURE_STORAGE_ENDPOINT",),
                  "AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, or AZURE_CLIENT_ID and its companions"),
}  # fmt: skip
"""The object stores, by the scheme of their URIs."""

CLIENT = {"connect_timeout": "5s", "read_timeout": "60s", "timeout": "10m"}
"""``read_timeout`` is the longest wait for an answer. It begins when a request begins to be sent, so a part of an
upload has to be sent within it."""
RETRY = {
    "max_retries": 6,
    "retry_timeout": timedelta(seconds=30),
    "backoff": {"init_backoff": timedelta(seconds=0.3), "max_backoff": timedelta(seconds=3), "base": 3},
}
"""A request that failed is sent again up to six times within half a minute, after random waits of 0.3 s to 3 s."""
CREDENTIALS_LIVE = timedelta(minutes=5)
"""AWS's credentials are asked for again after this time. botocore renews credentials that end within 10 minutes."""


def from_environment(scheme: str) -> dict[str, str]:
    """Return the options that this machine's environment names. None of them is secret.

    Raises UserError where the endpoint is no address, or holds a key.
    """
    found = {}
    if variable := next((name for name in SERVICES[scheme].variables if os.environ.get(name)), None):
        parts = urlsplit(os.environ[variable])
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
            raise UserError(f"{variable} has to be http://HOST:PORT or https://HOST:PORT, with no key in it")
        found = {"endpoint_override": parts.netloc + parts.path.rstrip("/"), "scheme": parts.scheme}
        if scheme == "s3":
            found["region"] = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    if scheme == "az" and (account := os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")):
        found["account_name"] = account
    return found


@cache
def connected(scheme: str, bucket: str, options: tuple[tuple[str, str], ...]) -> "ObjectStore":
    """Return this process's connection to a bucket, or to a container of Azure.

    Raises NoCredentials where AWS's tools find none.
    """
    from obstore.store import AzureStore, GCSStore, S3Store

    named = dict(options)
    how: dict[str, Any] = {"retry_config": RETRY}
    if scheme == "s3":
        how["credential_provider"] = provider = _aws_credentials()
        asked = None if {"region", "endpoint_override"} & named.keys() else region_of(bucket)
        region = os.environ.get("AWS_REGION") or provider.config.get("region")
        how["region"] = named.setdefault("region", asked or region or "us-east-1")
    protocol = named.get("scheme", "https")
    override = named.get("endpoint_override")
    endpoint = f"{protocol}://{override}" if override else SERVICES[scheme].endpoint.format_map(named)
    how["client_options"] = {**CLIENT, "allow_http": protocol == "http"}
    if scheme == "s3":  # AWS_ENDPOINT_URL_S3 of a worker's machine would be preferred to the setting ``endpoint``
        return S3Store(bucket, aws_endpoint_url_s3=endpoint, **how)
    if scheme == "gs":
        return GCSStore(bucket, base_url=endpoint, **how)
    return AzureStore(bucket, account_name=named["account_name"], endpoint=endpoint, **how)


def _aws_credentials() -> "Boto3CredentialProvider":
    """Return a provider that looks for credentials as AWS's tools do: environment, profile, role of the machine."""
    from botocore.exceptions import BotoCoreError
    from obstore.auth.boto3 import Boto3CredentialProvider

    try:
        return Boto3CredentialProvider(ttl=CREDENTIALS_LIVE)
    except (BotoCoreError, ValueError) as error:
        raise NoCredentials(str(error)) from error


def region_of(bucket: str, server: str = "https://s3.us-east-1.amazonaws.com") -> str | None:
    """Return the region that AWS says ``bucket`` lies in; None where it does not say. No credentials are sent."""
    try:
        answer = urlopen(Request(f"{server}/{bucket}", method="HEAD"), timeout=5)
    except HTTPError as error:  # AWS names the region when it answers 301 or 403, too
        answer = error
    except OSError:
        return None
    region: str | None = answer.headers.get("x-amz-bucket-region")
    return region
