"""The finite-volume flux between two nodes: Scharfetter-Gummel with the excess chemical potential."""

import math
from typing import no_type_check

import numba


@numba.njit(cache=True, inline="always", error_model="numpy")
@no_type_check
def bernoulli(x: float) -> tuple[float, float]:
    """B(x) = x/(exp(x) - 1) and B'(x).

    The closed form of the derivative cancels near 0, so a Taylor series (Bernoulli numbers up to
    x^12) serves |x| < 0.25; beyond it, B' = (1 - B - x)/(exp(x) - 1) is good to a few ulp.
    """
    if -0.25 < x < 0.25:
        y = x * x
        even = 1.0 + y * (
            1 / 12
            + y * (-1 / 720 + y * (1 / 30240 + y * (-1 / 1209600 + y * (1 / 47900160 - y * 691 / 1307674368000))))
        )
        odd = x * (
            1 / 6 + y * (-1 / 180 + y * (1 / 5040 + y * (-1 / 151200 + y * (1 / 4790016 - y * 691 / 108972864000))))
        )
        return even - 0.5 * x, odd - 0.5
    inverse = 1.0 / math.expm1(x)  # 0 where it overflows, as it should be
    b = x * inverse
    return b, inverse * (1.0 - b - x)


@numba.njit(cache=True, inline="always")
@no_type_check
def edge_flux(scale: float, q: float, n_k: float, n_l: float) -> tuple[float, float, float, float]:
    """Flux J = scale [B(-Q) n_l - B(Q) n_k] across the edge k -> l and its partial derivatives.

    `scale` = -z q U_T mu / h [A m], Q = z (psi_l - psi_k)/U_T + (eta_l - eta_k) - (ln F_l - ln F_k).
    Returns J [A/m^2], dJ/dQ, dJ/dn_k, dJ/dn_l. J vanishes exactly where the quasi-Fermi potential
    is constant (Abdel, Farrell, Fuhrmann, Opt. Quantum Electron. 53, 163 (2021)).
    """
    b, slope = bernoulli(q)
    forward = b + q  # B(-Q)
    return (
        scale * (forward * n_l - b * n_k),
        scale * (slope * (n_l - n_k) + n_l),
        -scale * b,
        scale * forward,
    )
