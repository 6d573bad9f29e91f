import numpy as np
import pytest

from memflux.errors import InvalidValue
from memflux.solvers.mesh import control_volumes, graded_mesh


def test_published_grid_has_189_nodes_and_its_spacings():
    x = graded_mesh(1e-6, 5e-4, 2e-2)
    h = np.diff(x)
    assert x.size == 189
    assert h[0] == pytest.approx(0.5e-9, rel=1e-12)
    assert h.max() == pytest.approx(19.899e-9, rel=1e-4)
    assert h[1] / h[0] == pytest.approx(1.0404058454422909, rel=1e-12)


@pytest.mark.parametrize(
    ("first", "largest"), [(5e-4, 2e-2), (1e-5, 5e-2), (0.1, 0.2), (0.25, 0.25), (1e-3, 1e-3), (1e-4, 1.2e-4)]
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
