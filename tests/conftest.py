"""Fixtures of the whole suite: no network beyond loopback, the real data where it lies, a small trial to run."""

import gc
import os
import socket
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tunekit.schema import TrialSpec
from tunekit.storage.paths import Place, location

if TYPE_CHECKING:
    from tests.support.s3 import Server

ROOT = Path(__file__).resolve().parent.parent
REAL_DATA = Path(os.environ.get("TUNEKIT_DATA_DIR", ROOT.parent / "shared" / "data"))

if REAL_DATA.is_dir():
    os.environ["TUNEKIT_DATA_DIR"] = str(REAL_DATA)
os.environ["HF_HUB_OFFLINE"] = "1"
SECRET = "canary-secret-of-the-object-store"
os.environ |= {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true"}
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TOKENIZERS_PARALLELISM"] = "false"

settings.register_profile("no time is asserted", deadline=None)
settings.load_profile("no time is asserted")

SHARED_CLUSTER = (
    "tests/runner/test_grid.py",
    "tests/search/test_peft_search.py",
    "tests/commands/test_documented_pages.py",
    "tests/api/test_run.py",
    "tests/analysis/test_import_kinds.py",
    "tests/trackers/test_tracked_sweep.py",
)
"""Files whose tests share the Ray of their process (the fixture ``cluster``). They run first, in this order.

Their tests without a Ray come after these, since the Ray ends before such a test.
"""

needs_real_data = pytest.mark.skipif(
    not REAL_DATA.is_dir(), reason="the real data files are not here (TUNEKIT_DATA_DIR)"
)


def uses_cluster(item: pytest.Item | None) -> bool:
    """Return whether a test uses the shared Ray."""
    return "cluster" in getattr(item, "fixturenames", ())


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import the test files without a search for garbage, and keep what they leave out of all later searches.

    The libraries leave millions of objects, through which Python would look again and again.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests that use the shared Ray first."""

    def place(item: pytest.Item) -> int:
        if not uses_cluster(item):
            return len(SHARED_CLUSTER)
        file = item.nodeid.split("::")[0]
        assert file in SHARED_CLUSTER, item.nodeid
        return SHARED_CLUSTER.index(file)

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a whole file to a process of ``-n``, so that the tests of a file share what they set up.

    The files that share a Ray go to one process. They wait for Ray most of the time, and another process has the cores.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "the shared Ray" if file in SHARED_CLUSTER else file

    return ByFile(config, log)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End the shared Ray after its last test, and keep what a file's tests have imported out of later searches.

    No test must fork a process that holds Ray's threads. The end of a trial searches for garbage.
    """
    if uses_cluster(item) and not uses_cluster(nextitem):
        import ray

        ray.shutdown()
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["TUNEKIT_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail any connection that leaves this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else "local"
        if host not in ("local", "localhost", "127.0.0.1", "::1") and host != socket.gethostbyname(
            socket.gethostname()
        ):
            raise AssertionError(f"a test tried to reach {host}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    return


@pytest.fixture
def make_spec() -> Callable[..., TrialSpec]:
    """A spec of a tiny trial, any field replaced."""

    def make(**changes: object) -> TrialSpec:
        fields = {
            "model": "tiny-bert",
            "dataset": "demo",
            "method": "lora",
            "method_params": {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": "query,value"},
            "seed": 1,
            "learning_rate": 5e-4,
            "epochs": 2,
            "train_limit": 64,
            "max_length": 64,
        }
        return TrialSpec(**{**fields, **changes})

    return make


@pytest.fixture(scope="session")
def cluster() -> str:
    """The address of a Ray of two cores, which the tests of ``SHARED_CLUSTER`` share."""
    import ray

    # "local": another test process may have a cluster of its own at this moment, which Ray would join.
    ray.init("local", num_cpus=2, log_to_driver=False, include_dashboard=False, object_store_memory=128 * 2**20)
    return str(ray.get_runtime_context().gcs_address)


@pytest.fixture(scope="session")
def s3() -> Iterator["Server"]:
    """A real S3 server on loopback."""
    from tests.support.s3 import serving  # a second of imports

    with serving() as server:
        yield server


@pytest.fixture
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """URI of a new bucket on a server that the environment names.

    With TUNEKIT_TEST_PLACE=az://CONTAINER, say, it is a new prefix there, on any server that the environment names.
    Tests that look at the server itself are skipped then.
    """
    if other := os.environ.get("TUNEKIT_TEST_PLACE"):
        if "s3" in request.fixturenames:
            pytest.skip("it looks at the server of the tests")
        return f"{other}/{os.urandom(8).hex()}"
    s3 = request.getfixturevalue("s3")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    return f"s3://{s3.bucket()}"


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A new empty place for a sweep, on disk and on an object store."""
    return tmp_path if request.param == "disk" else location(f"{request.getfixturevalue('bucket')}/prefix")


@pytest.fixture
def grid(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run the grid's command, which must not reach the runner: (exit code, standard output, standard error)."""
    from tests.support.trials import run_script

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("tunekit.commands.training.acquire", lambda root: pytest.fail("the sweep was started"))
        storage = [] if "--storage" in arguments else ["--storage", tmp_path / "out"]
        return run_script("main_grid.py", *arguments, *storage), *capsys.readouterr()

    return run


@pytest.fixture
def said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[str], str]]:
    """Run a command of ``tunekit``: (exit code, lines of standard output, standard error)."""
    from tunekit.__main__ import main

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)

    def run(*arguments: object) -> tuple[int, list[str], str]:
        code = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err

    return run


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The folder of a tiny BERT with five classes, as a repository holds it."""
    from tests.support.repositories import write_repository  # transformers is seconds of imports

    return write_repository(tmp_path / "repository")


@pytest.fixture
def without_plugins() -> Iterator[None]:
    """Forget the plug-ins that the test loads."""
    from tunekit.planning import plugins

    before = plugins.active()
    yield
    for plugin in set(plugins.active()) - set(before):
        plugins._forget(plugin.name)
