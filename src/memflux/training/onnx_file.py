"""A program of torch.export as an ONNX file in float64, and onnxruntime to ask it.

onnxruntime has neither LSTM, Conv nor Softplus in float64. They are written out in operations that
it has: the recurrence as a Scan, the convolution along one axis as a gather and a matrix product.
Nothing but standard operators is left in the file.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from memflux import __version__
from memflux.errors import MissingDependency

if TYPE_CHECKING:
    import onnx
    from torch.export import ExportedProgram

DOMAIN = "memflux"  # of the functions below, until they are inlined
BATCH = "batch"  # name of the axis that may have any length

# Gates in the order of ONNX: input, output, forget, cell. One direction; x is [T, B, I], w [1, 4H, I],
# r [1, 4H, H], b [1, 8H], h0 and c0 [1, B, H]. `lengths` is never given by torch.
LSTM = """
Lstm (x, w, r, b, lengths, h0, c0) => (y, h_last, c_last)
{
    first = Constant <value_ints = [0]> ()
    second = Constant <value_ints = [1]> ()
    w_matrix = Squeeze (w, first)
    w_transposed = Transpose <perm = [1, 0]> (w_matrix)
    r_matrix = Squeeze (r, first)
    r_transposed = Transpose <perm = [1, 0]> (r_matrix)
    biases = Squeeze (b, first)
    bias_w, bias_r = Split <axis = 0, num_outputs = 2> (biases)
    bias = Add (bias_w, bias_r)
    h_start = Squeeze (h0, first)
    c_start = Squeeze (c0, first)
    driven = MatMul (x, w_transposed)
    drive = Add (driven, bias)
    h_end, c_end, hidden = Scan <num_scan_inputs = 1, body = step
        (double[rows, units] h, double[rows, units] c, double[rows, gates] d)
        => (double[rows, units] h_next, double[rows, units] c_next, double[rows, units] h_out) {
            recurrent = MatMul (h, r_transposed)
            gates_in = Add (d, recurrent)
            i_in, o_in, f_in, g_in = Split <axis = -1, num_outputs = 4> (gates_in)
            i = Sigmoid (i_in)
            o = Sigmoid (o_in)
            f = Sigmoid (f_in)
            g = Tanh (g_in)
            kept = Mul (f, c)
            added = Mul (i, g)
            c_next = Add (kept, added)
            c_bounded = Tanh (c_next)
            h_next = Mul (o, c_bounded)
            h_out = Identity (h_next)
        }> (h_start, c_start, drive)
    y = Unsqueeze (hidden, second)
    h_last = Unsqueeze (h_end, first)
    c_last = Unsqueeze (c_end, first)
}
"""

# x is [B, C, N], w [F, C, K], b [F]; stride and dilation 1.
CONV = """
Conv <pads> (x, w, b) => (y)
{
    of_points = Constant <value_ints: ints = @pads> ()
    before, after = Split <axis = 0, num_outputs = 2> (of_points)
    of_others = Constant <value_ints = [0, 0]> ()
    amounts = Concat <axis = 0> (of_others, before, of_others, after)
    padded = Pad (x, amounts)
    zero = Constant <value_int = 0> ()
    one = Constant <value_int = 1> ()
    first = Constant <value_ints = [0]> ()
    second = Constant <value_ints = [1]> ()
    all_of_two = Constant <value_ints = [0, 0, -1]> ()
    all_of_one = Constant <value_ints = [0, -1]> ()
    x_shape = Shape (padded)
    w_shape = Shape (w)
    two = Constant <value_int = 2> ()
    points = Gather (x_shape, two)
    kernel = Gather (w_shape, two)
    fewer = Sub (points, kernel)
    places = Add (fewer, one)
    starts = Range (zero, places, one)
    offsets = Range (zero, kernel, one)
    starts_column = Unsqueeze (starts, second)
    offsets_row = Unsqueeze (offsets, first)
    index = Add (starts_column, offsets_row)
    windows = Gather <axis = 2> (padded, index)
    windows_last = Transpose <perm = [0, 2, 1, 3]> (windows)
    rows = Reshape (windows_last, all_of_two)
    w_rows = Reshape (w, all_of_one)
    w_columns = Transpose <perm = [1, 0]> (w_rows)
    product = MatMul (rows, w_columns)
    sum = Add (product, b)
    y = Transpose <perm = [0, 2, 1]> (sum)
}
"""
# max(x, 0) + log1p(exp(-|x|)), with log1p(e) = e log(u) / (u - 1), u = 1 + e, exact where u is 1 too (Kahan's trick).
SOFTPLUS = """
Softplus (x) => (y)
{
    zero = Constant <value = double {0.0}> ()
    one = Constant <value = double {1.0}> ()
    size = Abs (x)
    fall = Neg (size)
    e = Exp (fall)
    u = Add (one, e)
    step = Sub (u, one)
    lost = Equal (step, zero)
    divisor = Where (lost, one, step)
    log_u = Log (u)
    slope = Div (log_u, divisor)
    factor = Where (lost, one, slope)
    log1p = Mul (e, factor)
    above = Max (x, zero)
    y = Add (above, log1p)
}
"""
# What an attribute has to be, where it is given, for a node to be the function of that name.
WRITTEN_OUT: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "LSTM": (LSTM, {"direction": b"forward", "input_forget": 0, "layout": 0}),
    "Conv": (CONV, {"auto_pad": b"NOTSET", "group": 1, "dilations": [1], "strides": [1]}),
    "Softplus": (SOFTPLUS, {}),
}
IGNORED = ("hidden_size", "kernel_shape")  # also told by the shapes of the weights
KEPT: Mapping[str, Mapping[str, list[int]]] = {"Conv": {"pads": [0, 0]}}  # of a function too, with the defaults


def need_packages() -> None:
    """Raise MissingDependency where a package that writes or checks ONNX is not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingDependency(
            f"an ONNX file needs onnx, onnxscript and onnxruntime ({error}); pip install 'memflux[onnx]', "
            "or write a .pt2."
        ) from None


def to_onnx(program: "ExportedProgram", output: str, metadata: Mapping[str, str]) -> bytes:
    """The file of a program whose inputs have batches along their first axis, with `metadata` in its properties.

    Raises what torch.onnx does for operations that ONNX has not: RuntimeError and its kin.
    """
    import onnx
    import onnx.inliner
    import torch

    with _quiet():
        written = torch.onnx.export(program, dynamo=True, output_names=[output], verbose=False)
    assert written is not None  # with dynamo there always is one
    model = written.model_proto
    _restore_numbers(model, program)
    _write_out(model)
    model = onnx.inliner.inline_local_functions(model)
    _clean(model)
    model.producer_name, model.producer_version = "memflux", __version__
    onnx.helper.set_model_props(model, dict(metadata))
    return bytes(model.SerializeToString())


def ask_onnx(path: Path, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """The first output of an ONNX file on the CPU; RuntimeError where onnxruntime cannot run it."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised too
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, dict(inputs))[0])
    except (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.NotImplemented,
        state.RuntimeException,
    ) as error:
        raise RuntimeError(str(error)) from None  # they have no base but Exception


def _restore_numbers(model: "onnx.ModelProto", program: "ExportedProgram") -> None:
    """Give the numbers in a program's code their digits again: torch.onnx takes them through float32."""
    import onnx
    from onnx import numpy_helper

    exact = {}
    with np.errstate(over="ignore"):
        for node in program.graph.nodes:
            for number in (*node.args, *node.kwargs.values()):
                if isinstance(number, float):
                    exact[float(np.float32(number))] = number
    for item in model.graph.initializer:
        if item.data_type == onnx.TensorProto.DOUBLE and not item.dims and item.name not in program.state_dict:
            value = float(numpy_helper.to_array(item))
            item.CopyFrom(numpy_helper.from_array(np.array(exact.get(value, value)), item.name))


def _write_out(model: "onnx.ModelProto") -> None:
    """Turn the nodes that onnxruntime lacks in float64 into calls of functions that do the same."""
    import onnx.helper
    import onnx.parser

    version = next(o.version for o in model.opset_import if o.domain == "")
    used = set()
    for node in model.graph.node:
        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.domain == "" and node.op_type in WRITTEN_OUT and _is_plain(node.op_type, given):
            used.add(node.op_type)
            del node.attribute[:]
            for name, default in KEPT.get(node.op_type, {}).items():
                node.attribute.append(onnx.helper.make_attribute(name, given.get(name, default)))
            node.op_type, node.domain = node.op_type.capitalize(), DOMAIN
    for name in sorted(used):
        text = f'<domain: "{DOMAIN}", opset_import: ["": {version}]>' + WRITTEN_OUT[name][0]
        model.functions.append(onnx.parser.parse_function(text))
    if used:
        model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))


def _is_plain(operator: str, given: Mapping[str, Any]) -> bool:
    """Whether the function that stands for an operator does all that the attributes of a node ask for."""
    wanted, kept = WRITTEN_OUT[operator][1], KEPT.get(operator, {})
    return all(name in IGNORED or name in kept or wanted.get(name) == value for name, value in given.items())


def _clean(model: "onnx.ModelProto") -> None:
    """Leave out what is inlined and where in whose files the operations came from, and name the axis of the batch."""
    graph, standard = model.graph, [o for o in model.opset_import if o.domain == ""]
    del model.functions[:], model.opset_import[:]
    model.opset_import.extend(standard)
    del graph.value_info[:]  # shapes in the between, in torch's names; a runtime works them out
    for item in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        del item.metadata_props[:]
        item.doc_string = ""
    del graph.metadata_props[:]
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's remarks on packages that are not needed and on its own use of what it deprecates."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
