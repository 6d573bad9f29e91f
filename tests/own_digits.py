"""Ten bitmaps of 5 x 4 pixels, drawn for these tests."""

import numpy as np

from memflux.analysis.crossbar.bitmaps import Images

DRAWN = """
.##. .#.. ###. ###. #.#. #### .##. #### .##. .##.
#..# ##.. ...# ...# #.#. #... #... ...# #..# #..#
#..# .#.. .##. .##. #### ###. ###. ..#. .##. .###
#..# .#.. #... ...# ..#. ...# #..# .#.. #..# ...#
.##. ###. #### ###. ..#. ###. .##. .#.. .##. .##.
"""


def own_digits():
    rows = [line.split() for line in DRAWN.strip().splitlines()]
    inputs = np.array([[float(c == "#") for row in rows for c in row[digit]] for digit in range(10)])
    return Images(inputs=inputs, labels=np.arange(10))


def own_csv():
    """The same as a CSV file."""
    images = own_digits()
    lines = ["digit," + ",".join(f"p{k}" for k in range(20))]
    lines += [f"{d}," + ",".join(str(int(p)) for p in images.inputs[d]) for d in range(10)]
    return "\n".join(lines) + "\n"
