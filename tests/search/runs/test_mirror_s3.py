"""A mirror on S3: how the protocol reports what is missing and what exists."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spinesearch.results.ledger.ledger import LEDGER_NAME, Ledger
from spinesearch.search.runs.mirror import Mirror, MirrorError

s3fs = pytest.importorskip("s3fs", reason="needs s3fs, to speak S3")
moto_server = pytest.importorskip("moto.server", reason="needs moto[server,s3], an S3 on this machine")

pytestmark = pytest.mark.filterwarnings("default")  # moto's and botocore's own are not ours to fix


@pytest.fixture
def files(monkeypatch) -> Iterator[Any]:
    server = moto_server.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    s3fs.S3FileSystem.clear_instance_cache()
    yield s3fs.S3FileSystem()
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_a_run_goes_to_s3_and_back_and_one_of_two_heads_stops(files, tmp_path: Path):
    mirror = Mirror("s3://bucket/runs", "run")
    assert mirror.read() == b""
    with Ledger(tmp_path / "a") as ledger:
        ledger.append([{"event": "x"}])
        with pytest.raises(FileNotFoundError, match="bucket does not exist"):
            mirror.push(tmp_path / "a", ledger.num_bytes)
        assert not files.exists("bucket")
        files.mkdir("bucket")
        for number in range(20):
            ledger.append([{"event": "x", "number": number}])
            mirror.push(tmp_path / "a", ledger.num_bytes)
    assert len(files.ls("bucket/runs/run/ledger")) == 20
    other = Mirror("s3://bucket/runs", "run")
    theirs = other.read()
    assert theirs == (tmp_path / "a" / LEDGER_NAME).read_bytes()
    with Ledger(tmp_path / "b") as ledger:
        other.pull(ledger, theirs, tmp_path / "b", lambda line: None)
        ledger.append([{"event": "b"}])
        other.push(tmp_path / "b", ledger.num_bytes)
    with Ledger(tmp_path / "a") as ledger:
        ledger.append([{"event": "a"}])
        with pytest.raises(MirrorError, match="another head has resumed this run"):
            mirror.push(tmp_path / "a", ledger.num_bytes)
    assert Mirror("s3://bucket/runs", "run").read() == (tmp_path / "b" / LEDGER_NAME).read_bytes()


def test_s3_gives_a_name_to_one_writer_only(files):
    """What distinguishes two heads that send at the same instant."""
    files.mkdir("other")
    files.pipe_file("other/part", b"1", mode="create")
    with pytest.raises(FileExistsError):
        files.pipe_file("other/part", b"2", mode="create")
    assert files.cat_file("other/part") == b"1"
