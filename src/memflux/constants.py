"""Physical constants (CODATA 2018) and the unit multipliers used at the boundary."""

BOLTZMANN = 1.380649e-23  # J/K
PLANCK = 6.62607015e-34  # J s
ELECTRON_MASS = 9.1093837015e-31  # kg
ELEMENTARY_CHARGE = 1.602176634e-19  # C
VACUUM_PERMITTIVITY = 8.8541878128e-12  # F/m

nm = 1e-9  # m
um = 1e-6  # m
mV = 1e-3  # V
ms = 1e-3  # s
us = 1e-6  # s


def thermal_voltage(temperature: float) -> float:
    """k_B T / q in V, for a temperature in K."""
    return BOLTZMANN * temperature / ELEMENTARY_CHARGE
