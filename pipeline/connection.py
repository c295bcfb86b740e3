"""Remote file systems: how they are opened, asked, and asked again when a connection breaks."""

from __future__ import annotations

import functools
import hashlib
import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import fsspec

FETCH_BYTES = 4 << 20
"""Asked of a store at once, at most."""
LEAST_FETCH_BYTES = 64 << 10
"""Asked of a store at once after several failures."""
CONNECT_TIMEOUT_S = 30.0
SILENCE_TIMEOUT_S = 60.0
"""A bucket that sends nothing for so long counts as a broken connection."""
RETRIED_STATUS = frozenset({408, 429})
"""Of the HTTP statuses from 400 to 499: come back later."""

# What gcsfs has to say reaches the user as one error; without a handler it prints tracebacks too.
logging.getLogger("gcsfs").addHandler(logging.NullHandler())

_T = TypeVar("_T")


@dataclass(frozen=True)
class Retries:
    """How often to try what fails, and how long to wait before trying again.

    Any progress starts the count anew, so a long file over a bad connection still comes in.
    """

    num_tries: int = 7
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    sleep: Callable[[float], None] = time.sleep

    def wait(self, num_failures: int) -> None:
        """Doubles with each failure; a random part keeps many readers from returning at once."""
        wait_s = min(self.first_wait_s * 2.0 ** (num_failures - 1), self.longest_wait_s)
        self.sleep(wait_s * random.uniform(0.5, 1.0))


RETRIES = Retries()


class FetchError(Exception):
    """A fetch that was given up; its cause is what happened last."""

    def __init__(self, position: int, num_tries: int, cause: Exception) -> None:
        """Up to `position` it went well."""
        super().__init__(f"at byte {position}, tried {num_tries} time(s): {describe(cause)}")
        self.position, self.num_tries, self.cause = position, num_tries, cause


def fetch(
    read: Callable[[int, int], bytes],
    start: int,
    stop: int,
    retries: Retries,
    fetch_bytes: int | None = None,
) -> Iterator[bytes]:
    """Bytes [start, stop) of what `read` gives the bytes of, given first and last + 1.

    A read that ends early goes on where it ended. After a failure less is asked for at once: where
    a connection breaks, what came of a fetch is lost with it.

    Raises:
        FetchError: when trying again is of no use, or has not been.
    """
    position, num_failures, fetch_bytes = start, 0, fetch_bytes or FETCH_BYTES
    while position < stop:
        end = min(position + fetch_bytes, stop)
        try:
            data = _check_length(read(position, end), position, end)
        except Exception as error:  # each kind of file system raises its own
            num_failures += 1
            fetch_bytes = max(fetch_bytes // 2, LEAST_FETCH_BYTES)
            if is_permanent(error) or num_failures >= retries.num_tries:
                raise FetchError(position, num_failures, error) from error
            retries.wait(num_failures)
            continue
        num_failures = 0
        fetch_bytes = min(fetch_bytes * 2, FETCH_BYTES)
        position += len(data)
        yield data


def _check_length(data: bytes, start: int, stop: int) -> bytes:
    if not data:
        raise EOFError(f"no bytes from {start} on")
    if len(data) > stop - start:
        raise OverflowError(f"{len(data)} bytes where {stop - start} were asked for")
    return data


def try_repeatedly(action: Callable[[], _T], retries: Retries) -> _T:
    """What `action` returns, or raises when trying again is of no use, or has not been."""
    num_failures = 0
    while True:
        try:
            return action()
        except Exception as error:  # each kind of file system raises its own
            num_failures += 1
            if is_permanent(error) or num_failures >= retries.num_tries:
                raise
        retries.wait(num_failures)


def is_permanent(error: Exception) -> bool:
    """Whether trying again is of no use."""
    # gcsfs has the status in `code`, aiohttp in `status`; a code may be a string.
    status = str(getattr(error, "code", None) or getattr(error, "status", None) or "")
    if status.isdigit() and 400 <= int(status) < 500:
        return int(status) not in RETRIED_STATUS
    permanent = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
    # gcsfs: OSError("Forbidden: ..."). Wrong values, types and names are nobody's network.
    return isinstance(error, (*permanent, ValueError, TypeError, LookupError, ImportError)) or str(
        error
    ).startswith("Forbidden")


def describe(error: Exception) -> str:
    """An error of any file system, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"


def open_filesystem(
    address: str, *, endpoint_url: str = "", token: str = "anon"
) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of an address, and the address's path in it.

    Args:
        address: a path or an address.
        endpoint_url: of a bucket's server; empty for Google's own.
        token: how to enter a bucket; `anon` is without an account.
    """
    if not is_bucket(address):
        filesystem, path = fsspec.url_to_fs(address, use_listings_cache=False)
        return filesystem, path
    # Not the class that gcsfs registers: that one first asks over gRPC what type a bucket is, which
    # takes an account, and waits for ever where only HTTP is spoken.
    from aiohttp import ClientTimeout
    from gcsfs.core import GCSFileSystem

    bucket = GCSFileSystem(
        token=token,
        endpoint_url=endpoint_url or None,
        use_listings_cache=False,
        requests_timeout=ClientTimeout(
            total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_TIMEOUT_S
        ),
    )
    # Without gcsfs's own retries: they start a fetch from its first byte, and multiply with ours.
    request = getattr(GCSFileSystem._request, "__wrapped__", None)
    if request is not None:
        bucket._request = functools.partial(request, bucket)
    return bucket, bucket._strip_protocol(address)


def stored_checksum(info: dict[str, Any]) -> str:
    """The checksum that a store keeps of a file: kind, colon, base64; empty if it has none."""
    # Both are of the stored bytes. All objects have the first, which is also the faster one.
    for name, key in (("crc32c", "crc32c"), ("md5", "md5Hash")):
        if info.get(key):
            return f"{name}:{info[key]}"
    return ""


class Digest(Protocol):
    """A checksum in the making."""

    def update(self, data: bytes, /) -> None:
        """Goes on with these bytes."""

    def digest(self) -> bytes:
        """Of all bytes so far."""


def start_digest(name: str) -> Digest:
    """A new checksum of the kind that `stored_checksum` names."""
    if name == "md5":
        return hashlib.md5(usedforsecurity=False)
    import google_crc32c

    crc32c: Digest = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
    return crc32c


def is_bucket(address: str) -> bool:
    """Whether an address is of Google Cloud Storage, or of what speaks its language."""
    return address.startswith(("gs://", "gcs://"))
