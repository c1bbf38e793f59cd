"""What Ray says is at most a line, and Ray starts in the background."""

import io
import logging
import threading

import pytest

from tunekit.errors import UserError
from tunekit.runner import session
from tunekit.runner.session import RayStart, Session
from tunekit.runner.tune_changes import in_one_line


@pytest.mark.parametrize("name", ["ray.tune.execution.experiment_state", "ray.tune.execution.tune_controller"])
def test_what_tune_can_not_write_of_its_own_is_one_line(name):
    logger, said = logging.getLogger(name), io.StringIO()
    assert in_one_line in logger.filters
    handler = logging.StreamHandler(said)
    logger.addHandler(handler)
    try:
        raise OSError(28, "No space left on device: 100 %")
    except OSError:
        logger.exception("Saving %s failed with exception: ", "state")
    finally:
        logger.removeHandler(handler)
    assert said.getvalue() == "Saving state failed with exception: [Errno 28] No space left on device: 100 %\n"


class FakeRay:
    """In the place of ``connect`` and ``disconnect``: notes the threads that call them."""

    def __init__(self, monkeypatch, error=None):
        self.error, self.threads, self.may_start = error, [], threading.Event()
        monkeypatch.setattr(session, "connect", self.connect)
        monkeypatch.setattr(session, "disconnect", lambda found: self.threads.append(threading.get_ident()))

    def connect(self, *, preload):
        self.threads.append(threading.get_ident())
        assert self.may_start.wait(30)
        if self.error:
            raise self.error
        return Session(None, (), True)


def test_ray_starts_while_the_caller_prepares_and_stops_in_the_thread_that_started_it(monkeypatch):
    fake = FakeRay(monkeypatch)
    with RayStart() as start:
        fake.may_start.set()
        assert start.wait() == Session(None, (), True)
        assert len(fake.threads) == 1, "Linux kills Ray's processes when the thread that started them ends"
    assert len(fake.threads) == 2
    assert len(set(fake.threads) | {threading.get_ident()}) == 2


def test_a_run_refused_while_ray_starts_leaves_no_ray_running(monkeypatch):
    fake = FakeRay(monkeypatch)
    threading.Timer(0.2, fake.may_start.set).start()
    with pytest.raises(UserError, match="bad data"), RayStart():
        raise UserError("bad data")
    assert len(fake.threads) == 2


def test_why_no_ray_starts_is_raised_where_the_session_is_asked_for(monkeypatch):
    fake = FakeRay(monkeypatch, UserError("no Ray"))
    fake.may_start.set()
    with pytest.raises(UserError, match="no Ray"), RayStart() as start:
        start.wait()
    assert len(fake.threads) == 1


def test_an_interrupt_does_not_wait_for_ray_to_start(monkeypatch):
    fake = FakeRay(monkeypatch)
    with pytest.raises(KeyboardInterrupt), RayStart():
        raise KeyboardInterrupt
    assert len(fake.threads) == 1
    fake.may_start.set()
