"""A trained pulse perceptron with int8 weights, as one self-contained C header for a microcontroller.

Weights are int8 with a scale for each unit; in the first layer the pulse number, whose weights are far larger, has a
scale of its own. Inputs are z-scored to fixed point with 16 fractional bits (the only floating-point operations);
products, sums and rectifiers are integer; the increment comes out with 24 fractional bits. `Quantised.increments`
is the same arithmetic in NumPy, bit for bit.
"""

import dataclasses
import os
import re
import uuid
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from memflux import __version__
from memflux.errors import DataError, InvalidValue
from memflux.pulse_curves import NAMES, UNITS
from memflux.training.pulse_model import PulseModel, check_settings

FRACTION = 16  # bits of inputs and activations
FINE = 24  # bits of scales and of the result
LIMIT = 2**21  # of a z-scored input in fixed point: 32 standard deviations
LARGEST = 2**30  # of an activation in fixed point; larger ones saturate
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class QuantisedLayer:
    """out = (sum over groups of scale * (inputs . weights)) + bias, in fixed point."""

    weights: Int[np.ndarray, "I O"]  # within -127 .. 127
    scales: Int[np.ndarray, "K O"]  # with FINE fractional bits, one row a group of inputs
    bias: Int[np.ndarray, " O"]
    groups: tuple[tuple[int, int], ...]  # first and one past the last input
    shift: int  # bits dropped from scale * product


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Quantised:
    """The layers of one perceptron and the scaling of its six inputs."""

    center: Float[np.ndarray, " 6"]
    scale: Float[np.ndarray, " 6"]
    layers: tuple[QuantisedLayer, ...]
    pulses: int

    def increments(self, inputs: Float[np.ndarray, "R 6"]) -> Float[np.ndarray, " R"]:
        """Increment of the scaled read current for rows of pulse number and settings in SI."""
        z = (inputs.astype(np.float32) - self.center.astype(np.float32)) * (1.0 / self.scale).astype(np.float32)
        fixed = np.clip(np.rint(z * np.float32(2**FRACTION)), -LIMIT, LIMIT).astype(np.int64)
        for layer in self.layers[:-1]:
            fixed = np.clip(_product(layer, fixed), 0, LARGEST)
        return np.clip(_product(self.layers[-1], fixed)[:, 0], -LARGEST, LARGEST) / 2.0**FINE

    def curves(self, settings: Float[np.ndarray, "S 5"]) -> Float[np.ndarray, "S P"]:
        """Scaled read current summed up from the increments."""
        number = np.arange(self.pulses - 1, dtype=np.float64)
        rows = np.column_stack([np.tile(number, len(settings)), np.repeat(settings, number.size, axis=0)])
        return np.pad(self.increments(rows).reshape(len(settings), -1).cumsum(axis=1), ((0, 0), (1, 0)))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WrittenHeader:
    """What was written, and how far the integer curve is from the perceptron's at the settings of training."""

    file: str
    function: str
    bytes_of_weights: int
    largest_difference: float  # of the scaled current
    mean_difference: float


def quantise(model: PulseModel) -> Quantised:
    """Weights rounded to int8."""
    networks = model.fitted.networks
    weights = [w[0].double().numpy() for w in networks.weights]
    biases = [b[0, 0].double().numpy() for b in networks.biases]
    layers = []
    for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        groups = ((0, 1), (1, weight.shape[0])) if number == 0 else ((0, weight.shape[0]),)
        layers.append(_layer(weight, bias, groups, last=number == len(weights) - 1))
    return Quantised(
        center=model.fitted.center[0], scale=model.fitted.scale[0], layers=tuple(layers), pulses=model.pulses
    )


def write_header(
    model: PulseModel, path: "str | os.PathLike[str]", name: str = "pulse_increment", *, overwrite: bool = False
) -> WrittenHeader:
    """Write the header; `name` is the C function, and begins the names of everything else in it.

    Raises InvalidValue for a name that C does not allow, a target that is no .h file, is there already (unless
    `overwrite`) or lies in no folder; DataError where it cannot be written.
    """
    target = Path(path)
    if not IDENTIFIER.fullmatch(name):
        raise InvalidValue(f"name = {name!r} is no name in C; give letters, digits and underscores.")
    if target.suffix != ".h" or target.is_dir():
        raise InvalidValue(f"{target} is no name of a header; give one that ends with .h.")
    if not target.parent.is_dir():
        raise InvalidValue(f"{target.parent} is not a folder; make it, or give another.")
    if target.exists() and not overwrite:
        raise InvalidValue(f"{target} is there already; give another name, or overwrite it on purpose.")
    quantised = quantise(model)
    settings = check_settings(model.settings)
    difference = np.abs(quantised.curves(settings) - model.scaled(settings))
    written = WrittenHeader(
        file=str(target),
        function=name,
        bytes_of_weights=sum(layer.weights.size for layer in quantised.layers),
        largest_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
    )
    fresh = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        fresh.write_text(_text(quantised, written), encoding="ascii")
        os.replace(fresh, target)
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror}; choose another folder.") from None
    finally:
        fresh.unlink(missing_ok=True)
    return written


def _layer(weight: np.ndarray, bias: np.ndarray, groups: tuple[tuple[int, int], ...], *, last: bool) -> QuantisedLayer:
    rounded, scales = np.zeros(weight.shape, dtype=np.int64), []
    for first, end in groups:
        step = np.maximum(np.abs(weight[first:end]).max(axis=0), 1e-6) / 127.0
        rounded[first:end] = np.rint(weight[first:end] / step)
        scales.append(np.rint(step * 2**FINE).astype(np.int64))
    result = FINE if last else FRACTION
    return QuantisedLayer(
        weights=rounded, scales=np.stack(scales), bias=np.rint(bias * 2**result).astype(np.int64), groups=groups,
        shift=FRACTION if last else FINE,
    )  # fmt: skip


def _product(layer: QuantisedLayer, inputs: np.ndarray) -> np.ndarray:
    total = np.full((len(inputs), layer.bias.size), 1 << (layer.shift - 1), dtype=np.int64)  # rounds, not floors
    for (first, end), scale in zip(layer.groups, layer.scales, strict=True):
        total += (inputs[:, first:end] @ layer.weights[first:end]) * scale
    return (total >> layer.shift) + layer.bias


def _text(quantised: Quantised, written: WrittenHeader) -> str:
    name, layers = written.function, quantised.layers
    guard = f"{name.upper()}_H"
    inputs = ", ".join(["float pulse", *(f"float {n}" for n in NAMES)])
    meaning = ", ".join(f"{n} [{u}]" for n, u in zip(NAMES, UNITS, strict=True))
    lines = [
        f"/* int8 perceptron of pulse programming, written by memflux {__version__}.",
        f" * {name}(pulse, ...): increment of the scaled read current from pulse number `pulse` (from 0) on, at",
        f" * {meaning}. The scaled read current is 0 after pulse 0 and rises by these.",
        " * Over the settings of training the curve differs from that of float weights by at most",
        f" * {written.largest_difference:.2e}. {written.bytes_of_weights} bytes of weights; needs >> of negative",
        " * integers to be arithmetic, as every usual compiler has it. */",
        f"#ifndef {guard}",
        f"#define {guard}",
        "#include <stdint.h>",
        "",
        _array("float", f"{name}_center", [f"{v:.9g}f" for v in _floats(quantised.center)]),
        _array("float", f"{name}_inverse", [f"{v:.9g}f" for v in _floats(1.0 / quantised.scale)]),
    ]
    for number, layer in enumerate(layers):
        lines += [
            _array("int8_t", f"{name}_w{number}", [str(v) for v in layer.weights.T.ravel()]),
            _array("int32_t", f"{name}_s{number}", [str(v) for v in layer.scales.T.ravel()]),
            _array("int32_t", f"{name}_b{number}", [str(v) for v in layer.bias]),
        ]
    lines += [
        "",
        "/* From z-scored inputs with 16 fractional bits to the increment with 24; integers only. */",
        f"static int32_t {name}_q(const int32_t x0[6])",
        "{",
    ]
    for number, layer in enumerate(layers):
        lines += _code(name, number, layer, last=number == len(layers) - 1)
    lines += [
        f"  return (int32_t)x{len(layers)}[0];",
        "}",
        "",
        f"static float {name}({inputs})",
        "{",
        f"  const float x[6] = {{pulse, {', '.join(NAMES)}}};",
        "  int32_t q[6];",
        "  for (int i = 0; i < 6; i++) {",
        f"    float z = (x[i] - {name}_center[i]) * {name}_inverse[i] * {2**FRACTION}.0f;",
        f"    z = z > {LIMIT}.0f ? {LIMIT}.0f : (z < -{LIMIT}.0f ? -{LIMIT}.0f : z);",
        "    q[i] = (int32_t)(z < 0.0f ? z - 0.5f : z + 0.5f);",
        "  }",
        f"  return (float){name}_q(q) / {2**FINE}.0f;",
        "}",
        f"#endif /* {guard} */",
        "",
    ]
    return "\n".join(lines)


def _code(name: str, number: int, layer: QuantisedLayer, *, last: bool) -> list[str]:
    inputs, outputs = layer.weights.shape
    place, lines = (
        f"x{number + 1}[o]",
        [f"  int32_t x{number + 1}[{outputs}];", f"  for (int o = 0; o < {outputs}; o++) {{"],
    )
    lines.append(f"    int64_t total = (int64_t)1 << {layer.shift - 1};")
    for group, (first, end) in enumerate(layer.groups):
        lines += [
            "    {",
            "      int64_t sum = 0;",
            f"      for (int i = {first}; i < {end}; i++)",
            f"        sum += (int64_t)x{number}[i] * {name}_w{number}[o * {inputs} + i];",
            f"      total += sum * {name}_s{number}[o * {len(layer.groups)} + {group}];",
            "    }",
        ]
    low = -LARGEST if last else 0
    lines += [
        f"    const int64_t value = (total >> {layer.shift}) + {name}_b{number}[o];",
        f"    {place} = (int32_t)(value < {low} ? {low} : (value > {LARGEST} ? {LARGEST} : value));",
        "  }",
    ]
    return lines


def _floats(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)


def _array(kind: str, name: str, values: list[str]) -> str:
    rows = [", ".join(values[k : k + 16]) for k in range(0, len(values), 16)]
    # a number such as 2f is no float in C
    body = (
        ",\n  ".join(rows)
        if kind != "float"
        else ",\n  ".join(re.sub(r"(?<![\d.e-])(-?\d+)f", r"\1.0f", r) for r in rows)
    )
    return f"static const {kind} {name}[{len(values)}] = {{\n  {body}}};"
