"""LSTM, convolution and softplus written out in operations that onnxruntime has in float64."""

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import helper, inliner, numpy_helper  # noqa: E402

from memflux.training import onnx_file  # noqa: E402

DOUBLE = onnx.TensorProto.DOUBLE


def answer(path, node, x, weights):
    """What onnxruntime makes of one node, written out."""
    names = [name for name in node.input if name]
    initializers = [numpy_helper.from_array(w, name) for name, w in zip(names[1:], weights, strict=True)]
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", DOUBLE, ["rows", *x.shape[1:]])],
        [helper.make_tensor_value_info("y", DOUBLE, None)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx_file._write_out(model)
    model = inliner.inline_local_functions(model)
    onnx.save(model, path)
    return onnx_file.ask_onnx(path, {"x": x})


@pytest.mark.parametrize("pads", [None, [0, 0], [1, 3]])
@pytest.mark.parametrize("rows", [1, 3])
def test_a_convolution(tmp_path, rows, pads):
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(rows, 2, 9)), rng.normal(size=(4, 2, 3)), rng.normal(size=4)
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], kernel_shape=[3], strides=[1], pads=pads, group=1)
    padded = np.pad(x, [(0, 0), (0, 0), pads or (0, 0)])
    wanted = torch.nn.functional.conv1d(*map(torch.from_numpy, (padded, w, b)))
    np.testing.assert_allclose(answer(tmp_path / "c.onnx", node, x, (w, b)), wanted, rtol=1e-13, atol=1e-13)


def test_an_lstm(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(11, 3, 2))  # [T, B, I]
    recurrent = torch.nn.LSTM(2, 5).double()
    w, r, bias_w, bias_r = (p.detach().numpy() for p in recurrent.parameters())
    # torch has the gates in the order input, forget, cell, output, ONNX input, output, forget, cell
    order = np.arange(20).reshape(4, 5)[[0, 3, 1, 2]].ravel()
    weights = (w[order][None], r[order][None], np.concatenate([bias_w[order], bias_r[order]])[None])
    start = rng.normal(size=(2, 1, 3, 5))
    node = helper.make_node("LSTM", ["x", "w", "r", "b", "", "h", "c"], ["y"], hidden_size=5)
    wanted = recurrent(torch.from_numpy(x), tuple(torch.from_numpy(start)))[0].detach()
    found = answer(tmp_path / "l.onnx", node, x, (*weights, *start))
    np.testing.assert_allclose(found[:, 0], wanted, rtol=1e-13, atol=1e-13)


def test_a_softplus(tmp_path):
    x = np.array([[-700.0, -40.0, -36.5, -1.0, -1e-9, 0.0, 1e-9, 1.0, 36.5, 40.0, 700.0]])
    node = helper.make_node("Softplus", ["x"], ["y"])
    wanted = np.logaddexp(x, 0.0)
    np.testing.assert_allclose(answer(tmp_path / "s.onnx", node, x, ()), wanted, rtol=1e-13, atol=0.0)


def test_what_is_not_written_out_is_refused(tmp_path):
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], kernel_shape=[3], strides=[2])
    with pytest.raises(RuntimeError, match="Conv"):
        answer(tmp_path / "c.onnx", node, np.ones((1, 2, 9)), (np.ones((4, 2, 3)), np.ones(4)))


def test_numbers_in_the_code_keep_their_digits():
    class Program:
        state_dict = ("weight",)
        graph = torch.fx.Graph()

    x = Program.graph.placeholder("x")
    Program.graph.call_function(torch.add, (x, 0.3))
    single = np.array(float(np.float32(0.3)))
    tensors = [numpy_helper.from_array(single, name) for name in ("number", "weight")]
    model = helper.make_model(helper.make_graph([], "none", [], [], tensors))
    onnx_file._restore_numbers(model, Program)
    number, weight = (float(numpy_helper.to_array(i)) for i in model.graph.initializer)
    assert (number, weight) == (0.3, float(single))
