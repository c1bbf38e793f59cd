"""Places on object stores: what a URI may say, what a reader sees, what is refused, what the server is asked."""

import os
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import boto3
import pytest

from tests.conftest import SECRET
from tests.support.records import FINGERPRINT, record, summary
from tests.support.runs import finish, numbers
from tests.support.trials import specify, start
from tunekit.commands.checks import check_storage, sweep_folder
from tunekit.commands.doctor import examine
from tunekit.errors import UserError
from tunekit.planning.plan import PlanState, make_plan
from tunekit.storage.files import copy_folder, create, move_folder, remove_tree
from tunekit.storage.object_path import ObjectPath
from tunekit.storage.object_servers import RETRY, connected, region_of
from tunekit.storage.paths import location
from tunekit.store.result_store import ResultStore


def test_a_place_names_itself(bucket, s3, monkeypatch):
    place = location(f"{bucket}/some/prefix/")
    assert str(place) == f"{bucket}/some/prefix"
    assert location(str(place / "a.json")) == place / "a.json"
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    typed = location(f"{bucket}/some/prefix?endpoint_override={s3.host}&scheme=http&region=us-east-1")
    (place / "a.json").write_bytes(b"same")
    assert (typed / "a.json").read_bytes() == b"same", "pyarrow's own form of an endpoint"
    assert location(str(typed / "a.json")) == typed / "a.json"
    assert location("~/x").is_absolute()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ftp://bucket/x", "s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"),
        ("s3://key:secret@bucket/x", r"put it into the environment"),
        ("s3:///x", "names no bucket"),
        ("s3://bucket/x?secret_key=secret", "unknown option 'secret_key'"),
        ("az://container/x?account_name=a&sig=secret", "unknown option 'sig'"),
        ("az://container/x", "set AZURE_STORAGE_ACCOUNT_NAME"),
    ],
)
def test_what_names_no_place_is_one_line_without_the_secret(text, message, monkeypatch):
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(UserError, match=message) as error:
        location(text)
    assert ":secret" not in str(error.value)
    assert "=secret" not in str(error.value)


def test_what_lies_there_is_asked_as_of_a_folder(bucket):
    place = location(f"{bucket}/x")
    for name in ("a/1.json", "a/b/2.json", "a/b/3.txt"):
        (place / name).write_bytes(name.encode())
    for seen in (place / "a", (place / "a").snapshot(), place.snapshot() / "a"):
        assert sorted(path.name for path in seen.iterdir()) == ["1.json", "b"]
        assert [path.name for path in (seen / "b").glob("*.json")] == ["2.json"]
        assert sorted(path.name for path in seen.rglob("*")) == ["1.json", "2.json", "3.txt"]
        asked = [(seen / name) for name in ("1.json", "b", "none", "1.jso")]
        assert [path.exists() for path in asked] == [True, True, False, False]
        assert [path.is_file() for path in asked] == [True, False, False, False]
        assert [path.is_dir() for path in asked] == [False, True, False, False]
        assert (seen / "1.json").stat().st_size == len("a/1.json")
    for missing in (place / "none", place.snapshot() / "none"):
        with pytest.raises(FileNotFoundError):
            missing.stat()
        with pytest.raises(FileNotFoundError):
            missing.read_bytes()
        with pytest.raises(FileNotFoundError):
            missing.unlink()
        missing.unlink(missing_ok=True)
        assert list(missing.iterdir()) == []


@pytest.mark.slow
def test_a_place_is_written_copied_and_removed_as_a_folder(bucket, tmp_path):
    place = location(f"{bucket}/x")
    content = os.urandom(40_000_000)  # it goes in parts
    (tmp_path / "large.bin").write_bytes(content)
    (place / "a" / "large.bin").write_bytes(tmp_path / "large.bin")
    assert (place / "a" / "large.bin").stat().st_size == len(content)
    (place / "a" / "sp ace=1+2~[ü]%20.json").write_bytes(b"odd")
    (place / "ab.json").write_bytes(b"a folder's name begins with the same letters")
    move_folder(place / "a", place / "b", "large.bin")
    assert sorted(path.name for path in place.iterdir()) == ["ab.json", "b"]
    copy_folder(place / "b", tmp_path / "b")
    assert (tmp_path / "b" / "large.bin").read_bytes() == content
    assert (tmp_path / "b" / "sp ace=1+2~[ü]%20.json").read_bytes() == b"odd"
    remove_tree(place / "b")
    remove_tree(place / "none")
    assert [path.name for path in place.rglob("*")] == ["ab.json"]


def test_a_file_is_created_once_whoever_asks(place):
    place.mkdir(exist_ok=True)
    assert [create(place / "new.json", content) for content in (b"first", b"second")] == [True, False]
    assert (place / "new.json").read_bytes() == b"first"


def test_an_empty_object_that_stands_for_a_folder_is_none_of_its_files(bucket, s3):
    client = boto3.client("s3", endpoint_url=s3.url, region_name="us-east-1")
    for key in ("x/", "x/checkpoint/", "x/starts/", "x/starts/1.json"):
        client.put_object(Bucket=bucket.removeprefix("s3://"), Key=key, Body=b"")
    place = location(f"{bucket}/x")
    assert [str(path.relative_to(place)) for path in place.rglob("*")] == ["starts/1.json"]
    assert [path.name for path in (place / "starts").iterdir()] == ["1.json"]
    remove_tree(place)
    assert not place.exists()


WRITER = """
import sys
from tunekit.storage.paths import location
path = location(sys.argv[1])
for turn in range(10**6):
    path.write_bytes(bytes([turn % 2]) * 20_000_000)
    print(turn, flush=True)
"""


@pytest.mark.slow
def test_a_killed_writer_never_shows_half_an_object(bucket):
    path = location(f"{bucket}/large")
    for moment in (0.05, 0.15):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        writer.stdout.readline()
        time.sleep(moment)
        writer.kill()
        writer.wait()
        content = path.read_bytes()
        assert len(content) == 20_000_000
        assert len(set(content)) == 1


@pytest.fixture
def uncached():
    """Connections are made anew, with the credentials of the test."""
    connected.cache_clear()
    yield
    connected.cache_clear()


@pytest.fixture
def guarded(bucket, s3, uncached):
    """The server asks who is there from now on: a function that makes a user with a policy and returns its keys."""

    def user(*actions: str) -> dict[str, str]:
        iam = boto3.client("iam", endpoint_url=s3.url, region_name="us-east-1")
        name = f"user-{len(actions)}"
        iam.create_user(UserName=name)
        allowed = [f'"s3:{action}"' for action in actions]
        policy = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*", "Action": [%s]}]}'
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy % ", ".join(allowed))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        _ask_who(s3, "0")
        return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

    yield user
    _ask_who(s3, "inf")


def _ask_who(s3, after: str) -> None:
    """Credentials are looked at from the request after so many on."""
    kind = {"Content-Type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(f"{s3.url}/moto-api/reset-auth", after.encode(), kind, method="POST"))


def refused(uri: str) -> str:
    """The one line that a command on this storage ends with."""
    with pytest.raises(UserError) as error:
        check_storage(sweep_folder(uri, "demo"), 0)
    assert "\n" not in str(error.value)
    assert SECRET not in str(error.value)
    return str(error.value)


def test_a_missing_bucket_is_named(bucket, s3):
    assert f"there is no bucket 'nowhere' at {s3.host}" in refused("s3://nowhere/sweeps")


def test_unknown_credentials_are_named(guarded, bucket):
    guarded("ListBucket")
    assert "does not know these credentials" in refused(bucket)


def test_a_profile_holds_credentials_and_none_is_one_line(bucket, s3, tmp_path, monkeypatch, uncached):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    assert f"no credentials for {s3.host} are found" in refused(bucket)
    (tmp_path / "credentials").write_text("[mine]\naws_access_key_id = x\naws_secret_access_key = y\n")
    (location(bucket) / "a.json").write_bytes(b"written")
    assert (location(bucket) / "a.json").read_bytes() == b"written"


def test_a_server_that_writes_over_what_is_there_is_refused(bucket, monkeypatch):
    monkeypatch.setattr(ObjectPath, "create", lambda path, content: path.write_bytes(content) or True)
    assert "writes over an object that was to be written only where there is none" in refused(bucket)


class Server(BaseHTTPRequestHandler):
    """Answers every request as the test says."""

    answer: ClassVar[tuple[int, dict[str, str], str]]
    asked: ClassVar[list[str]]

    def do_GET(self) -> None:
        code, headers, body = self.answer
        self.asked.append(self.path)
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body.encode())

    do_HEAD = do_PUT = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def answering():
    """Starts a server that gives one answer to whatever it is asked, and returns its HOST:PORT."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(server.serve_forever, poll_interval=0.01)

        def answer(code: int, headers: dict[str, str] | None = None, body: str = "") -> str:
            Server.answer, Server.asked = (code, headers or {}, body), []
            return f"127.0.0.1:{server.server_port}"

        yield answer
        server.shutdown()


@pytest.mark.parametrize("code", [200, 301, 403])
def test_aws_is_asked_for_the_region_of_a_bucket(code, answering):
    host = answering(code, {"x-amz-bucket-region": "eu-west-3"})
    assert region_of("my-bucket", f"http://{host}") == "eu-west-3"
    assert Server.asked == ["/my-bucket"]
    answering(404)
    assert region_of("my-bucket", f"http://{host}") is None
    assert region_of("my-bucket", "http://127.0.0.1:1") is None


PLACES = ("s3://b/x?region=r&", "gs://b/x?", "az://b/x?account_name=a&")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("code", "body", "line"),
    [
        (404, "<Code>NoSuchBucket</Code>", "there is no bucket 'b' at 127"),
        (404, "<Code>ContainerNotFound</Code>", "there is no bucket 'b' at 127"),
        (403, "<Code>SignatureDoesNotMatch</Code>", "does not know these credentials, or they have run out"),
        (403, "<Code>AuthenticationFailed</Code>", "does not know these credentials, or they have run out"),
        (401, "", "does not know these credentials, or they have run out"),
        (403, "<Code>AccessDenied</Code>", "denies GET on bucket 'b'"),
        (301, "<Code>PermanentRedirect</Code>", "bucket 'b' lies in another region"),
        (501, "<Code>NotImplemented</Code>", "can't write an object only where there is none"),
        (503, "<Error><Code>SlowDown</Code>\n<Message>Wait</Message>", "answers 503 Service Unavailable however"),
    ],
)
def test_what_a_server_answers_is_one_line(place, code, body, line, answering, monkeypatch, uncached):
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", SECRET)
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", f"sv=2021-08-06&sr=c&sig={SECRET}")
    monkeypatch.setitem(RETRY, "max_retries", 1)
    said = refused(f"{place}endpoint_override={answering(code, None, body)}&scheme=http")
    assert line in said
    assert len(Server.asked) == (2 if code in (501, 503) else 1), "a server that is at fault is asked again"


@pytest.mark.parametrize("place", PLACES)
def test_a_server_that_is_not_there_is_one_line(place, monkeypatch, uncached):
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", SECRET)
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", f"sv=2021-08-06&sr=c&sig={SECRET}")
    monkeypatch.setitem(RETRY, "max_retries", 1)
    assert "127.0.0.1:1 can't be reached" in refused(f"{place}endpoint_override=127.0.0.1:1&scheme=http")


@pytest.mark.slow
def test_a_bucket_that_can_only_be_read_is_refused_before_work(guarded, bucket, monkeypatch):
    for name, value in guarded("ListBucket", "GetObject").items():
        monkeypatch.setenv(name, value)
    assert "denies PUT on bucket" in refused(bucket)
    found = {one.subject: one for one in examine(location(bucket), None) if one.subject in ("storage", "disk")}
    assert (found["storage"].ok, found["disk"].ok) == (False, True)


@pytest.mark.slow
def test_planning_asks_a_server_little(bucket, s3, make_spec):
    store = ResultStore(location(f"{bucket}/sweep"))
    specs = [make_spec(seed=seed) for seed in range(12)]
    for spec in specs[:6]:
        folder = store.open_trial(spec, FINGERPRINT)
        store.write_epochs(folder, [record(1)])
        store.write_summary(folder, summary())
    s3.requests.take()
    plan = make_plan(specs, {spec.trial_id: FINGERPRINT for spec in specs}, store)
    assert (plan.count(PlanState.DONE), plan.count(PlanState.NEW)) == (6, 6)
    asked = s3.requests.take()
    lists = [one for one in asked if "list-type=2" in one]
    assert len(lists) == 2, lists
    assert len(asked) - len(lists) == 6 * 3, "three records of each stored trial"


@pytest.mark.slow
def test_a_trial_on_a_server_goes_on_with_the_bits_of_one_on_disk(bucket, s3, tmp_path, monkeypatch):
    monkeypatch.setattr("tunekit.engine.run.CHECKPOINT_SPACING", 0)
    spec = specify(epochs=4)
    whole = start(spec, tmp_path)
    finish(whole)
    sweep = location(f"{bucket}/sweep")
    broken = start(spec, sweep)
    for _ in range(3):
        s3.requests.take()
        broken.train_epoch()
    asked = s3.requests.take()
    assert len(asked) < 40, asked
    assert sorted(path.name for path in (broken.folder / "checkpoint").iterdir()) == ["epoch-2", "epoch-3"]
    (broken.folder / "checkpoint" / "epoch-3" / "optimizer.safetensors").write_bytes(b"torn")
    log: list[str] = []
    again = start(spec, sweep, log)
    assert any("epoch-3 is not valid" in line for line in log)
    assert any("going on after epoch 2 of 4" in line for line in log)
    finish(again)
    assert numbers(again.records) == numbers(whole.records)
    assert (again.folder / "steps.csv").read_bytes() == (whole.folder / "steps.csv").read_bytes()
    assert not (again.folder / "checkpoint").snapshot().exists(), "none is left of an ended trial"
    assert isinstance(again.folder, ObjectPath)
