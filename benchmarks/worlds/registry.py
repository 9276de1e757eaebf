"""Every family of worlds by name. A new one is a line here and, where no maker fits, a dozen lines beside the others.

Settings are chosen on the TUNING families. The REPORTED ones are searched for the table that claims are read from;
"macro" is among them although the settings of earlier versions were chosen on it.
"""

from __future__ import annotations

from collections.abc import Callable

from worlds.generated import Landscape, cell_world, landscape_world
from worlds.real import FBNET_FILE, MACRO_FILE, OFA_FILE, data_folder, fbnet_world, macro_world, ofa_world
from worlds.world import Family, Role, World


def _landscapes(name: str, shape: Landscape, first_seed: int, **options) -> Callable[[int], World]:  # type: ignore[no-untyped-def]
    return lambda instance: landscape_world(name, shape, first_seed + instance, **options)


def _cells(name: str, first_seed: int, num_nodes: int, operators: str) -> Callable[[int], World]:
    return lambda instance: cell_world(name, first_seed + instance, num_nodes=num_nodes, operators=operators.split())


def _generated(name: str, about: str, role: Role, make: Callable[..., Callable[[int], World]], num: int, *a, **k):  # type: ignore[no-untyped-def]
    return Family(name, about, role, make(name, *a, **k), num)


_TUNING = (
    _generated(
        "t-cells",
        "10 genes of 3: cells of 5 nodes with paths that break, 59,049 rows",
        Role.TUNING,
        _cells,
        10,
        100,
        5,
        "none skip conv3",
    ),
    _generated(
        "t-additive",
        "9 genes of 4, additive, 262,144 rows",
        Role.TUNING,
        _landscapes,
        10,
        Landscape(num_choices=(4,) * 9),
        200,
    ),
    _generated(
        "t-pairs",
        "7 genes of 5 in order of size, pairs, plateaus, 78,125 rows",
        Role.TUNING,
        _landscapes,
        10,
        Landscape(num_choices=(5,) * 7, pairs=1.0, ordinal=True, step=0.002),
        300,
    ),
    _generated(
        "t-small",
        "6 genes of 4, pairs, jitter, 4,096 rows",
        Role.TUNING,
        _landscapes,
        10,
        Landscape(num_choices=(4,) * 6, pairs=1.0, jitter=0.002),
        400,
    ),
    _generated(
        "t-large",
        "24 genes of 6, pairs and triples",
        Role.TUNING,
        _landscapes,
        3,
        Landscape(num_choices=(6,) * 24, pairs=1.0, triples=0.5),
        500,
    ),
    _generated(
        "t-three",
        "7 genes of 5, pairs, three objectives, 78,125 rows",
        Role.TUNING,
        _landscapes,
        10,
        Landscape(num_choices=(5,) * 7, pairs=1.0),
        600,
        three=True,
    ),
)

_REPORTED = (
    Family(
        "macro",
        "NAS-Bench-Macro: 8 genes of 3, accuracy and MACs, 6,561 rows",
        Role.REPORTED,
        macro_world,
        needs=MACRO_FILE,
    ),
    Family(
        "ofa",
        "OFA-MobileNetV3, surrogate: 45 genes of 3 with depths, accuracy and MACs",
        Role.REPORTED,
        ofa_world,
        needs=OFA_FILE,
    ),
    Family(
        "fbnet",
        "FBNet, 27 devices' latencies (surrogate), made accuracy: 22 genes of 9",
        Role.REPORTED,
        fbnet_world,
        27,
        FBNET_FILE,
    ),
    _generated(
        "cells",
        "6 genes of 5: cells of 4 nodes with paths that break, 15,625 rows",
        Role.REPORTED,
        _cells,
        30,
        1000,
        4,
        "none skip conv1 conv3 pool",
    ),
    _generated(
        "additive", "22 genes of 7, additive", Role.REPORTED, _landscapes, 3, Landscape(num_choices=(7,) * 22), 1100
    ),
    _generated(
        "pairs",
        "8 genes of 3 to 6, pairs, 77,760 rows",
        Role.REPORTED,
        _landscapes,
        30,
        Landscape(num_choices=(6, 3, 5, 4, 3, 6, 4, 3), pairs=1.5),
        1200,
    ),
    _generated(
        "triples",
        "40 genes of 3, pairs and triples, three in ten genes dead",
        Role.REPORTED,
        _landscapes,
        3,
        Landscape(num_choices=(3,) * 40, pairs=0.5, triples=1.0, dead=0.3),
        1300,
    ),
    _generated(
        "binary",
        "60 genes of 2, pairs, jitter",
        Role.REPORTED,
        _landscapes,
        3,
        Landscape(num_choices=(2,) * 60, pairs=1.0, jitter=0.001),
        1400,
    ),
    _generated(
        "wide",
        "4 genes of 13 in order of size, pairs, plateaus, 28,561 rows",
        Role.REPORTED,
        _landscapes,
        30,
        Landscape(num_choices=(13,) * 4, pairs=1.0, ordinal=True, step=0.004),
        1500,
    ),
    _generated(
        "three",
        "12 genes of 5, pairs and triples, three objectives",
        Role.REPORTED,
        _landscapes,
        3,
        Landscape(num_choices=(5,) * 12, pairs=0.5, triples=0.5),
        1600,
        three=True,
    ),
    _generated(
        "bounded",
        "14 genes of 5, pairs; accuracy and params, latency in the lowest tenth",
        Role.REPORTED,
        _landscapes,
        3,
        Landscape(num_choices=(5,) * 14, pairs=1.0),
        1700,
        size_for_latency=True,
        latency_quantile=0.1,
    ),
    _generated(
        "noisy",
        "7 genes of 6, pairs, measured with noise, 279,936 rows",
        Role.REPORTED,
        _landscapes,
        10,
        Landscape(num_choices=(6,) * 7, pairs=1.0),
        1800,
        relative_noise=(0.004, 0.03),
    ),
)

FAMILIES = {family.name: family for family in (*_TUNING, *_REPORTED)}


def families(role: Role) -> list[Family]:
    """Families of one role whose data is there, in the order of the table."""
    return [f for f in FAMILIES.values() if f.role is role and is_there(f)]


def is_there(family: Family) -> bool:
    """Whether the data folder holds what a family needs."""
    return not family.needs or (data_folder() / family.needs).is_file()
