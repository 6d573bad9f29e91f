"""A study on disk: the same trials for the same seed, whoever is interrupted, and every end written down."""

import dataclasses
import itertools
import math

import optuna
import pytest
from slow_study import PLAN, Formula, drive

from memflux.errors import DataError, InvalidValue
from memflux.platform.tuning.executor_serial import SerialTrials
from memflux.platform.tuning.journal import JOURNAL, best_trials, chosen_trial, ended, read, tally
from memflux.platform.tuning.plan import SAMPLERS, Plan
from memflux.platform.tuning.study import ATTEMPTS, Study
from memflux.platform.tuning.work import Look


def changed(**changes):
    return Plan(**{**PLAN.model_dump(), **changes})


def told(folder):
    """What is known of each trial, but for its times."""
    study = read(folder)[1]
    return [(t.number, t.state.name, t.params, t.values, t.intermediate_values) for t in study.get_trials()]


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """What an undisturbed run writes down."""
    folder = tmp_path_factory.mktemp("calm")
    drive(folder, SerialTrials())
    return told(folder)


class Death(Exception):
    """Of the driver."""


@pytest.mark.parametrize("looks", [1, 4, 13, 30, 41])
def test_a_driver_that_died_goes_on_to_the_same_trials(looks, tmp_path, calm):
    left = looks

    def die():
        nonlocal left
        left -= 1
        if left == 0:
            raise Death

    with pytest.raises(Death):
        drive(tmp_path, SerialTrials(), on_look=die)
    assert tally(read(tmp_path)[1]).ended < PLAN.trials
    assert drive(tmp_path, SerialTrials()).running == 0
    assert told(tmp_path) == calm


def test_a_run_that_is_stopped_goes_on_to_the_same_trials(tmp_path, calm):
    best = min((t for t in calm if t[3]), key=lambda t: t[3])[0]  # it is not ended early
    said = []

    class Told(Formula):
        def looks(self, task, group=None):
            for look in super().looks(task):
                said.append((task.number, look.epochs))
                yield look

    state = drive(tmp_path, SerialTrials(), Told, stopped=lambda: (best, 5) in said)
    assert (state.running, said[-1]) == (1, (best, 5))
    drive(tmp_path, SerialTrials())
    assert told(tmp_path) == calm


def test_another_seed_tries_other_settings(tmp_path, calm):
    drive(tmp_path, SerialTrials(), plan=changed(seed=4))
    assert told(tmp_path)[0][2] != calm[0][2]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_goes_on_where_it_was(sampler, tmp_path):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    drive(whole, SerialTrials(), plan=changed(sampler=sampler, pruner="none", trials=16))
    for trials in (13, 16):
        drive(halves, SerialTrials(), plan=changed(sampler=sampler, pruner="none", trials=trials))
    assert told(halves) == told(whole)


def test_hyperband_goes_on_where_it_was(tmp_path):
    plan = changed(pruner="hyperband", trials=24)
    drive(tmp_path / "whole", SerialTrials(), plan=plan)
    for trials in (9, 17, 24):
        drive(tmp_path / "parts", SerialTrials(), plan=changed(pruner="hyperband", trials=trials))
    assert told(tmp_path / "parts") == told(tmp_path / "whole")


def test_a_trial_that_takes_its_driver_down_again_and_again_fails(tmp_path):
    class Deadly(Formula):
        def looks(self, task, group=None):
            if task.number == 2:
                raise Death
            yield from super().looks(task)

    for _ in range(ATTEMPTS):
        with pytest.raises(Death):
            drive(tmp_path, SerialTrials(), Deadly)
    state = drive(tmp_path, SerialTrials(), Deadly)
    assert (state.ended, state.failed) == (PLAN.trials, 1)
    assert ended(read(tmp_path)[1].get_trials()[2]).failure.startswith("begun 5 times, it never got any further")


@pytest.mark.parametrize("pruner", ["asha", "median", "hyperband"])
def test_pruners_end_what_falls_behind(pruner, tmp_path):
    state = drive(tmp_path, SerialTrials(), plan=changed(pruner=pruner, trials=20))
    assert state.pruned >= 3
    assert state.complete >= 2
    assert state.epochs < 20 * 10
    for trial in read(tmp_path)[1].get_trials():
        assert ended(trial).epochs == max(trial.intermediate_values) // 10


def test_a_trial_is_drawn_and_trained_by_seed_and_number(tmp_path):
    seeds = []
    for name, plan in (("a", PLAN), ("b", PLAN), ("c", changed(seed=4))):
        with Study.hold(tmp_path / name, plan, "hash") as study:
            seeds.append([study.next().seed for _ in range(3)])
    assert seeds[0] == seeds[1]
    assert len({*seeds[0], *seeds[2]}) == 6


def test_a_sampler_that_learns_begins_with_the_defaults(tmp_path):
    defaults = {"learning_rate": 0.05, "width": 500, "clip": None}  # of which 500 is not in what varies
    for sampler in ("tpe", "random"):
        with Study.hold(tmp_path / sampler, changed(sampler=sampler), "hash", defaults) as study:
            first, second = study.next(), study.next()
        assert (first.settings["learning_rate"] == 0.05) == (sampler == "tpe")
        assert 8 <= first.settings["width"] <= 128
        assert second.settings["learning_rate"] != 0.05
        assert (first.number, second.number) == (0, 1)
    with Study.hold(tmp_path / "tpe", changed(sampler="tpe"), "hash", defaults) as study:
        assert study.next() == first or study.next().number == 1  # those that were under way, as they were
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder, counts in ((whole, (4,)), (parts, (0, 1, 4))):
        for count in counts:
            with Study.hold(folder, changed(trials=max(count, 1)), "hash", defaults) as study:
                SerialTrials().run(study, Formula(), lambda count=count: count == 0, lambda: None)
    assert told(parts) == told(whole)


def test_budgets(tmp_path):
    assert drive(tmp_path / "trials", SerialTrials(), plan=changed(trials=2)).ended == 2
    epochs = drive(tmp_path / "epochs", SerialTrials(), plan=changed(trials=None, total_epochs=25, pruner="none"))
    assert (epochs.ended, epochs.epochs) == (3, 30)
    assert drive(tmp_path / "hours", SerialTrials(), plan=changed(hours=0.0)).ended == 0
    more = drive(tmp_path / "trials", SerialTrials(), plan=changed(trials=3))
    assert more.ended == 3


def test_a_failed_trial_is_written_down_and_the_study_goes_on(tmp_path):
    with Study.hold(tmp_path, PLAN, "hash") as study:
        first, second = study.next(), study.next()
        study.tell(first.number, Look(percent=10, epochs=1, error=0.5))
        study.tell(first.number, Look(percent=20, epochs=2, error=math.nan, failure="ValueError: no"))
        study.tell(second.number, Look(percent=10, epochs=1, error=0.5, seconds=2.0))
        study.fail(second.number, "its process died")
        assert dataclasses.astuple(study.tally())[:4] == (0, 0, 2, 0)
        assert study.next().number == 2
    trials = read(tmp_path)[1].get_trials()
    assert [t.state.name for t in trials] == ["FAIL", "FAIL", "RUNNING"]
    assert [ended(t).failure for t in trials] == ["ValueError: no", "its process died", ""]
    assert [ended(t).epochs for t in trials] == [2, 1, 0]
    assert ended(trials[1]).seconds == 2.0


def test_an_error_that_is_no_number_is_taken(tmp_path):
    with Study.hold(tmp_path, PLAN, "hash") as study:
        number = study.next().number
        for percent, error in ((2, math.inf), (4, math.nan)):
            study.tell(number, Look(percent=percent, epochs=1, error=error))
        assert study.tell(number, Look(percent=12, epochs=2, error=math.nan))
    assert read(tmp_path)[1].get_trials()[0].state.name == "PRUNED"


def test_what_a_restarted_trial_tells_again_is_not_judged_again(tmp_path):
    with Study.hold(tmp_path, PLAN, "hash") as study:
        task = study.next()
        for percent in (10, 20, 30):
            study.tell(task.number, Look(percent=percent, epochs=percent // 10, error=0.5))
    with Study.hold(tmp_path, PLAN, "hash") as study:
        again = study.next()
        assert again == task
        for percent in (10, 20, 30, 40):
            assert not study.tell(again.number, Look(percent=percent, epochs=percent // 10, error=9.0))
    values = read(tmp_path)[1].get_trials()[0].intermediate_values
    assert values == {10: 0.5, 20: 0.5, 30: 0.5, 40: 9.0}


def test_several_objectives(tmp_path):
    plan = changed(objectives=("nmae", "parameters"), pruner="none", sampler="nsga2")

    class Two(Formula):
        def looks(self, task, group=None):
            *before, last = super().looks(task)
            yield from before
            yield dataclasses.replace(last, values=(*last.values, float(last.weights)))

    drive(tmp_path, SerialTrials(), Two, plan)
    front = best_trials(read(tmp_path)[1])
    assert len(front) >= 2
    assert all(a.values[0] < b.values[0] and a.values[1] > b.values[1] for a, b in itertools.pairwise(front))


def test_the_journal_opens_in_optuna_as_it_is(tmp_path):
    drive(tmp_path, SerialTrials())
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / JOURNAL)))
    (name,) = optuna.get_all_study_names(storage)
    study = optuna.load_study(study_name=name, storage=storage)
    assert len(study.trials) == PLAN.trials
    assert study.best_value == tally(study).best
    assert study.metric_names == ["nmae"]


def test_no_trial_is_ended_late(tmp_path):
    with Study.hold(tmp_path, changed(pruner="median"), "hash") as study:
        for error in (0.1, 0.1, 0.1, 0.1, 0.1, 0.1):
            task = study.next()
            study.tell(task.number, Look(percent=80, epochs=8, error=error))
            study.tell(task.number, Look(percent=100, epochs=10, error=error, values=(error,)))
        last = study.next().number
        assert not study.tell(last, Look(percent=80, epochs=8, error=9.0))


def test_half_a_line_and_a_lock_of_a_killed_driver(tmp_path, calm):
    drive(tmp_path, SerialTrials(), plan=changed(trials=5))
    with (tmp_path / JOURNAL).open("a") as file:
        file.write('{"op_code": 4, "wor')
    (tmp_path / f"{JOURNAL}.lock").symlink_to(tmp_path / JOURNAL)
    drive(tmp_path, SerialTrials())
    assert told(tmp_path) == calm


def test_folders_that_are_refused(tmp_path):
    drive(tmp_path / "s", SerialTrials(), plan=changed(trials=1))
    with pytest.raises(InvalidValue, match=r"seed = 9 differs from the 3 .*only budgets and resources may change"):
        drive(tmp_path / "s", SerialTrials(), plan=changed(seed=9))
    with (
        pytest.raises(InvalidValue, match="the data set is not the one"),
        Study.hold(tmp_path / "s", PLAN, "other"),
    ):
        pass
    with (
        Study.hold(tmp_path / "s", PLAN, "hash"),
        pytest.raises(DataError, match="is being filled by process"),
        Study.hold(tmp_path / "s", PLAN, "hash"),
    ):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(InvalidValue, match="holds no study"):
        drive(tmp_path / "file", SerialTrials())
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / ".lock").touch()  # all that a driver left which was killed at once
    assert drive(tmp_path / "begun", SerialTrials(), plan=changed(trials=1)).ended == 1
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "thesis.tex").touch()
    with pytest.raises(InvalidValue, match="holds no study"):
        drive(tmp_path / "x", SerialTrials())
    with pytest.raises(DataError, match="holds no study"):
        read(tmp_path / "x")
    (tmp_path / "s" / JOURNAL).write_text("{}\n")
    with pytest.raises(DataError, match="is damaged"):
        drive(tmp_path / "s", SerialTrials())


def test_the_best_trial_or_another(tmp_path):
    drive(tmp_path, SerialTrials(), plan=changed(pruner="none"))
    study = read(tmp_path)[1]
    values = [t.values[0] for t in study.get_trials()]
    assert chosen_trial(study).number == values.index(min(values))
    assert chosen_trial(study, 3).number == 3
    with pytest.raises(InvalidValue, match="trial = 99 is not complete; choose one of 0, 1,"):
        chosen_trial(study, 99)
    with (
        Study.hold(tmp_path / "new", PLAN, "hash") as empty,
        pytest.raises(InvalidValue, match="no trial of the study is complete"),
    ):
        chosen_trial(empty.optuna)
