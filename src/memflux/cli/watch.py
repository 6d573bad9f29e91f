"""How a run of a campaign is watched: a bar for people, JSON lines for machines, and a line at the end."""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from memflux.cli.output import console, progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from memflux.platform.campaigns.runner import Progress

EVERY = (1.0, 60.0, 0.01)  # s between two JSON lines, at least and at most; in between, a part of the time so far


@contextlib.contextmanager
def watch(as_json: bool) -> Iterator[Callable[["Progress"], None]]:
    """What to call with each state of the run; on standard error, which has no results."""
    if as_json:
        yield _json_lines()
        return
    with contextlib.ExitStack() as stack:
        bars: list[tuple[Bar, TaskID]] = []

        def show(state: "Progress") -> None:
            if not bars:  # the bar appears when there is something to show
                if state.damaged:
                    console.print(f"damaged shards that are made again: {state.damaged}", highlight=False)
                bar = stack.enter_context(progress(False))
                bars.append((bar, bar.add_task("curves", total=state.wanted, note="")))
            bar, task = bars[0]
            note = f"{state.rate:.3g}/s" + (f", {state.failed} failed" if state.failed else "")
            bar.update(task, total=state.wanted, completed=state.done, note=note)

        yield show


def say_stopping(as_json: bool) -> None:
    """What a run that was asked to stop is waiting for."""
    if as_json:
        _write_line("stopping", {})
    else:
        console.print("stopping: shards in flight are finished; interrupt again to drop them", soft_wrap=True)


def _write_line(event: str, fields: Mapping[str, object]) -> None:
    sys.stderr.write(json.dumps({"event": event, "time": time.time(), **fields}) + "\n")
    sys.stderr.flush()


def _json_lines() -> Callable[["Progress"], None]:
    last = float("-inf")
    least, most, part = EVERY

    def show(state: "Progress") -> None:
        nonlocal last
        pause = min(max(least, part * state.seconds), most)  # a run of days must not fill a log
        if time.monotonic() - last >= pause or state.done == state.wanted:
            last = time.monotonic()
            _write_line("progress", told(state))

    return show


def told(state: "Progress") -> dict[str, object]:
    """A state of a run, JSON-ready."""
    return {
        "wanted": state.wanted,
        "done": state.done,
        "made": state.made,
        "failed": state.failed,
        "failed_by_class": dict(state.failed_by_class),
        "damaged": state.damaged,
        "rate": state.rate,
        "seconds": state.seconds,
        "cores": state.cores,
        "core_hours": state.core_hours,
    }


def summary_line(state: "Progress") -> str:
    """What the run did, and what it cost, in a line."""
    classes = ", ".join(f"{count} {name}" for name, count in sorted(state.failed_by_class.items()))
    seconds = state.core_hours * 3600.0
    pace = f", {state.made / seconds:.3g} devices per core-second" if seconds else ""
    return (
        f"{state.made} devices made ({state.done} of {state.wanted} there), {state.failed} failed"
        + (f" ({classes})" if classes else "")
        + f", {state.core_hours:.3g} core-hours"
        + pace
    )
