"""One example of each compact model: devices of kilohms that switch within a second at 1 V; and their loops."""

import numpy as np

from memflux.analysis.memristor_march import periodic
from memflux.compact import GMMS, MMS, VTEAM, IonDrift, Yakopcic
from memflux.loops import Loops

RESISTANCE = 5110.0  # Ohm

EXAMPLES = (
    MMS(tau=2e-3, beta=15.0, v_on=0.27, v_off=-0.27, r_on=500.0, r_off=1500.0),
    GMMS(
        tau=2e-3, beta=15.0, v_on=0.27, v_off=-0.27, r_on=500.0, r_off=1500.0,
        phi=0.8, alpha_f=1e-5, beta_f=4.0, alpha_r=2e-5, beta_r=6.0,
    ),
    VTEAM(
        k_on=3.0, k_off=5.0, v_on=0.1, v_off=-0.12, alpha_on=1.5, alpha_off=2.0, window=1.0, r_on=500.0, r_off=5000.0
    ),
    Yakopcic(
        magnitude_p=40.0, magnitude_n=50.0, v_p=0.1, v_n=0.12, alpha_p=1.0, alpha_n=2.0, x_p=0.3, x_n=0.5,
        a_1=2e-4, a_2=1e-4, b=3.0,
    ),
    IonDrift(drift=1e5, window=1.0, r_on=500.0, r_off=5000.0),
)  # fmt: skip


def loops_of(model, amplitudes=(0.5, 1.0, 1.0), frequencies=(2.0, 5.0, 20.0), samples=200):
    """What the model would be measured as."""
    source = np.outer(amplitudes, np.sin(2 * np.pi * np.arange(samples) / samples))
    found = periodic(model, source, np.array(frequencies), RESISTANCE)
    return Loops(
        names=tuple(f"{a}V_{f}Hz" for a, f in zip(amplitudes, frequencies, strict=True)),
        frequency=np.array(frequencies),
        source=source,
        voltage=found.voltage,
        current=found.current,
        series_resistance=RESISTANCE,
    )
