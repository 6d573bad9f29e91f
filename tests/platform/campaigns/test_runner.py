"""Runs of a campaign: resumed, grown, refused and stopped."""

import os
import signal
import threading

import pytest

from memflux.dataset import Dataset, summarise, verify
from memflux.errors import DataError, InvalidValue, MissingDependency, ServiceError
from memflux.folder import TEMPORARY, Folder
from memflux.platform.campaigns.campaign import Campaign
from memflux.platform.campaigns.executor_serial import SerialExecutor
from memflux.platform.campaigns.runner import run
from memflux.platform.lock import hold
from memflux.shards import list_shards
from memflux.stand_in import StandIn

CAMPAIGN = Campaign(space="9d", count=30, seed=4, samples=8, engine="compact", shard_size=8)


def with_(**changes):
    return Campaign(**(CAMPAIGN.model_dump() | changes))


def counted(calls):
    """A solver factory whose predictor notes how many devices it was asked."""

    def factory(campaign):
        def predict(devices, drive):
            calls.append(len(devices))
            return StandIn(samples=campaign.samples)(devices, drive)

        return predict

    return factory


@pytest.fixture
def whole(tmp_path):
    """The content hash of an undisturbed run."""
    run(CAMPAIGN, str(tmp_path / "whole"), SerialExecutor())
    return summarise(tmp_path / "whole").tally.content_hash


def test_a_run_fills_the_folder_and_reports(tmp_path):
    seen = []
    progress = run(CAMPAIGN, str(tmp_path / "a"), SerialExecutor(), seen.append)
    assert [p.done for p in seen] == [0, 8, 16, 24, 30]
    assert (progress.done, progress.failed, progress.stopped) == (30, 0, False)
    assert progress.rate > 0
    assert progress.damaged == 0
    assert len(Dataset.open(tmp_path / "a")) == 30


def test_only_what_is_missing_is_made(tmp_path, whole):
    out = tmp_path / "a"
    run(CAMPAIGN, str(out), SerialExecutor())
    folder = Folder.at(out)
    lost = [s.name for s in list_shards(folder) if s.number in (1, 3)]
    for name in lost:
        folder.remove(name)
    folder.write(f"{TEMPORARY}half", b"of a shard")
    kept = set(folder.names()) - {f"{TEMPORARY}half"}
    calls = []
    progress = run(CAMPAIGN, str(out), SerialExecutor(), solver_factory=counted(calls))
    assert calls == [8, 6]
    assert (progress.before, progress.made) == (16, 14)
    assert kept < set(folder.names())
    assert not folder.exists(f"{TEMPORARY}half")
    assert summarise(out).tally.content_hash == whole
    assert run(CAMPAIGN, str(out), SerialExecutor(), solver_factory=counted(calls)).made == 0
    assert calls == [8, 6]


def test_damaged_shards_are_made_again(tmp_path, whole):
    out = tmp_path / "a"
    run(CAMPAIGN, str(out), SerialExecutor())
    folder = Folder.at(out)
    names = {s.number: s.name for s in list_shards(folder)}
    folder.write(names[1], folder.read(names[1])[:-1])
    folder.write(names[3], b"")
    calls = []
    progress = run(CAMPAIGN, str(out), SerialExecutor(), solver_factory=counted(calls))
    assert calls == [8, 6]
    assert (progress.before, progress.made, progress.damaged) == (16, 14, 2)
    assert len(list_shards(folder)) == 4
    assert summarise(out).tally.content_hash == whole


class Nowhere(SerialExecutor):
    """Gets no workers."""

    def __enter__(self):
        raise ServiceError("nobody there")


def test_a_folder_is_begun_only_with_workers(tmp_path):
    seen = []
    with pytest.raises(ServiceError, match="nobody there"):
        run(CAMPAIGN, str(tmp_path / "a"), Nowhere(), seen.append)
    assert not (tmp_path / "a").exists()
    assert not seen
    run(CAMPAIGN, str(tmp_path / "b"), SerialExecutor())
    assert run(CAMPAIGN, str(tmp_path / "b"), Nowhere()).made == 0  # nothing to do needs no workers


def test_the_content_does_not_depend_on_shards_or_file_system(tmp_path, whole):
    out = f"memory://{tmp_path.name}"
    run(with_(shard_size=7), out, SerialExecutor())
    assert summarise(out).tally.content_hash == whole


def test_a_campaign_grows(tmp_path):
    grown, at_once = str(tmp_path / "a"), str(tmp_path / "b")
    run(with_(count=11), grown, SerialExecutor())
    calls = []
    run(CAMPAIGN, grown, SerialExecutor(), solver_factory=counted(calls))
    assert calls == [5, 8, 6]  # of the shard that was cut at 11, only what it lacks
    run(CAMPAIGN, at_once, SerialExecutor())
    assert summarise(grown).tally.content_hash == summarise(at_once).tally.content_hash
    assert len(list_shards(Folder.at(grown))) == 4
    with pytest.raises(InvalidValue, match="count = 11 is below the 30"):
        run(with_(count=11), grown, SerialExecutor())


@pytest.mark.parametrize(
    "change", [{"seed": 5}, {"space": "7d"}, {"samples": 16}, {"shard_size": 4}, {"contact_density": "lowered"}]
)
def test_another_recipe_is_refused(tmp_path, change):
    run(CAMPAIGN, str(tmp_path), SerialExecutor())
    [name] = change
    with pytest.raises(InvalidValue, match=f"{name} = .* differs from the .*only count may grow"):
        run(with_(**change), str(tmp_path), SerialExecutor())


def test_shards_without_a_manifest_are_left_alone(tmp_path):
    run(CAMPAIGN, str(tmp_path), SerialExecutor())
    (tmp_path / "manifest.json").unlink()
    before = sorted(os.listdir(tmp_path))
    for change in ({}, {"seed": 5}, {"shard_size": 4}, {"count": 40}):
        with pytest.raises(DataError, match=r"has shards and no manifest\.json; put it back"):
            run(with_(**change), str(tmp_path), SerialExecutor())
    assert sorted(os.listdir(tmp_path)) == before


def test_rows_of_another_seed_are_found(tmp_path):
    run(with_(seed=5), str(tmp_path / "other"), SerialExecutor())
    run(CAMPAIGN, str(tmp_path / "mine"), SerialExecutor())
    theirs = next((tmp_path / "other").glob("shard-000001-*"))
    next((tmp_path / "mine").glob("shard-000001-*")).unlink()
    (tmp_path / "mine" / theirs.name).write_bytes(theirs.read_bytes())
    [sentence] = verify(tmp_path / "mine").damaged
    assert theirs.name in sentence
    assert "devices that this campaign does not draw; remove the file and run the campaign again" in sentence
    assert verify(tmp_path / "other").damaged == ()


def test_a_run_that_is_stopped_before_it_begins_makes_nothing(tmp_path):
    def predictor(campaign):
        pytest.fail("began to work")

    run(with_(count=8), str(tmp_path), SerialExecutor())
    read = Folder.read

    asked = []

    def once(folder, name):
        if not asked:
            asked.append(name)
            os.kill(os.getpid(), signal.SIGUSR1)
        return read(folder, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Folder, "read", once)
        progress = run(CAMPAIGN, str(tmp_path), SerialExecutor(), solver_factory=predictor)
    assert (progress.stopped, progress.done) == (True, 8)
    assert run(CAMPAIGN, str(tmp_path), SerialExecutor()).done == 30


def test_a_folder_that_holds_no_shard_is_anybody_s(tmp_path):
    def broken(campaign):
        raise MissingDependency("no GPU")

    with pytest.raises(MissingDependency):
        run(CAMPAIGN, str(tmp_path), SerialExecutor(), solver_factory=broken)
    assert run(with_(seed=5), str(tmp_path), SerialExecutor()).done == 30


def test_more_workers_are_no_other_recipe(tmp_path):
    run(CAMPAIGN, str(tmp_path), SerialExecutor())
    assert run(with_(workers=2), str(tmp_path), SerialExecutor()).made == 0


def test_two_runs_into_one_folder_are_refused(tmp_path):
    with hold(Folder.at(tmp_path)), pytest.raises(DataError, match="is being filled by process"):
        run(CAMPAIGN, str(tmp_path), SerialExecutor())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_stops_after_the_shard_in_flight(tmp_path, whole, number):
    handler = signal.getsignal(number)

    def ask(progress):
        if progress.made == 8:
            os.kill(os.getpid(), number)

    told = threading.Event()
    progress = run(CAMPAIGN, str(tmp_path / "a"), SerialExecutor(), ask, on_stop=told.set)
    assert progress.stopped
    assert told.is_set()
    assert progress.done == 8
    assert signal.getsignal(number) == handler
    run(CAMPAIGN, str(tmp_path / "a"), SerialExecutor())
    assert summarise(tmp_path / "a").tally.content_hash == whole


def test_a_second_signal_stops_at_once(tmp_path):
    def ask(progress):
        if progress.made == 8:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(CAMPAIGN, str(tmp_path), SerialExecutor(), ask)
    assert run(CAMPAIGN, str(tmp_path), SerialExecutor()).before == 8


def test_chosen_draws_become_rows_for_good(tmp_path):
    out, calls = str(tmp_path / "a"), []
    run(CAMPAIGN, out, SerialExecutor())
    progress = run(CAMPAIGN, out, SerialExecutor(), chosen=[95, 31, 90], solver_factory=counted(calls))
    assert (progress.wanted, progress.made, calls) == (33, 3, [1, 2])
    assert run(CAMPAIGN, out, SerialExecutor(), chosen=[88], solver_factory=counted(calls)).wanted == 34
    assert calls == [1, 2, 1]
    data = Dataset.open(out)
    assert data.index.tolist() == [*range(30), 31, 88, 90, 95]
    devices, _ = CAMPAIGN.sample(1, first=90)
    assert data.rows.key[32] == Dataset.open(full(tmp_path)).rows.key[90]
    assert data.devices.barrier_left[32] == devices.barrier_left[0]
    assert verify(out).damaged == ()


def test_a_campaign_that_grows_over_chosen_draws_keeps_them(tmp_path):
    out, calls = str(tmp_path / "a"), []
    run(CAMPAIGN, out, SerialExecutor(), chosen=[31, 50, 200])
    whole = full(tmp_path)
    assert run(with_(count=96), out, SerialExecutor(), solver_factory=counted(calls)).wanted == 97
    assert sum(calls) == 96 - 32
    run(with_(count=201), out, SerialExecutor())
    run(with_(count=201), whole, SerialExecutor())
    assert summarise(out).tally.content_hash == summarise(whole).tally.content_hash


def test_an_interrupted_choice_is_finished_by_whoever_runs_next(tmp_path):
    out = str(tmp_path / "a")
    run(CAMPAIGN, out, SerialExecutor())
    stopped = run(CAMPAIGN, out, SerialExecutor(), chosen=[40, 60], seconds=0.0)
    assert (stopped.stopped, stopped.made, stopped.wanted) == (True, 0, 32)
    assert run(CAMPAIGN, out, SerialExecutor()).made == 2


def full(tmp_path):
    """The folder of a longer campaign of the same recipe."""
    run(with_(count=96), str(tmp_path / "full"), SerialExecutor())
    return str(tmp_path / "full")
