"""The handlers of signals, where another library puts its own before them."""

import ctypes
import os
import signal
import time

import pytest

from tunekit.signals import Signals, Stopped

SIG_IGN = ctypes.c_void_p(1)
"""The handler that ignores a signal, as C writes it."""


def interrupted() -> None:
    """Send SIGTERM while a handler that Python does not know of ignores it, and again after ``install_again``."""
    libc = ctypes.CDLL(None)
    libc.signal.restype, libc.signal.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
    with Signals() as signals:
        libc.signal(signal.SIGTERM, SIG_IGN)
        os.kill(os.getpid(), signal.SIGTERM)
        signals.install_again()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)


def test_handlers_that_a_library_put_first_no_longer_count_once_ours_are_installed_again():
    with pytest.raises(Stopped) as stopped:
        interrupted()
    stopped.value.go_on()
    assert stopped.value.exit_code == 75
