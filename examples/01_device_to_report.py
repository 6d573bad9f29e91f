"""The main job, start to finish: simulate, train, serve, ask, verify, report.

    .venv/bin/python examples/01_device_to_report.py --out runs/demo --count 400

Every step keeps its result in the run's folder and is skipped when it is there: interrupt it,
start it again, or delete a file to have that step made anew.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from memflux import Client, Dataset, Device, Solver, Surrogate, simulate
from memflux.analysis.inverse import FitResult, fit_curve
from memflux.analysis.measured import read_curve
from memflux.analysis.pareto import ParetoResult, pareto
from memflux.analysis.quantities import evaluate
from memflux.analysis.sensitivity import sobol
from memflux.contracts import CurveCost
from memflux.errors import MemfluxError
from memflux.metrics import nmae
from memflux.platform.campaigns import runner
from memflux.platform.campaigns.campaign import Campaign
from memflux.platform.campaigns.executor_ray import RayExecutor
from memflux.platform.cluster import local_cluster
from memflux.platform.report import build_report
from memflux.platform.run import RunFolder
from memflux.platform.serving.serve import endpoint, free_port
from memflux.training.loop import fit
from memflux.training.schedule import Schedule

HIDDEN = Device.preset("fit-b").replace(vacancy_offset=0.295, mobility_vacancy=4e-14)  # who made the "measured" curve
NOISE = 0.01  # of the peak current


def main(
    out: str = "runs/demo",
    count: int = 400,
    samples: int = 160,
    epochs: int | None = None,
    base_samples: int = 2048,
    generations: int = 60,
    starts: int = 128,
    checks: int = 8,
    cores: int | None = None,
) -> Path:
    """Do the main job in the folder `out` and return the path of the report."""
    Path(out).mkdir(parents=True, exist_ok=True)
    run = RunFolder.at(out)
    campaign = Campaign(space="5d-parametric", count=count, seed=0, samples=samples, engine="auto")
    with local_cluster(cores):
        _simulate(run, campaign)
        data = Dataset.open(run.dataset)
        _train(run, data, epochs)
        _say("serving the surrogate on 127.0.0.1, and asking it")
        with endpoint({"5d-parametric": run.surrogate}, port=free_port()) as served:
            client = Client(served.url, model="5d-parametric", token=served.token)
            _ask(run, client, base_samples, generations, starts)
    _verify(run, Solver(samples=samples), checks)
    _say("writing the report")
    return build_report(run.root)


def _simulate(run: RunFolder, campaign: Campaign) -> None:
    (run.root / "campaign.yaml").write_text(campaign.to_yaml(), encoding="utf-8")
    _say(f"simulating {campaign.count} devices of {campaign.space} with the FV model on Ray")

    def show(state: runner.Progress) -> None:
        pace = ""
        if state.rate > 0:
            left = (state.wanted - state.done) / state.rate
            pace = f", {state.rate:.1f}/s, {state.failed} failed, {left:.0f} s left"
        _line(f"{state.done}/{state.wanted} curves{pace}")

    state = runner.run(campaign, str(run.dataset), RayExecutor(), show)
    sys.stderr.write("\n")
    if state.stopped:
        raise MemfluxError(f"stopped at {state.done} of {state.wanted} curves; run the same command again to go on.")
    if state.made:
        run.record("FV campaign on Ray", state.seconds, state.made, "curves")


def _train(run: RunFolder, data: Dataset, epochs: int | None) -> None:
    if run.surrogate.is_dir() and Surrogate.load(run.surrogate).record["dataset_hash"] == data.content_hash:
        return
    _say("training the spectral surrogate")
    with run.timed("training", len(data), "devices"):
        surrogate = fit(
            data.devices,
            data.drive,
            data.traces,
            data.space,
            schedule=None if epochs is None else Schedule(epochs=epochs),
            seed=0,
            dataset_hash=data.content_hash,
            on_progress=lambda s: _line(f"epoch {s.epoch}/{s.epochs}, validation nMAE {100 * s.validation:.3f} %"),
        )
    sys.stderr.write("\n")
    surrogate.save(run.surrogate)
    for name in ("sobol", "pareto", "fit"):  # answers of another surrogate
        run.answer(name).unlink(missing_ok=True)
    run.checks.unlink(missing_ok=True)


def _ask(run: RunFolder, client: Client, base_samples: int, generations: int, starts: int) -> None:
    space = client.space
    if not run.answer("sobol").exists():
        with run.timed("Sobol indices", base_samples * (len(space.names) + 2), "curves"):
            sobol(client, space, base_samples=base_samples, seed=0).to_json(run.answer("sobol"))
    if not run.answer("pareto").exists():
        with run.timed("Pareto front", 100 * generations, "curves"):
            pareto(client, space, population=100, generations=generations, seed=0).to_json(run.answer("pareto"))
    if not run.answer("fit").exists():
        measured = _measure(run, client)
        cost = CurveCost(kind="log_curve", target=measured, floor=1e-3 * float(np.abs(measured).max()))
        with run.timed("inverse fit", starts, "starts"):
            fit_curve(client, space, cost, starts=starts, seed=0).to_json(run.answer("fit"))


def _measure(run: RunFolder, client: Client) -> np.ndarray:
    """A "measured" curve: the FV model of a hidden device with noise, written as CSV and read back."""
    _, drive = client.space.build(np.zeros((1, len(client.space.names))))
    trace = simulate(HIDDEN, drive, samples=client.samples)
    noise = NOISE * np.abs(trace.current).max() * np.random.default_rng(0).standard_normal(len(trace))
    path = run.root / "measured.csv"
    table = np.stack([trace.time, trace.voltage, trace.current + noise], axis=1)
    np.savetxt(path, table, delimiter=",", header="time,voltage,current", comments="")
    return read_curve(path, drive, client.samples)


def _verify(run: RunFolder, solver: Solver, checks: int) -> None:
    """Ask the FV model about what the surrogate recommends."""
    if run.checks.exists():
        return
    _say("checking the answers with the FV model")
    front = ParetoResult.from_json(run.answer("pareto"))
    found = FitResult.from_json(run.answer("fit"))
    space = Dataset.open(run.dataset).space
    assert space is not None
    rows = np.unique(np.linspace(0, len(front.objectives) - 1, checks).round().astype(int))
    points = np.vstack([front.parameters[rows], [found.parameters[n] for n in space.names]])
    devices, drive = space.at(points)
    with run.timed("FV checks", len(devices), "curves"):
        traces = solver(devices, drive)
    objectives = evaluate(lambda d, w: traces[: len(rows)], devices[: len(rows)], drive, front.quantities)
    current = traces[-1].cycle().current
    run.write(
        run.checks,
        {
            "pareto": {"rows": rows.tolist(), "objectives": objectives.tolist()},
            "fit": {
                "current": current.tolist(),
                "nmae": nmae(current, found.target),
                "truth": {n: getattr(HIDDEN, n) for n in space.names},
            },
        },
    )


def _say(text: str) -> None:
    sys.stderr.write(f"== {text}\n")


def _line(text: str) -> None:
    end = "\r" if sys.stderr.isatty() else "\n"
    sys.stderr.write(f"   {text:<76}{end}")
    sys.stderr.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/demo", help="folder of the run")
    parser.add_argument("--count", type=int, default=400, help="devices to simulate")
    options = parser.parse_args()
    try:
        report = main(out=options.out, count=options.count)
    except MemfluxError as error:
        sys.exit(f"error: {error}")
    print(f"The report is at {report.resolve()}")
