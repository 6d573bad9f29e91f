import numpy as np
import pytest

from memflux.errors import InvalidValue
from memflux.solvers.control import SolverControl
from memflux.solvers.mesh import control_volumes, graded_mesh, layered_mesh


def test_published_grid_has_189_nodes_and_its_spacings():
    x = graded_mesh(1e-6, 5e-4, 2e-2)
    h = np.diff(x)
    assert x.size == 189
    assert h[0] == pytest.approx(0.5e-9, rel=1e-12)
    assert h.max() == pytest.approx(19.899e-9, rel=1e-4)
    assert h[1] / h[0] == pytest.approx(1.0404058454422909, rel=1e-12)


@pytest.mark.parametrize(
    ("first", "largest"),
    [
        *[(5e-4, 2e-2), (1e-5, 5e-2), (0.1, 0.2), (0.25, 0.25), (1e-3, 1e-3)],
        pytest.param(1e-4, 1.2e-4, marks=pytest.mark.slow),
    ],
)
def test_mesh_is_symmetric_increasing_and_within_bounds(first, largest):
    x = graded_mesh(2e-6, first, largest)
    h = np.diff(x)
    assert x[0] == 0.0
    assert x[-1] == pytest.approx(2e-6, rel=1e-15)
    assert (h > 0).all()
    assert h.max() <= largest * 2e-6 * (1 + 1e-9)
    np.testing.assert_allclose(h, h[::-1], rtol=1e-9)


def test_node_count_does_not_depend_on_the_length():
    assert {graded_mesh(length, 1.25e-4, 2e-2).size for length in (1e-8, 1e-6, 1.7e-6, 1e-3)} == {255}


def test_volumes_fill_the_channel():
    x = graded_mesh(1e-6, 5e-4, 2e-2)
    assert control_volumes(x).sum() == pytest.approx(1e-6, rel=1e-14)


def test_first_above_largest_is_refused():
    with pytest.raises(InvalidValue, match=r"first = 0\.1 is above largest = 0.05"):
        graded_mesh(1e-6, 0.1, 0.05)


def layers_of(name, length=1.0, factor=1.0):
    c = SolverControl.preset(name).refined(factor)
    return layered_mesh(length, c.first_spacing, c.growth, c.largest_spacing), c


@pytest.mark.parametrize("name", ["accurate", "fast"])
@pytest.mark.parametrize("factor", [0.5, 1.0, 4.0])
def test_layers_are_symmetric_increasing_and_follow_their_law(name, factor):
    x, c = layers_of(name, 2e-6, factor)
    h = np.diff(x) / 2e-6
    assert x[0] == 0.0
    assert x[-1] == 2e-6
    assert (h > 0.0).all()
    np.testing.assert_allclose(h, h[::-1], rtol=1e-9)
    np.testing.assert_allclose(x + x[::-1], 2e-6, rtol=1e-14)
    middle = 0.5 * (x[1:] + x[:-1]) / 2e-6
    law = np.minimum(c.first_spacing + c.growth * np.minimum(middle, 1.0 - middle), c.largest_spacing)
    np.testing.assert_allclose(h, law, rtol=0.1)
    assert h.max() <= 1.01 * c.largest_spacing
    assert x[x.size // 2] == pytest.approx(1e-6, rel=1e-14)


def test_layers_are_few_and_their_count_does_not_depend_on_the_length():
    counts = {layers_of("accurate", length)[0].size for length in (1e-9, 1e-8, 1e-6, 1.7e-6, 1e-3)}
    assert len(counts) == 1
    assert counts.pop() <= 300
    assert layers_of("fast")[0].size < 150


def test_refinement_multiplies_the_cells():
    cells = np.array([layers_of("accurate", 1.0, factor)[0].size - 1 for factor in (1.0, 2.0, 4.0, 8.0)])
    np.testing.assert_allclose(cells[1:] / cells[:-1], 2.0, rtol=0.02)


def test_layers_that_never_reach_their_largest_spacing_still_fill_the_channel():
    x = layered_mesh(1.0, 1e-3, 0.1, 0.5)
    assert x[-1] == 1.0
    assert np.diff(x).max() == pytest.approx(1e-3 + 0.1 * 0.5, rel=0.1)
