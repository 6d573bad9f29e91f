"""Compact models as text for circuit simulators: a SPICE subcircuit (ngspice's syntax) and a Verilog-A module.

Both are written by evaluating the model's own equations on words instead of numbers, so that there is one
statement of them. The state is the voltage of an inner node; the windows of the models hold it in [0, 1] smoothly.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from memflux.compact import AbstractCompact
from memflux.errors import InvalidValue, check_choice, check_number

LANGUAGES = (".sp", ".va")
FUNCTIONS: Mapping[Any, str] = {
    np.exp: "exp",
    np.log: "ln",
    np.sinh: "sinh",
    np.minimum: "min",
    np.maximum: "max",
}  # which both languages call by these names
UNTRIED = "No circuit simulator has run this Verilog-A text: compare it with the SPICE model before you rely on it."


class _Words(np.lib.mixins.NDArrayOperatorsMixin):
    """An expression as text: what NumPy's functions and operators make of it is text again."""

    OPERATORS: Mapping[Any, str] = {np.add: "+", np.subtract: "-", np.multiply: "*", np.true_divide: "/"}

    def __init__(self, text: str) -> None:
        self.text = text

    def __array_ufunc__(self, function: Any, _: str, *inputs: Any) -> "_Words":
        texts = [part.text if isinstance(part, _Words) else repr(float(part)) for part in inputs]
        if function is np.negative:
            return _Words(f"(-{texts[0]})")
        if function in self.OPERATORS:
            return _Words(f"({texts[0]}{self.OPERATORS[function]}{texts[1]})")
        assert function in FUNCTIONS, f"no circuit language has {function}"
        return _Words(f"{FUNCTIONS[function]}({','.join(texts)})")


def export(model: AbstractCompact, language: str, notes: Sequence[str] = (), start: float = 0.0) -> str:
    """The text of `spice` (".sp") or `verilog_a` (".va")."""
    return {".sp": spice, ".va": verilog_a}[check_choice("language", language, LANGUAGES)](model, notes, start)


def spice(model: AbstractCompact, notes: Sequence[str] = (), start: float = 0.0) -> str:
    """A subcircuit of two nodes, for ngspice: `X1 a b NAME`, and `uic` in .tran for a state that begins at `start`.

    `notes` are lines of the header. Raises InvalidValue for a start outside [0, 1] and for notes of several lines.
    """
    name = _name(model)
    voltage = "(polarity*v(plus,minus))".replace("polarity", "{polarity}")
    rate, current = _equations(model, "v(state)", voltage, lambda parameter: f"{{{parameter}}}")
    given = " ".join(f"{key}={_number(value)}" for key, value in _constants(model, start).items())
    return "\n".join(
        [
            *(f"* {line}" for line in _header(model, notes)),
            f"* Use: X1 a b {name}   and  .tran ... uic   (the state starts at the parameter start)",
            f".subckt {name} plus minus params: {given}",
            f"Bdevice plus minus I = {{polarity}}*{current}",
            f"Brate 0 state I = {rate}",
            "Cstate state 0 1 IC={start}",
            "Rstate state 0 1e15",
            f".ends {name}",
            "",
        ]
    )


def verilog_a(model: AbstractCompact, notes: Sequence[str] = (), start: float = 0.0) -> str:
    """A module NAME(plus, minus) with the parameters of the model; arguments and errors as `spice`."""
    name = _name(model)
    rate, current = _equations(model, "V(state)", "v", str)
    units = {p.name: p.unit for p in model.parameters()}
    declared = [
        f"    parameter real {key} = {_number(value)};  // {units.get(key, '1')}"
        for key, value in _constants(model, start).items()
    ]
    return "\n".join(
        [
            *(f"// {line}" for line in (*_header(model, notes), UNTRIED)),
            '`include "disciplines.vams"',
            "",
            f"module {name}(plus, minus);",
            "    inout plus, minus;",
            "    electrical plus, minus, state;",
            *declared,
            "    real v;",
            "    real rate;",
            "    real current;",
            "",
            "    analog begin",
            "        v = polarity * V(plus, minus);",
            f"        rate = {rate};",
            f"        current = {current};",
            "        V(state) <+ idt(rate, start);",
            "        I(plus, minus) <+ polarity * current;",
            "    end",
            "endmodule",
            "",
        ]
    )


def sine_bench(
    subcircuit: str, resistance: float, amplitude: float, frequency: float, periods: float, steps: int = 4000
) -> str:
    """A whole ngspice deck around the text of `spice`: the device behind a resistor [Ohm] under a sine [V, Hz].

    A period takes at least `steps` steps. `ngspice -b` leaves time, source and voltage of the device in found.txt,
    columns in SI.
    """
    name = next(line.split()[1] for line in subcircuit.splitlines() if line.startswith(".subckt"))
    step = 1.0 / (steps * frequency)  # s
    return "\n".join(
        [
            "a memristor behind a resistor under a sine",
            subcircuit,
            f"Vs in 0 SIN(0 {amplitude!r} {frequency!r})",
            f"Rs in out {resistance!r}",
            f"X1 out 0 {name}",
            ".options reltol=1e-6 abstol=1e-14 vntol=1e-9",
            f".tran {step!r} {periods / frequency!r} 0 {step!r} uic",
            ".control",
            "set numdgt=12",
            "set wr_singlescale",
            "run",
            "wrdata found.txt v(in) v(out)",
            ".endc",
            ".end",
            "",
        ]
    )


def _equations(model: AbstractCompact, state: str, voltage: str, parameter: Callable[[str], str]) -> tuple[str, str]:
    """dx/dt and i as text."""
    words = [_Words(parameter(p.name)) for p in model.parameters()]
    equations = model.EQUATIONS
    rate, current = (f(_Words(state), _Words(voltage), words).text for f in (equations.rate, equations.current))
    return rate, current


def _constants(model: AbstractCompact, start: float) -> dict[str, float]:
    """What the text declares: the parameters, the polarity and where the state starts."""
    numbers = {p.name: float(getattr(model, p.name)) for p in model.parameters()}
    return numbers | {"polarity": float(model.polarity), "start": check_number("start", start, low=0.0, high=1.0)}


def _header(model: AbstractCompact, notes: Sequence[str]) -> list[str]:
    if broken := [line for line in notes if "\n" in line or "\r" in line]:
        raise InvalidValue(f"the note {broken[0][:40]!r} has several lines; give one line a note.")
    lines = [f"{_name(model)}: {model.SOURCE}", "Compact memristor, one state in [0, 1]; written by memflux."]
    lines += [f"  {p.name} = {_number(getattr(model, p.name))} {p.unit}" for p in model.parameters()]
    return [*lines, *notes]


def _name(model: AbstractCompact) -> str:
    return f"memristor_{model.KEY}".replace("-", "_")


def _number(value: float) -> str:
    return repr(float(value))
