"""The handlers of signals, where another library puts its own before them."""

import ctypes
import os
import signal
import time

import pytest

from tunekit.signals import Signals, Stopped, take_back

SIG_IGN = ctypes.c_void_p(1)
"""The handler that ignores a signal, as C writes it."""


def interrupted() -> None:
    """Send SIGTERM while a handler that Python does not know of ignores it, and again after ``take_back``."""
    libc = ctypes.CDLL(None)
    libc.signal.restype, libc.signal.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
    with Signals():
        libc.signal(signal.SIGTERM, SIG_IGN)
        os.kill(os.getpid(), signal.SIGTERM)
        take_back()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)


def test_a_handler_that_a_library_put_before_python_s_is_taken_back():
    with pytest.raises(Stopped) as stopped:
        interrupted()
    stopped.value.go_on()
    assert stopped.value.exit_code == 75
