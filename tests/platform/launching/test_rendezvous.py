"""Tasks find each other through a private folder; only those that know its token count."""

import contextlib
import socket
import stat
import time

import pytest

from memflux.errors import ServiceError
from memflux.platform.launching import rendezvous
from memflux.platform.launching.rendezvous import Guest, Host


@pytest.fixture
def run(tmp_path):
    """A folder where tasks meet."""
    folder = tmp_path / "run"
    folder.mkdir()
    rendezvous.prepare(folder)
    return folder


@pytest.fixture
def host(run):
    """The first task, who has told where it is."""
    with Host(run, "127.0.0.1") as one:
        record = {"host": "127.0.0.1", "port": one.port, "address": "127.0.0.1:6379"}
        rendezvous.write_json(run / rendezvous.HEAD, record)
        yield one


def find(run, seconds=5.0):
    return Guest.find(run, seconds, lambda: False)


def wait_for(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_folder_and_its_token_are_the_owners_alone(run):
    assert stat.S_IMODE(run.stat().st_mode) == 0o700
    assert stat.S_IMODE((run / rendezvous.TOKEN).stat().st_mode) == 0o600
    assert len((run / rendezvous.TOKEN).read_text()) == 64
    with pytest.raises(FileExistsError):
        rendezvous.prepare(run)


def test_who_joins_is_counted_and_told_the_end(run, host):
    guests = [find(run) for _ in range(3)]
    assert {guest.address for guest in guests} == {"127.0.0.1:6379"}
    assert guests[0].own_address == "127.0.0.1"
    assert host.joined == 0
    for rank, guest in enumerate(guests):
        guest.say_joined(rank + 1)
    wait_for(lambda: host.joined == 3)
    assert not guests[1].over(wait_s=0.05)
    host.close()
    began = time.monotonic()
    assert all(guest.over(wait_s=5.0) for guest in guests)
    assert time.monotonic() - began < 1.0


@pytest.mark.parametrize("line", [b"1 0123\n", b"one word\n", b"\n", b"\xff\xfe\n", b"7\n", b"x" * 500], ids=range(6))
def test_strangers_do_not_count(run, host, line):
    with socket.create_connection(("127.0.0.1", host.port), timeout=5) as stranger:
        stranger.sendall(line)
        with contextlib.suppress(ConnectionResetError):
            assert stranger.recv(1) == b""  # hung up
    assert host.joined == 0


def test_a_stranger_who_says_nothing_keeps_nobody_waiting(run, host):
    with socket.create_connection(("127.0.0.1", host.port), timeout=5):
        guest = find(run)
        guest.say_joined(1)
        wait_for(lambda: host.joined == 1)


def test_a_first_task_that_does_not_show_is_one_sentence(run):
    with pytest.raises(ServiceError, match=r"the first task of this job did not show in .* in 0\.1 s"):
        find(run, 0.1)


def test_who_is_to_stop_does_not_wait(run):
    assert Guest.find(run, 60.0, lambda: True) is None


def test_the_outcome_is_what_was_left(run):
    assert rendezvous.outcome(run) is None
    rendezvous.write_json(run / rendezvous.OUTCOME, {"code": 75})
    assert rendezvous.outcome(run) == 75
    (run / rendezvous.OUTCOME).write_text("{")
    assert rendezvous.outcome(run) is None
