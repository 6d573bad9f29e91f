"""`memflux train --active`: simulations where the surrogate errs most, through the runner of campaigns."""

import dataclasses
import importlib.util
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from memflux.cli.output import console, emit
from memflux.cli.training import checkpoint_beside, trained
from memflux.errors import DataError, InvalidValue, check_choice, check_number

if TYPE_CHECKING:
    from memflux.dataset import Dataset
    from memflux.platform.campaigns.campaign import Campaign
    from memflux.platform.campaigns.runner import Executor
    from memflux.training.active import Choice, Goal, Outcome, Round
    from memflux.training.surrogate import Surrogate

EXECUTORS = ("ray", "serial")
ROUND = 250  # devices


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What the command line says of an active training."""

    dataset: str
    out: Path
    target: float | None  # %
    limit: int | None
    round: int
    engine: str
    executor: str  # "": Ray where it is installed
    space: str  # preset to begin a data set of
    seed: int
    epochs: int | None
    minutes: float | None
    device: str
    as_json: bool


def train_actively(settings: Settings) -> None:
    """Run it to its target or limit, and save the surrogate; exits with 75 where it was stopped before."""
    from memflux.training.active import learn

    goal = _goal(settings)
    run = _Run(settings, goal)
    outcome = learn(run.simulate, run.train, goal, settings.seed, run.history.rounds, run.tell)
    outcome.surrogate.described({"active learning": outcome.status}).save(settings.out)
    run.checkpoint.unlink(missing_ok=True)
    emit(_summary(outcome, settings, run.history.path), settings.as_json, title="surrogate")


def _goal(settings: Settings) -> "Goal":
    from memflux.training.active import Goal

    for name in ("target", "limit"):
        if getattr(settings, name) is None:
            raise InvalidValue(f"--active needs --{name}; give --target 0.2 (in %) and --limit 2000 (devices), say.")
    target = check_number("target", settings.target, low=1e-4, high=100.0, unit="%")
    assert settings.limit is not None
    return Goal(target=target / 100.0, limit=settings.limit, round=settings.round)


class _Run:
    """The two callables that `learn` needs, and what they share: the folder, its campaign, the clock."""

    def __init__(self, settings: Settings, goal: "Goal") -> None:
        self.settings = settings
        self.checkpoint = checkpoint_beside(settings.out)
        self.end = None if settings.minutes is None else time.monotonic() + 60.0 * settings.minutes
        self.campaign = _campaign(settings, goal)
        self.executor = _executor(settings.executor, self.campaign)
        # what the draws depend on: the count may grow, and another engine is refused when it is to simulate
        recipe = {k: v for k, v in self.campaign.recipe().items() if k not in ("count", "engine")}
        self.history = History.read(settings.out.with_name(f"{settings.out.name}.rounds.json"), recipe, settings.seed)

    def simulate(self, draws: Sequence[int]) -> "Dataset":
        """Make these draws rows, and what else is missing; `typer.Exit` where that was stopped."""
        from memflux.cli.watch import say_stopping, watch
        from memflux.dataset import Dataset
        from memflux.platform.campaigns import runner
        from memflux.platform.launching.command import STOPPED

        if draws:
            self.checkpoint.unlink(missing_ok=True)  # of the round before, which is over
        as_json = self.settings.as_json
        with watch(as_json) as show:
            state = runner.run(
                self.campaign,
                self.settings.dataset,
                self.executor,
                show,
                on_stop=lambda: say_stopping(as_json),
                chosen=draws,
                seconds=self._left(),
            )
        if state.stopped:
            _remark(f"stopped at {state.done} of {state.wanted} curves; run the same command again to go on.")
            raise typer.Exit(STOPPED)
        return Dataset.open(self.settings.dataset)

    def train(self, data: "Dataset") -> "Surrogate":
        """Train on all rows; `typer.Exit` where the time was up, and what was learned is in the checkpoint."""
        from memflux.training.active import HELD_OUT, ensemble_for
        from memflux.training.loop import Recipe
        from memflux.training.pool import Pool
        from memflux.training.schedule import Schedule

        assert data.space is not None  # a campaign has one
        config = ensemble_for(len(data))
        recipe = Recipe(
            config=config,
            schedule=dataclasses.replace(Schedule.of(config), epochs=self.settings.epochs),
            seed=self.settings.seed,
            checkpoint=self.checkpoint,
            seconds=self._left(),
            device=self.settings.device,
        )
        note = f"{len(data)} devices, "
        return trained(Pool.of(data), data.space, recipe, as_json=self.settings.as_json, fractions=HELD_OUT, note=note)

    def tell(self, rounds: "tuple[Round, ...]", choice: "Choice | None") -> None:
        """Write the history down, and a line for people."""
        self.history = dataclasses.replace(self.history, rounds=rounds)
        self.history.write()
        _remark(round_line(rounds[-1], choice))

    def _left(self) -> float | None:
        """Seconds that this piece has left."""
        return None if self.end is None else max(self.end - time.monotonic(), 0.0)


def round_line(last: "Round", choice: "Choice | None") -> str:
    """How far it is, and what is next."""
    failed = f", {last.failed} failed" if last.failed else ""
    error = f"nMAE {100 * last.error:.3g} ± {100 * last.uncertainty:.2g} % on {last.tested} random ones"
    line = f"{last.devices} devices ({last.chosen} chosen{failed}): {error}"
    if choice is None or not choice.draws.size:
        return line
    guesses = f"guessed at {100 * choice.guess:.2g} % (usual: {100 * choice.usual:.2g} %)"
    where = f", towards {' and '.join(choice.towards)}" if choice.towards else ""
    return f"{line}; next {choice.draws.size}, {guesses}{where}"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """The rounds so far: the file beside the surrogate, for one recipe and seed."""

    path: Path
    recipe: dict[str, Any]
    seed: int
    rounds: "tuple[Round, ...]" = ()

    @classmethod
    def read(cls, path: Path, recipe: dict[str, Any], seed: int) -> "History":
        """What the file says, or an empty one without a file; DataError where it is another training's."""
        from memflux.training.active import Round

        if not path.exists():
            return cls(path=path, recipe=recipe, seed=seed)
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            rounds = tuple(Round(**entry) for entry in fields["rounds"])
            same = (fields["recipe"], fields["seed"]) == (recipe, seed)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path} is no history of rounds ({error}); remove it to begin another.") from None
        if not same:
            raise DataError(
                f"{path} is the history of another data set or seed; remove it, or give the arguments it began with."
            )
        return cls(path=path, recipe=recipe, seed=seed, rounds=rounds)

    def write(self) -> None:
        """Replace the file as a whole."""
        rounds = [dataclasses.asdict(r) for r in self.rounds]
        text = json.dumps({"recipe": self.recipe, "seed": self.seed, "rounds": rounds}, indent=1)
        fresh = self.path.with_name(f".{self.path.name}.new")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(text + "\n", encoding="utf-8")
        os.replace(fresh, self.path)


def _campaign(settings: Settings, goal: "Goal") -> "Campaign":
    """The campaign of the data set, or a new one of the preset space where there is no data set yet."""
    from memflux.folder import Folder
    from memflux.platform.campaigns.campaign import Campaign
    from memflux.platform.campaigns.recheck import campaign_of
    from memflux.shards import MANIFEST, Manifest

    folder = Folder.at(settings.dataset)
    if folder.exists(MANIFEST):
        campaign = campaign_of(Manifest.read(folder))
    elif settings.space:
        campaign = Campaign(space=settings.space, count=min(2 * goal.round, goal.limit), engine="petsc")
    else:
        raise InvalidValue(
            f"{settings.dataset} holds no data set; give --space with a preset to begin one, or run a campaign into it."
        )
    if campaign.design_space().drive == "random":
        raise InvalidValue(
            f"the space of {settings.dataset} has random drives, which a spectral model cannot follow; train on it "
            "without --active, with --model lstm."
        )
    if campaign.count > goal.limit:
        raise InvalidValue(
            f"limit = {goal.limit} is below the {campaign.count} devices that {settings.dataset} begins with; raise it."
        )
    return Campaign(**campaign.model_dump() | {"engine": settings.engine}) if settings.engine else campaign


def _executor(name: str, campaign: "Campaign") -> "Executor":
    """Ray on all cores where it is installed, else this process."""
    from memflux.cli.campaign import executor_for

    name = name or ("ray" if importlib.util.find_spec("ray") else "serial")
    with executor_for(check_choice("executor", name, EXECUTORS), None, None, lambda: campaign) as found:
        assert found is not None  # only ranks of MPI get none
        return found[0]


def _remark(text: str) -> None:
    console.print(Text(text), soft_wrap=True)


def _summary(outcome: "Outcome", settings: Settings, history: Path) -> dict[str, Any]:
    last = outcome.rounds[-1]
    return {
        "folder": str(settings.out),
        "reached": outcome.reached,
        "status": outcome.status,
        "devices": last.devices,
        "chosen": last.chosen,
        "failed": last.failed,
        "error": last.error,
        "rounds": len(outcome.rounds),
        "simulation_s": sum(r.simulation_s for r in outcome.rounds),
        "training_s": sum(r.training_s for r in outcome.rounds),
        "history": str(history),
    }
