"""Models of measured devices: pulse programming, SDC memristors, circuits and ReRAM crossbars.

Published: doi 10.1063/5.0251113, 10.1039/d5nr02690c, and K. Bednarz, B. Garda, Z. Galias, Neural ODE based modeling
of memristive circuits. The data are found through MEMFLUX_REFERENCE_DATA.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")

import harness
import measured_compact
import measured_crossbar
import measured_pulses
import measured_sdc
import measured_search

if __name__ == "__main__":
    harness.run(
        "measured",
        [
            *measured_pulses.ROWS,
            *measured_compact.ROWS,
            *measured_sdc.ROWS,
            *measured_search.ROWS,
            *measured_crossbar.ROWS,
        ],
    )
