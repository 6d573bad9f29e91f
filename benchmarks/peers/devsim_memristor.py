#!/usr/bin/env python3
"""Peer benchmark: the vacancy memristor (sets S1 and S2) solved with DEVSIM.

Poisson + electrons + holes + mobile vacancies on 189 nodes, thermionic emission at both Schottky
contacts, implicit Euler along a triangular voltage sweep.  S2 adds Schottky barrier lowering by an
auxiliary potential.  Fluxes use the excess-chemical-potential Scharfetter-Gummel form; vacancies
obey F_-1, electrons a Fermi-Dirac or Boltzmann law, holes Boltzmann.

    pip install devsim numpy          # plus a BLAS/LAPACK, e.g. apt install libopenblas0
    python devsim_memristor.py --set S1 --dt 0.02                          # own, uniform time steps
    python devsim_memristor.py --set S1 --reference DIR --reference-levels # published time levels and currents

Prints one JSON object (last line of standard output).
"""

import argparse
import json
import os
import resource
import sys
import time

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np

_stdout = os.dup(1)  # DEVSIM writes its log to file descriptor 1: keep that for the JSON only
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
import devsim as ds  # noqa: E402

Q, KB, EPS0 = 1.602176634e-19, 1.380649e-23, 8.8541878128e-12
HP, ME = 6.62607015e-34, 9.1093837015e-31
T, LENGTH, AREA = 300.0, 1e-6, 1.5e-13
UT = KB * T / Q
EC, EV, NX, EPS = -4.0, -5.3, 1e28, 10 * EPS0

SETS = {
    "S1": dict(vmax=13.0, ex=-4.32, mu=2.5e-4, mux=5.0e-14, barrier=(0.001, 0.001), lowering=False),
    "S2": dict(vmax=10.0, ex=-4.33, mu=2.15e-3, mux=1.15e-13, barrier=(0.144, 0.110), lowering=True),
}
SPLIT = 2.3072  # F(1.6107), where the two branches of the statistics meet
DEV, REG = "memristor", "channel"
WHERE = dict(device=DEV, region=REG)


def band_density(mass):
    return 2 * (2 * np.pi * mass * ME * KB * T / HP**2) ** 1.5


def emission_velocity(mass):
    return float(np.sqrt(KB * T / (2 * np.pi * mass * ME)))


def grid(length, h0=5e-4, hmax=2e-2):
    """Two mirrored geometric half grids, first spacing h0*length, largest at most hmax*length."""
    n = int(np.ceil(0.5 / hmax))
    while True:
        lo, hi = 1 + 1e-9, 2.0
        for _ in range(200):
            q = 0.5 * (lo + hi)
            lo, hi = (q, hi) if h0 * (q**n - 1) / (q - 1) < 0.5 else (lo, q)
        if h0 * q ** (n - 1) <= hmax:
            break
        n += 1
    half = np.concatenate([[0.0], np.cumsum(h0 * q ** np.arange(n))])
    half *= 0.5 / half[-1]
    return length * np.concatenate([half, 1 - half[-2::-1]])


def bias(t, vmax, rate):
    phase = (t * rate / vmax) % 4
    return vmax * (phase if phase <= 1 else 2 - phase if phase <= 3 else phase - 4)


# ---------------------------------------------------------------- statistics
# c = density / band density;  excess(c) = eta(c) - ln(c), with derivative, as DEVSIM node models
def excess_models(statistics, c):
    """Create the node models <c>_ex and <c>_ex:<c>; False if the excess vanishes (Boltzmann)."""
    ex = f"{c}_ex"
    if statistics == "boltzmann":
        return False
    if statistics == "blakemore":
        node_model(ex, f"-log(1-{c})", c)
    elif statistics == "fermi":  # DEVSIM's own order-1/2 function (Joyce-Dixon)
        node_model(ex, f"InvFermi({c})-log({c})", c)
    else:  # closed inverse of the two-branch approximation that the reference data use
        small, high = f"max({c},1e-6)", f"max({c},2.0)"
        node_model(f"{c}_z", f"2*{small}/(1+(1+0.64*{small})^0.5)")
        node_model(f"{c}_w", f"(0.0321+(0.0321^2-3.0092*(0.3258-{high}))^0.5)/1.5046")
        node_model(f"{c}_ez", f"exp({c}_z)")
        node_model(f"{c}_ew", f"exp({c}_w)")
        node_model(
            ex,
            f"ifelse({c} < 1e-6, 0.34*{c}, ifelse({c} < {SPLIT!r}, log(({c}_ez-1)/{small}),"
            f" log({c}_ew-1)^(4.0/3.0)-log({high})))",
        )
        node_model(
            f"{ex}:{c}",
            f"ifelse({c} < 1e-6, 0.34, ifelse({c} < {SPLIT!r},"
            f" {c}_ez/(({c}_ez-1)*(1+0.32*{c}_z))-1/{small},"
            f" 4.0/3.0*log({c}_ew-1)^(1.0/3.0)*{c}_ew/(({c}_ew-1)*(1.5046*{c}_w-0.0321))"
            f"-1/{high}))",
        )
    return True


def tesca(eta):
    z = np.log1p(np.exp(eta))
    if eta < 1.6107:
        return z * (1 + 0.16 * z)
    z = np.log1p(np.exp(eta**0.75))
    return 0.3258 - 0.0321 * z + 0.7523 * z * z


def occupation(statistics, eta):
    if statistics == "boltzmann":
        return float(np.exp(eta))
    if statistics == "blakemore":
        return float(1 / (1 + np.exp(-eta)))
    if statistics == "fermi":
        set_values("scratch", np.full(NODES, eta))
        return values("scratch_fermi")[0]
    return float(tesca(eta))


# ---------------------------------------------------------------- DEVSIM helpers
def values(name):
    return np.array(ds.get_node_model_values(name=name, **WHERE))


def edges(name):
    return np.array(ds.get_edge_model_values(name=name, **WHERE))


def set_values(name, array):
    ds.set_node_values(name=name, values=[float(a) for a in np.broadcast_to(array, NODES)], **WHERE)


def solution(name, start):
    ds.node_solution(name=name, **WHERE)
    set_values(name, start)
    ds.edge_from_node_model(node_model=name, **WHERE)


def node_model(name, expression, *variables):
    ds.node_model(name=name, equation=expression, **WHERE)
    for v in variables:
        ds.node_model(name=f"{name}:{v}", equation=f"diff({expression},{v})", **WHERE)


def edge_model(name, expression, *variables):
    ds.edge_model(name=name, equation=expression, **WHERE)
    for v in variables:
        for end in ("@n0", "@n1"):
            ds.edge_model(name=f"{name}:{v}{end}", equation=f"diff({expression},{v}{end})", **WHERE)


# ---------------------------------------------------------------- device
class Carrier:
    def __init__(self, name, z, states, mobility, energy, statistics, velocity=None):
        self.name, self.z, self.states, self.mobility = name, z, states, mobility
        self.energy, self.statistics, self.velocity = energy, statistics, velocity

    def equilibrium(self, psi):
        return np.array([occupation(self.statistics, self.z * (self.energy - p) / UT) for p in psi])

    def flux(self):
        """Particle flux / states on an edge; models <name>_Q, <name>_Flux with derivatives."""
        c, u = self.name, f"{self.z}*(Potential@n1-Potential@n0)/UT"
        excess = excess_models(self.statistics, c)
        if excess:
            for m in (f"{c}_ex", f"{c}_ex:{c}"):
                ds.edge_from_node_model(node_model=m, **WHERE)
            u += f" + {c}_ex@n1 - {c}_ex@n0"
        ds.edge_model(name=f"{c}_Q", equation=u, **WHERE)
        ds.edge_model(name=f"{c}_B0", equation=f"B({c}_Q)", **WHERE)
        ds.edge_model(name=f"{c}_B1", equation=f"{c}_B0 + {c}_Q", **WHERE)  # B(-Q)
        k = f"UT*mu_{c}*EdgeInverseLength"
        ds.edge_model(name=f"{c}_Flux", equation=f"{k}*({c}_B0*{c}@n0 - {c}_B1*{c}@n1)", **WHERE)
        ds.edge_model(name=f"{c}_dQ", equation=f"{k}*(dBdx({c}_Q)*({c}@n0 - {c}@n1) - {c}@n1)", **WHERE)
        for end, s, own in (("@n0", "-", f"{k}*{c}_B0"), ("@n1", "+", f"-{k}*{c}_B1")):
            ds.edge_model(name=f"{c}_Flux:Potential{end}", equation=f"{s}{self.z}*{c}_dQ/UT", **WHERE)
            through = f" {s} {c}_dQ*{c}_ex_{end[1:]}" if excess else ""
            if excess:
                ds.edge_model(name=f"{c}_ex_{end[1:]}", equation=f"{c}_ex:{c}{end}", **WHERE)
            ds.edge_model(name=f"{c}_Flux:{c}{end}", equation=own + through, **WHERE)

    def equation(self):
        c = self.name
        self.flux()
        model = {}
        if self.velocity:  # thermionic emission as a source in the two contact control volumes
            node_model(f"{c}_Emission", f"AtContactNode*{self.velocity!r}*({c}-{c}_contact)/NodeVolume", c)
            model["node_model"] = f"{c}_Emission"
        node_model(f"{c}_Storage", c, c)
        ds.equation(
            name=f"{c}_Continuity",
            variable_name=c,
            time_node_model=f"{c}_Storage",
            edge_model=f"{c}_Flux",
            variable_update="positive",
            **model,
            **WHERE,
        )


def build_mesh(x):
    ds.create_1d_mesh(mesh="line")
    for i, xi in enumerate(x):
        step = x[min(i + 1, len(x) - 1)] - x[min(i, len(x) - 2)]
        ds.add_1d_mesh_line(mesh="line", pos=float(xi), ps=float(2 * step), tag=f"p{i}")
    for side, tag in (("left", "p0"), ("right", f"p{len(x) - 1}")):
        ds.add_1d_contact(mesh="line", name=side, tag=tag, material="metal")
    ds.add_1d_region(mesh="line", material="MoS2", region=REG, tag1="p0", tag2=f"p{len(x) - 1}")
    ds.finalize_mesh(mesh="line")
    ds.create_device(mesh="line", device=DEV)
    got = values("x")
    assert len(got) == len(x) and np.allclose(got, x, rtol=0, atol=1e-15), "mesh differs"


def potential_equations(lowering):
    """Poisson equation for Potential and, with lowering, for the potential without image charge."""
    for name in ("Potential", "Reference")[: 1 + lowering]:
        edge_model(f"{name}_D", f"permittivity*({name}@n0-{name}@n1)*EdgeInverseLength", name)
        ds.equation(
            name=f"{name}_Equation",
            variable_name=name,
            node_model="Charge",
            edge_model=f"{name}_D",
            variable_update="default",
            **WHERE,
        )
        for side in ("left", "right"):
            # DEVSIM multiplies contact node models by NodeVolume, contact edge models not
            for tail, law in (("", f"({name} - {side}_level)/NodeVolume"), (f":{name}", "1/NodeVolume")):
                ds.contact_node_model(device=DEV, contact=side, name=f"{name}_{side}{tail}", equation=law)
            more = {}
            if name == "Potential" and lowering:  # - sqrt(-q g/(4 pi eps)), g outward derivative
                sign, field = (
                    ("-1", "(Reference@n1-Reference@n0)") if side == "left" else ("1", "(Reference@n0-Reference@n1)")
                )
                law = f"(image*max({field}*EdgeInverseLength, field_floor))^0.5"
                edge_model(f"Lowering_{side}", f"{sign}*lowering_on*{law}", "Reference")
                more["edge_model"] = f"Lowering_{side}"
            ds.contact_equation(device=DEV, contact=side, name=f"{name}_Equation", node_model=f"{name}_{side}", **more)


def equilibrium_law(c):
    """Occupation of carrier c at zero quasi-Fermi potential as a DEVSIM expression of Potential."""
    eta = f"({c.z}*({c.energy}-Potential)/UT)"
    if c.statistics == "boltzmann":
        return f"exp({eta})"
    if c.statistics == "blakemore":
        return f"1/(1+exp(-{eta}))"
    if c.statistics == "fermi":
        return f"Fermi({eta})"
    z, w = f"log(1+exp({eta}))", f"log(1+exp(max({eta},1.0)^0.75))"
    return f"ifelse({eta} < 1.6107, {z}*(1+0.16*{z}), 0.3258-0.0321*{w}+0.7523*{w}^2)"


def charge(carriers, doping, law, *variables):
    terms = "+".join(f"{c.z}*{c.states!r}*({law(c)})" for c in carriers)
    node_model("Charge", f"-{Q!r}*({doping!r}+{terms})", *variables)


def set_bias(barrier, v):
    ds.set_parameter(device=DEV, name="left_level", value=float(EC - barrier[0]))
    ds.set_parameter(device=DEV, name="right_level", value=float(EC - barrier[1] + v))


# ---------------------------------------------------------------- reference curve
def reference_times(volts, vmax, start, rate=5.0):
    """Times of the (V, |I|) rows of one published cycle, from V(t) on the four branches."""
    p = 4 * vmax / rate
    on = (lambda v: v / rate, lambda v: p / 2 - v / rate, lambda v: p + v / rate, lambda v: p + v / rate)
    inside = ((0, p / 4), (p / 4, 3 * p / 4), (3 * p / 4, p), (p, 5 * p / 4))
    t, step, branch = [on[0](volts[0])], None, 0
    for v in volts[1:]:
        best = None
        for b in (branch, min(branch + 1, 3)):
            s = on[b](v)
            if s > t[-1] + 1e-9 and inside[b][0] - 1e-9 <= s <= inside[b][1] + 1e-9:
                grown = 0 if step is None else np.log((s - t[-1]) / (1.01 * step))
                cost = min(abs(grown + np.log(f)) for f in (1, 2, 4, 8))
                if best is None or cost < best[0]:
                    best = (cost, s, b)
        _, s, branch = best
        step, t = s - t[-1], t + [s]
    return np.array(t) + start


def load_reference(folder, name, cycles, vmax):
    """Published (t, |I|): S1 as (V, |I|) per cycle, S2 as (t, J) of two cycles."""
    if name == "S2":
        data = np.loadtxt(os.path.join(folder, "IV-S2-cycle-1-2-time.dat"))
        return data[:, 0], np.abs(data[:, 1]) * AREA
    times, currents = [], []
    for k in range(cycles):
        data = np.loadtxt(os.path.join(folder, f"IV-S1-cycle-{k + 1}.dat"))
        t = reference_times(data[:, 0], vmax, k * 4 * vmax / 5.0)
        cut = 1 if k else 0
        times.append(t[cut:])
        currents.append(data[cut:, 1])
    return np.concatenate(times), np.concatenate(currents)


# ---------------------------------------------------------------- run
def build(opt, par):
    """Mesh, equilibrium, transient equations; returns the carriers and the names of all unknowns."""
    global NODES
    x = grid(LENGTH)
    NODES = len(x)
    build_mesh(x)
    lowering, barrier, mn, mp = par["lowering"], par["barrier"], 0.55, 0.71
    carriers = [Carrier("n", -1, band_density(mn), par["mu"], EC, opt.statistics, emission_velocity(mn))]
    if not opt.no_holes:
        carriers.append(Carrier("p", 1, band_density(mp), par["mu"], EV, "boltzmann", emission_velocity(mp)))
    if not opt.no_vacancies:
        carriers.append(Carrier("vac", 1, NX, par["mux"], par["ex"], "blakemore"))
    constants = dict(UT=UT, permittivity=EPS, image=Q / (4 * np.pi * EPS), field_floor=opt.field_floor)
    constants.update({f"mu_{c.name}": c.mobility for c in carriers})
    for name, value in constants.items():
        ds.set_parameter(device=DEV, name=name, value=float(value))
    ds.node_solution(name="scratch", **WHERE)
    ds.node_model(name="scratch_fermi", equation="Fermi(scratch)", **WHERE)

    # equilibrium: only Poisson, with densities that follow the potential
    solution("Potential", EC - np.interp(x, [0, LENGTH], barrier))
    if lowering:
        solution("Reference", values("Potential"))
    charge(carriers, opt.doping, equilibrium_law, "Potential")
    set_bias(barrier, 0.0)
    potential_equations(lowering)
    # the lowering is turned on by steps: all at once, Newton can cycle at the kink of the square root
    for stage in np.linspace(0, 1, 41) if lowering else (0.0,):
        ds.set_parameter(device=DEV, name="lowering_on", value=float(stage))
        info = ds.solve(type="dc", absolute_error=1.0, relative_error=1e-10, maximum_iterations=100, info=True)
        if not info["converged"]:
            raise RuntimeError("equilibrium not converged")

    # full system: densities become unknowns, in units of their band densities
    psi = values("Potential")
    for c in carriers:
        occupied = c.equilibrium(psi)
        solution(c.name, occupied)
        ds.node_solution(name=f"{c.name}_contact", **WHERE)
        set_values(f"{c.name}_contact", occupied)
    ds.delete_node_model(name="Charge:Potential", **WHERE)
    charge(carriers, opt.doping, lambda c: c.name, *[c.name for c in carriers])
    for c in carriers:
        c.equation()
    rhs = ds.get_matrix_and_rhs(format="csc")
    ds.set_initial_condition(static_rhs=rhs["static"]["rhs"], dynamic_rhs=rhs["dynamic"]["rhs"])
    return carriers, ["Potential"] + ["Reference"] * lowering + [c.name for c in carriers]


def time_levels(cycles, period, dt):
    """Steps grow by 1.2 from 1 ms to dt, then are uniform between the corners of the triangle."""
    levels, step = [], min(1e-3, dt)
    while step < dt:
        levels.append((levels[-1] if levels else 0.0) + step)
        step *= 1.2
    last = levels[-1] if levels else 0.0
    for corner in (period * (k + f) for k in range(cycles) for f in (0.25, 0.75, 1.0)):
        m = max(1, int(np.ceil((corner - last) / dt - 1e-9)))
        levels += list(last + (corner - last) * np.arange(1, m + 1) / m)
        last = corner
    return levels


def terminal_current(carriers, old_d, dt, width):
    """Current into the device at the right contact, its spread over the edges, the new displacement."""
    flux = sum(c.z * Q * c.states * edges(f"{c.name}_Flux") for c in carriers)
    d = edges("Potential_D")
    total = flux + (d - old_d) / dt
    return -float((total * width).sum() / LENGTH) * AREA, float(np.ptp(total)), float(abs(total).max()), d


def march(opt, par, carriers, unknowns, targets):
    """Implicit Euler through the target levels; a step that fails is halved."""
    count = dict(newton=0, newton_in_rejected_steps=0, rejected_steps=0, failure=None)
    levels, spread, peak, t, i = [(0.0, 0.0, 0.0)], 0.0, 0.0, 0.0, 0
    old_d, width = edges("Potential_D"), np.diff(values("x"))
    state, dt = {u: values(u) for u in unknowns}, targets[0]
    while i < len(targets):
        dt = min(dt, targets[i] - t)
        v = bias(t + dt, par["vmax"], opt.rate)
        set_bias(par["barrier"], v)
        try:
            info = ds.solve(
                type="transient_bdf1",
                tdelta=float(dt),
                absolute_error=1e30,
                charge_error=1e30,
                relative_error=opt.relative_error,
                maximum_iterations=40,
                maximum_divergence=15,
                info=True,
            )
        except ds.error as problem:  # for example a floating point exception in a model
            info = dict(converged=False, iterations=[], error=str(problem)[-300:])
        if not info["converged"]:
            count["rejected_steps"] += 1
            count["newton_in_rejected_steps"] += len(info["iterations"])
            for u in unknowns:
                set_values(u, state[u])
            if opt.verbose:
                print("rejected", t, dt, info.get("error", ""), file=sys.stderr)
            dt *= 0.5
            if dt < 1e-7:
                count["failure"] = f"step below 1e-7 s at t={t:.6g} s"
                break
            continue
        count["newton"] += len(info["iterations"])
        t += dt
        state = {u: values(u) for u in unknowns}
        current, s, p, old_d = terminal_current(carriers, old_d, dt, width)
        spread, peak = max(spread, s), max(peak, p)
        levels.append((t, v, current))
        if opt.verbose and len(levels) % 50 == 0:
            print(f"{len(levels)} t={t:.4f} V={v:.3f} I={current:.5e} {count}", file=sys.stderr)
        if targets[i] - t < 1e-12:
            i += 1
        dt = 2 * dt if count["rejected_steps"] else np.inf
    return np.array(levels), dict(count, current_imbalance=spread / peak)


def options():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--set", choices=SETS, default="S1")
    ap.add_argument("--cycles", type=int, default=2)
    ap.add_argument("--dt", type=float, default=0.02, help="largest time step in s")
    ap.add_argument(
        "--statistics", choices=("tesca", "fermi", "boltzmann"), default="tesca", help="electron statistics"
    )
    ap.add_argument("--no-holes", action="store_true")
    ap.add_argument("--no-vacancies", action="store_true")
    ap.add_argument("--relative-error", type=float, default=1e-6, help="Newton: largest relative update")
    ap.add_argument("--reference", help="folder with the published IV files")
    ap.add_argument("--reference-levels", action="store_true", help="march on the published time levels")
    ap.add_argument("--curve", help="write t, V, I to this file")
    ap.add_argument("--extended", action="store_true", help="128-bit model evaluation and assembly")
    ap.add_argument("--vmax", type=float, help="override the amplitude in V")
    ap.add_argument("--rate", type=float, default=5.0, help="sweep rate in V/s")
    ap.add_argument("--barrier", type=float, nargs=2, help="override the two barriers in eV")
    ap.add_argument("--ex", type=float, help="override the vacancy energy in eV")
    ap.add_argument("--mu", type=float, help="override the electron and hole mobility in m2/(V s)")
    ap.add_argument("--mux", type=float, help="override the vacancy mobility in m2/(V s)")
    ap.add_argument("--doping", type=float, default=1e21, help="fixed donors in m^-3")
    ap.add_argument("--field-floor", type=float, default=1e-6, help="smallest field in the lowering, V/m")
    ap.add_argument("--verbose", action="store_true")
    opt = ap.parse_args()
    if opt.reference_levels and not opt.reference:
        ap.error("--reference-levels needs --reference")
    return opt


def main():
    opt = options()
    par = dict(SETS[opt.set])
    par.update({k: v for k, v in vars(opt).items() if k in par and v is not None})
    for name in ("extended_solver", "extended_model", "extended_equation") if opt.extended else ():
        ds.set_parameter(name=name, value=True)

    start = time.perf_counter()
    carriers, unknowns = build(opt, par)
    setup = time.perf_counter() - start
    reference = load_reference(opt.reference, opt.set, opt.cycles, par["vmax"]) if opt.reference else None
    if opt.reference_levels:
        targets = list(reference[0][1:])
    else:
        targets = time_levels(opt.cycles, 4 * par["vmax"] / opt.rate, opt.dt)

    def vacancies():
        return 0.0 if opt.no_vacancies else float((values("NodeVolume") * values("vac")).sum())

    before = vacancies()
    start, cpu = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_utime
    levels, count = march(opt, par, carriers, unknowns, targets)
    wall = time.perf_counter() - start
    user = resource.getrusage(resource.RUSAGE_SELF).ru_utime - cpu
    steps = max(count["newton"] + count["newton_in_rejected_steps"], 1)
    info = ds.get_parameter(name="info")
    result = dict(
        tool="devsim",
        version=info["version"],
        solver=info.get("custom_solver", info["direct_solver"]),
        set=opt.set,
        cycles=opt.cycles,
        electron_statistics=opt.statistics,
        carriers=[c.name for c in carriers],
        nodes=NODES,
        unknowns=NODES * len(unknowns),
        completed=count["failure"] is None,
        time_reached=levels[-1, 0],
        time_levels=len(levels) - 1,
        **count,
        setup_wall_s=round(setup, 3),
        wall_s=round(wall, 3),
        user_cpu_s=round(user, 3),
        ms_per_newton_wall=round(1e3 * wall / steps, 3),
        ms_per_newton_user=round(1e3 * user / steps, 3),
        vacancy_drift=vacancies() / before - 1 if before else None,
        current_max_A=levels[:, 2].max(),
        current_min_A=levels[:, 2].min(),
    )
    if reference is not None:
        t, current = reference
        keep = (t > 0) & (t <= levels[-1, 0] + 1e-9) & (current > 0)
        mine = np.abs(np.interp(t, levels[:, 0], levels[:, 2]))
        off = np.abs(mine[keep] / current[keep] - 1)
        result["deviation_from_reference"] = dict(
            points=int(keep.sum()), median=np.median(off), p95=np.percentile(off, 95), max=off.max()
        )
    if opt.curve:
        np.savetxt(opt.curve, levels, header="t_s V_V I_A")
    os.write(_stdout, (json.dumps(result, default=float) + "\n").encode())
    return 0 if result["completed"] else 1


if __name__ == "__main__":
    sys.exit(main())
