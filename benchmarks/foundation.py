"""The foundation's claims: published numbers to solver tolerance, and the main job from end to end."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import harness
from harness import ROOT, Row
from memflux import Device, Space, Triangle, simulate
from memflux.solvers.solver import Solver

sys.path.insert(0, str(ROOT / "tests"))
from published import equilibrium_of, ex107_check_value, s1_levels

REFERENCE = Path(os.environ.get("MEMFLUX_REFERENCE_DATA", ROOT.parent / "shared" / "data")) / "reference_fv"
S2_DRIVE = Triangle(amplitude=10.0, period=8.0, cycles=2)


def equilibrium(quick: bool) -> Iterator[Row]:
    """Ex107 equilibrium check value"""
    run, system, state = equilibrium_of(Device.preset("Ex107"), "reference-Ex107", Solver().engine)
    error = abs(ex107_check_value(run, system, state) / -1692.2303837883194 - 1)
    yield Row(what="Ex107 equilibrium check value, relative error", value=error, unit="1", bar=1e-12)


def s2(quick: bool) -> Iterator[Row]:
    """S2 published levels and currents, and seconds"""
    device = Device.preset("S2")
    trace = simulate(device, S2_DRIVE, control="reference")
    if REFERENCE.is_dir():
        published = np.loadtxt(REFERENCE / "IV-S2-cycle-1-2-time.dat")
        same = trace.time.size == len(published) and np.array_equal(trace.time, published[:, 0])
        yield Row(
            what="S2, time levels identical to the published 493",
            value=trace.time.size if same else 0,
            unit="levels",
            bar=493,
            better="higher",
        )
        error = np.abs(trace.current / device.area - published[:, 1]).max() / np.abs(published[:, 1]).max()
        yield Row(what="S2, max |dJ| / max |J| against the published currents", value=error, unit="1", bar=1e-8)
    seconds = []
    for _ in range(1 if quick else 7):
        began = time.perf_counter()
        trace = simulate(device, S2_DRIVE, control="reference")
        seconds.append(time.perf_counter() - began)
    assert trace.history is not None
    steps = trace.history.newton_steps
    note = f"median of {len(seconds)}: {np.median(seconds):.3f} s; {steps} Newton steps; published code: 30.2 s"
    yield Row(
        what="S2, two cycles, control reference, one core, best", value=min(seconds), unit="s", bar=1.0, note=note
    )


def default_control(quick: bool) -> Iterator[Row]:
    """the default control on random devices: seconds a curve, Newton steps a level"""
    devices, drive = Space.preset("5d-parametric").sample(4 if quick else 40, seed=0)
    traces = Solver()(devices, drive)
    assert traces.history is not None
    steps = np.concatenate([h.newton[1:] for h in traces.history if h is not None])
    seconds = [h.wall_time for h in traces.history if h is not None]
    rescues = sum(h.rescues for h in traces.history if h is not None)
    note = f"{len(devices)} devices of 5d-parametric, {int((~traces.ok).sum())} failed, {rescues} levels rescued"
    yield Row(
        what="control accurate, a two-cycle curve, one core, median", value=np.median(seconds), unit="s", note=note
    )
    yield Row(what="control accurate, Newton steps a level", value=steps.mean(), unit="steps")


def s1(quick: bool) -> Iterator[Row]:
    """S1 on the published levels"""
    if not REFERENCE.is_dir():
        return
    cycles = [np.loadtxt(REFERENCE / f"IV-S1-cycle-{i}.dat") for i in (1, 2, 3)]
    table = np.concatenate([cycles[0], cycles[1][1:], cycles[2][1:]])
    drive = Triangle(amplitude=13.0, period=10.4, cycles=8)
    trace = simulate(Device.preset("S1"), drive, control="reference-S1", levels=s1_levels(table[:, 0]))
    error = np.abs(np.abs(trace.current) - table[:, 1]).max() / table[:, 1].max()
    yield Row(what="S1, max |dI| / max |I| on the published levels", value=error, unit="1", bar=1e-8)


def peer(quick: bool) -> Iterator[Row]:
    """DEVSIM at the same levels, in the same run"""
    if importlib.util.find_spec("devsim") is None or not REFERENCE.is_dir() or quick:
        return
    script = Path(__file__).parent / "peers" / "devsim_memristor.py"
    done = subprocess.run(
        [sys.executable, str(script), "--set", "S2", "--reference", str(REFERENCE), "--reference-levels"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    yield Row(
        what="peer DEVSIM, S2 at the published levels, user time",
        value=answer["user_cpu_s"],
        unit="s",
        note="no bar: the peer",
    )


def main_job(quick: bool) -> Iterator[Row]:
    """the main job: demo seconds, surrogate error, Sobol indices"""
    count = 80 if quick else 400
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "demo"
        began = time.perf_counter()
        command = [
            sys.executable,
            str(ROOT / "examples" / "01_device_to_report.py"),
            "--out",
            str(out),
            "--count",
            str(count),
        ]
        subprocess.run(command, check=True, capture_output=True)
        yield Row(
            what=f"main job with {count} devices after set-up", value=time.perf_counter() - began, unit="s", bar=360
        )
        record = json.loads((out / "surrogate" / "surrogate.json").read_text())["record"]
        errors = record["test_errors"]
        scaled = 100 * errors["nmae_scaled"]["mean"]
        note = f"{errors['count']} test devices, {record['split']['train']} training; scaled {scaled:.3f} %"
        yield Row(
            what="surrogate, mean test nMAE in amperes",
            value=100 * errors["nmae"]["mean"],
            unit="%",
            bar=0.5,
            note=note,
        )
        sobol = json.loads((out / "sobol.json").read_text())
        total = dict(zip(sobol["names"], sobol["total"][sobol["quantities"].index("on_off_ratio")], strict=True))
        first = "total Sobol index for R: mobility_vacancy"
        yield Row(
            what=first, value=total["mobility_vacancy"], unit="1", bar=0.75, better="higher", note="published: 0.87"
        )
        yield Row(what=first + ", from above", value=total["mobility_vacancy"], unit="1", bar=0.95)
        yield Row(
            what="total Sobol index for R: vacancy_offset",
            value=total["vacancy_offset"],
            unit="1",
            bar=0.05,
            note="published: about 0",
        )


def killed(quick: bool) -> Iterator[Row]:
    """kill -9 of a campaign, then the same command"""
    memflux = [sys.executable, "-m", "memflux.cli"]
    count = 48 if quick else 160
    with tempfile.TemporaryDirectory() as folder:
        recipe, out, whole = (Path(folder) / n for n in ("c.yaml", "a", "b"))
        new = subprocess.run(
            [*memflux, "campaign", "new", "--preset", "5d-parametric", "--count", str(count)],
            check=True,
            capture_output=True,
        )
        recipe.write_bytes(new.stdout)
        run = [*memflux, "campaign", "run", str(recipe), "--executor", "ray", "--json", "--out"]
        first = subprocess.Popen(
            [*run, str(out)], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while first.poll() is None and len(list(out.glob("shard-*.parquet"))) < 2:
            time.sleep(0.05)
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        before = {p.name for p in out.glob("shard-*.parquet")}
        again = json.loads(subprocess.run([*run, str(out)], check=True, capture_output=True).stdout)
        subprocess.run([*run, str(whole)], check=True, capture_output=True)
        status = [
            json.loads(
                subprocess.run(
                    [*memflux, "campaign", "status", str(p), "--json"], check=True, capture_output=True
                ).stdout
            )
            for p in (out, whole)
        ]
        same = status[0]["content_hash"] == status[1]["content_hash"] and before <= {
            p.name for p in out.glob("shard-*.parquet")
        }
        yield Row(
            what="killed and run again: same content hash, shards untouched",
            value=float(same),
            unit="1",
            bar=1,
            better="higher",
        )
        kept = count - again["made"]
        yield Row(
            what="rows that were there at the kill and were not made again",
            value=kept,
            unit="rows",
            bar=1,
            better="higher",
            note=f"of {count}",
        )


if __name__ == "__main__":
    harness.run("foundation", [equilibrium, s2, peer, s1, default_control, main_job, killed])
