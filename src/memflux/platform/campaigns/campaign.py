"""The campaign file: which devices to simulate, and how, in one YAML document."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import pydantic

from memflux import designs
from memflux.designs import DESIGNS
from memflux.device import CONTACT_DENSITIES, Devices
from memflux.errors import check_choice, check_integer
from memflux.platform.campaigns.own_space import OwnSpace
from memflux.platform.section import Section
from memflux.space import PRESETS, Space
from memflux.waveform import Waveform

CONTROLS = ("accurate", "fast")
ENGINES = ("petsc", "compiled", "cuda", "auto", "compact")
CUDA_SHARD = 4096  # devices that keep a GPU busy: what one call solves together
NOT_IN_THE_RECIPE = ("workers",)  # how it is run; rows do not depend on it
PUBLISHED_COUNTS: Mapping[str, int] = {
    # Devices of the published sets: arXiv 2505.13882, section 3.2 and Table 3; Zamankhani, section 5.
    "2d": 10_000,
    "4d": 10_000,
    "5d": 20_000,
    "7d": 20_000,
    "9d": 20_000,
    "5d-parametric": 20_000,
    "16d": 1_000,
    "16d-raw": 1_000,
    "5d-any-drive": 6_000,  # ours
}
SAMPLES = 320  # of a whole drive in a new campaign: 160 for each of the two published cycles
_CHOICES = {
    "design": DESIGNS,
    "control": CONTROLS,
    "engine": ENGINES,
    "contact_density": CONTACT_DENSITIES,
}
_RANGES = {
    "count": (1, 10**9),
    "seed": (0, 2**63 - 1),
    "samples": (8, 1_000_000),
    "shard_size": (1, 2**16),
    "workers": (1, 100_000),
}
_COMMENTS = {
    "space": f"design space: {', '.join(PRESETS)}, or lines of one's own",
    "count": "devices wanted; it may grow later, what is there stays",
    "seed": "of the draws; device i depends on space, design, seed and i alone",
    "design": f"{', '.join(DESIGNS)} (published: independent, on 10,000 values a parameter)",
    "samples": "a cycle, on a common grid of phase",
    "control": f"step control of the solver: {', '.join(CONTROLS)}",
    "engine": f"{', '.join(ENGINES)} (a cheap stand-in for the physics, to try the plumbing)",
    "contact_density": f"carriers at the contacts: {', '.join(CONTACT_DENSITIES)}",
    "shard_size": "devices a file: what one worker makes at a time",
    "workers": "processes that solve; null: one a core",
}


class Campaign(Section):
    """What to simulate. Row i depends on everything here but `count`, `shard_size` and `workers`, and on i.

    Raises InvalidValue, in one sentence, for unknown keys and for values out of range.
    """

    section_title: ClassVar[str] = "campaign"
    section_comments: ClassVar[Mapping[str, str]] = _COMMENTS

    space: str | OwnSpace
    """Design space that devices and drives are drawn from: the name of a preset, or one's own ranges and constants."""
    count: int
    """Devices wanted. It may grow later: what is there stays."""
    seed: int = 0
    """Seed of the draws."""
    design: str = "published"
    """How points are laid out: "published", or evenly: "sobol", "latin-hypercube"; see `memflux.designs`."""
    samples: int = 160
    """Samples a cycle, on a common grid of phase."""
    control: str = "accurate"
    """Step control of the solver: "accurate" or "fast"."""
    engine: str = "petsc"
    """"petsc", "compiled", "cuda", "auto" (what there is); "compact" stands in for the physics, to try the plumbing."""
    contact_density: str = "equilibrium"
    """Carrier density at the contacts: "equilibrium" as published, or "lowered" with the barrier."""
    shard_size: int = 16
    """Devices a shard: what one worker makes at a time, and what an interruption costs at most."""
    workers: int | None = None
    """Processes that solve; null: one a core."""

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _check(cls, value: object, info: pydantic.ValidationInfo) -> object:
        name = str(info.field_name)
        if name == "space":
            known = isinstance(value, Mapping | OwnSpace)
            return OwnSpace.read(name, value) if known else check_choice(name, value, PRESETS)
        if name in _CHOICES:
            return check_choice(name, value, _CHOICES[name])
        if name == "workers" and value is None:
            return None
        low, high = _RANGES[name]
        return check_integer(name, value, low=low, high=high)

    @pydantic.field_serializer("space")
    def _lines_given(self, space: str | OwnSpace) -> str | dict[str, Any]:
        return space if isinstance(space, str) else space.given()

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """Read a campaign file; InvalidValue says what in it is wrong."""
        return cls(**cls.fields_from_yaml(path, "memflux campaign new"))

    def to_yaml(self) -> str:
        """The campaign file, each field with a comment."""
        return self.yaml_with_comments(
            "A campaign: see `memflux campaign --help`. Energies in eV, everything else in SI units."
        )

    def recipe(self) -> dict[str, Any]:
        """What the rows depend on, JSON-ready: the part of the manifest that must not change."""
        return self.model_dump(exclude=set(NOT_IN_THE_RECIPE))

    def design_space(self) -> Space:
        """The space of the devices, its constants as this campaign has them."""
        space = Space.preset(self.space) if isinstance(self.space, str) else self.space.build()
        return dataclasses.replace(space, device=space.device.replace(contact_density=self.contact_density))

    def sample(self, count: int, first: int = 0) -> tuple[Devices, Waveform]:
        """Devices `first` .. `first + count - 1` of this campaign and their drive, whatever its own count."""
        return designs.sample(self.design_space(), self.design, count, self.seed, first)


def shard_size_for(count: int, engine: str = "petsc") -> int:
    """Devices a shard for a campaign of `count`: few, so that little is lost, but not a million files."""
    return CUDA_SHARD if engine == "cuda" else min(1024, max(16, -(-count // 2000)))
