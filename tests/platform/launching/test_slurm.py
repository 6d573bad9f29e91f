"""The record, script and submission of a Slurm job, without a Slurm."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from memflux.errors import DataError, InvalidValue, MissingDependency, ServiceError
from memflux.platform.launching import batch, slurm
from memflux.platform.launching.slurm import SlurmJob


@pytest.fixture
def job(tmp_path):
    """A job of one node."""
    file = tmp_path / "c d.yaml"
    file.write_text("space: 9d\ncount: 3\n")
    folder = str(tmp_path / "out.slurm")
    return SlurmJob(file=str(file), out=str(tmp_path / "out"), folder=folder, nodes=2, time="01:00:00", cpus=8)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Programs of Slurm that note how they were called, and answer what they are told to."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def program(name, answer="", code=0):
        path = folder / name
        path.write_text(
            f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\nenv >> {tmp_path}/env\necho "{answer}"\nexit {code}\n'
        )
        path.chmod(0o755)

    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    program.calls = tmp_path / "calls"
    program.environment = tmp_path / "env"
    return program


def test_the_script_says_what_was_asked(job):
    wishes = dataclasses.replace(job, partition="long", account="phys-1", options=("qos=high", "mail-type=END", "hold"))
    lines = wishes.script().splitlines()
    assert lines[0] == "#!/bin/bash"
    for line in (
        "--job-name=memflux-c-d", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=8", "--time=01:00:00",
        "--signal=USR1@120", f'--output="{job.folder}/slurm-%j.out"', "--partition=long", "--account=phys-1",
        "--qos=high", "--mail-type=END", "--hold",
    ):  # fmt: skip
        assert f"#SBATCH {line}" in lines
    assert "export PYTHONSAFEPATH=1" in lines
    assert lines[-1] == f"exec {sys.executable} -m memflux.platform.launching.batch {job.folder}"
    assert "--exclusive" in dataclasses.replace(job, cpus=None).script()
    assert "--exclusive" not in job.script()


def test_a_folder_with_odd_characters_is_quoted(job, tmp_path):
    script = dataclasses.replace(job, folder=f"{tmp_path}/it's 100%; $(x)").script()
    assert f'#SBATCH --output="{tmp_path}/it\'s 100%%; $(x)/slurm-%j.out"' in script
    last = script.splitlines()[-1].removeprefix("exec ")
    words = subprocess.run(["sh", "-c", f"printf '%s\\n' {last}"], capture_output=True, text=True, check=True)
    assert words.stdout.splitlines()[-1] == f"{tmp_path}/it's 100%; $(x)"
    with pytest.raises(InvalidValue, match="quote or backslash"):
        dataclasses.replace(job, folder='/a"b').script()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"nodes": 0}, "nodes = 0 is out of range"),
        ({"cpus": 0}, "cpus-per-node = 0 is out of range"),
        ({"time": "1"}, "time = '1' is not a walltime of a minute or more; give HH:MM:SS"),
        ({"time": "00:00:30"}, "is not a walltime of a minute"),
        ({"time": "01:00:00\n#SBATCH --x"}, "is not a walltime"),
        ({"time": "00:02:00", "lead": 120}, "lead = 120 s is not below time = 00:02:00"),
        ({"lead": 0}, "lead = 0 is out of range"),
        ({"partition": "a b"}, "partition = 'a b' is not a name"),
        ({"account": "--x"}, "account = '--x' is not a name"),
        ({"options": ("qos=high x",)}, "option = 'qos=high x' is not for this job"),
        ({"options": ("qos=a\n#SBATCH --b",)}, "is not for this job"),
        ({"options": ("array=1-9",)}, "option = 'array=1-9' is not for this job"),
        ({"submissions": -1}, "submissions = -1 is out of range"),
    ],
)
def test_what_no_job_can_have_is_one_sentence(job, changes, sentence):
    with pytest.raises(InvalidValue, match=sentence):
        dataclasses.replace(job, **changes)


@pytest.mark.parametrize(("time", "seconds"), [("00:01:00", 60), ("100:00:00", 360_000), ("2-01:02:03", 176_523)])
def test_walltimes(time, seconds):
    assert slurm.seconds(time) == seconds


def test_written_and_read_again(job):
    number, path = slurm.begin(job, hand_over=False)
    assert number is None
    assert path == Path(job.folder) / "job.sh"
    assert os.access(path, os.X_OK)
    assert SlurmJob.read(Path(job.folder)) == job
    assert (Path(job.folder) / "campaign.yaml").read_text() == Path(job.file).read_text()
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0


def test_a_folder_without_a_record_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"has no launch\.json of a job"):
        SlurmJob.read(tmp_path)


def test_a_place_that_cannot_be_written_is_one_sentence(job, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written: Not a directory; give another place"):
        slurm.begin(dataclasses.replace(job, folder=str(tmp_path / "file" / "x")), hand_over=False)


def test_handed_to_sbatch_with_nothing_of_the_job_it_is_called_from(job, programs, monkeypatch):
    programs("sbatch", answer="17;cluster")
    for name in ("SLURM_JOB_ID", "SLURM_CPUS_PER_TASK", "SBATCH_ACCOUNT"):
        monkeypatch.setenv(name, "9")
    monkeypatch.setenv("SLURM_CONF", "/etc/x.conf")
    number, path = slurm.begin(job)
    assert number == "17"
    assert programs.calls.read_text() == f"--parsable {path}\n"
    names = {line.partition("=")[0] for line in programs.environment.read_text().splitlines()}
    assert {n for n in names if n.startswith(("SLURM_", "SBATCH_"))} == {"SLURM_CONF"}
    assert slurm.ledger_of(Path(job.folder))["jobs"] == ["17"]


def test_a_job_that_waits_is_not_submitted_twice(job, programs):
    programs("sbatch", answer="17")
    programs("squeue", answer="PENDING")
    slurm.begin(job)
    with pytest.raises(InvalidValue, match=r"job 17 of .* is pending already, .*scancel 17 first"):
        slurm.begin(job)
    programs("squeue", answer="slurm_load_jobs error: Invalid job id specified", code=1)
    assert slurm.begin(job)[0] == "17"


def test_what_sbatch_refuses_is_said(job, programs):
    programs("sbatch", answer="sbatch: error: invalid partition specified: x", code=1)
    with pytest.raises(ServiceError, match="sbatch refused: sbatch: error: invalid partition"):
        slurm.begin(job)


def test_without_slurm_the_sentence_says_so(job, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependency, match=r"there is no sbatch here; .* or with --no-submit"):
        slurm.begin(job)


def test_one_task_a_node_on_the_least_cores_that_any_has(job, monkeypatch, tmp_path):
    monkeypatch.setenv("SLURM_JOB_CPUS_PER_NODE", "16(x3),4,8(x2)")
    words = batch.srun(dataclasses.replace(job, cpus=None), tmp_path / "run")
    assert words[:5] == ["srun", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--cpus-per-task=4"]
    assert {"--kill-on-bad-exit=0", "--wait=0", "--mpi=none"} < set(words)
    assert words[-3:] == ["--", f"{job.folder}/campaign.yaml", job.out]
    assert "--cpus-per-task=8" in batch.srun(job, tmp_path / "run")


class TestGoingOn:
    """When a job that stopped submits itself again: only on progress, not for ever, not against a person."""

    @pytest.fixture
    def stopped(self, job, programs, monkeypatch):
        """Asks for the next job after one that stopped, and says how many rows there are."""
        monkeypatch.setenv("SLURM_JOB_ID", "17")
        programs("sbatch", answer="17")
        slurm.begin(dataclasses.replace(job, submissions=2))
        programs("sbatch", answer="18")

        def ask(rows, asked_to_end=False):
            monkeypatch.setattr(batch, "rows_done", lambda out: rows)
            folder = Path(job.folder)
            return batch.go_on(SlurmJob.read(folder), folder, asked_to_end)

        return ask

    def test_after_progress_and_after_this_job(self, stopped, job, programs):
        assert stopped(40) == "stopped at 40 rows; job 18 goes on"
        assert programs.calls.read_text().splitlines()[-1] == f"--parsable --dependency=afterany:17 {job.folder}/job.sh"
        assert slurm.ledger_of(Path(job.folder)) == {
            "jobs": ["17", "18"], "done": [40], "script": f"{job.folder}/job.sh"
        }  # fmt: skip

    def test_not_without_a_new_row(self, stopped):
        assert "none of them made by this job: not submitted again; go on with: sbatch" in stopped(0)
        assert "goes on" in stopped(40)
        assert "stopped at 40 rows, none of them made by this job" in stopped(40)

    def test_not_more_often_than_allowed(self, stopped):
        assert "goes on" in stopped(10)
        assert "goes on" in stopped(20)
        assert "stopped at 30 rows after 2 submissions by itself; go on with: sbatch" in stopped(30)

    def test_not_when_somebody_cancelled_it(self, stopped, programs):
        programs("scontrol", answer="JobId=17 JobState=COMPLETING Reason=None ExitCode=0:15")
        assert "stopped, because the job was cancelled; go on with: sbatch" in stopped(40, asked_to_end=True)

    def test_when_the_drain_outlasted_the_walltime(self, stopped, programs):
        programs("scontrol", answer="JobId=17 JobState=COMPLETING Reason=TimeLimit ExitCode=0:15")
        assert "job 18 goes on" in stopped(40, asked_to_end=True)

    def test_a_count_is_kept_even_where_sbatch_refuses(self, stopped, programs, job):
        programs("sbatch", answer="no submissions from a compute node", code=1)
        with pytest.raises(ServiceError, match="no submissions from a compute node"):
            stopped(40)
        assert json.loads((Path(job.folder) / "ledger.json").read_text())["done"] == [40]
