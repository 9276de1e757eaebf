"""Every family of worlds by name. A new one is an entry here and, where no maker fits, a dozen lines beside the others.

Settings are chosen on the TUNING families. The REPORTED ones are searched for the table that claims are read from;
"macro" is among them although the settings of earlier versions were chosen on it.
"""

from __future__ import annotations

from worlds.generated import Landscape, cell_world, landscape_world
from worlds.real import FBNET_FILE, MACRO_FILE, OFA_FILE, data_folder, fbnet_world, macro_world, ofa_world
from worlds.world import Family, Role

_TUNING = (
    Family(
        "t-cells",
        "10 genes of 3: cells of 5 nodes with paths that break, 59,049 rows",
        Role.TUNING,
        lambda i: cell_world("t-cells", 100 + i, num_nodes=5, operators=("none", "skip", "conv3")),
        num_instances=10,
    ),
    Family(
        "t-additive",
        "9 genes of 4, additive, 262,144 rows",
        Role.TUNING,
        lambda i: landscape_world("t-additive", Landscape(num_choices=(4,) * 9), 200 + i),
        num_instances=10,
    ),
    Family(
        "t-pairs",
        "7 genes of 5 in order of size, pairs, plateaus, 78,125 rows",
        Role.TUNING,
        lambda i: landscape_world(
            "t-pairs", Landscape(num_choices=(5,) * 7, pairs=1.0, ordinal=True, step=0.002), 300 + i
        ),
        num_instances=10,
    ),
    Family(
        "t-small",
        "6 genes of 4, pairs, jitter, 4,096 rows",
        Role.TUNING,
        lambda i: landscape_world("t-small", Landscape(num_choices=(4,) * 6, pairs=1.0, jitter=0.002), 400 + i),
        num_instances=10,
    ),
    Family(
        "t-large",
        "24 genes of 6, pairs and triples",
        Role.TUNING,
        lambda i: landscape_world("t-large", Landscape(num_choices=(6,) * 24, pairs=1.0, triples=0.5), 500 + i),
        num_instances=3,
    ),
    Family(
        "t-three",
        "7 genes of 5, pairs, three objectives, 78,125 rows",
        Role.TUNING,
        lambda i: landscape_world("t-three", Landscape(num_choices=(5,) * 7, pairs=1.0), 600 + i, three=True),
        num_instances=10,
    ),
)

_REPORTED = (
    Family(
        "macro",
        "NAS-Bench-Macro: 8 genes of 3, accuracy and MACs, 6,561 rows",
        Role.REPORTED,
        lambda _: macro_world(),
        needs=MACRO_FILE,
    ),
    Family(
        "ofa",
        "OFA-MobileNetV3, surrogate: 45 genes of 3, depths among them, accuracy and MACs",
        Role.REPORTED,
        lambda _: ofa_world(),
        needs=OFA_FILE,
    ),
    Family(
        "fbnet",
        "FBNet, 22 genes of 9: latencies of 27 devices (surrogate), accuracy of our making",
        Role.REPORTED,
        fbnet_world,
        num_instances=27,
        needs=FBNET_FILE,
    ),
    Family(
        "cells",
        "6 genes of 5: cells of 4 nodes with paths that break, 15,625 rows",
        Role.REPORTED,
        lambda i: cell_world("cells", 1000 + i, num_nodes=4, operators=("none", "skip", "conv1", "conv3", "pool")),
        num_instances=30,
    ),
    Family(
        "additive",
        "22 genes of 7, additive",
        Role.REPORTED,
        lambda i: landscape_world("additive", Landscape(num_choices=(7,) * 22), 1100 + i),
        num_instances=3,
    ),
    Family(
        "pairs",
        "8 genes of 3 to 6, pairs, 77,760 rows",
        Role.REPORTED,
        lambda i: landscape_world("pairs", Landscape(num_choices=(6, 3, 5, 4, 3, 6, 4, 3), pairs=1.5), 1200 + i),
        num_instances=30,
    ),
    Family(
        "triples",
        "40 genes of 3, pairs and triples, three in ten genes dead",
        Role.REPORTED,
        lambda i: landscape_world(
            "triples", Landscape(num_choices=(3,) * 40, pairs=0.5, triples=1.0, dead=0.3), 1300 + i
        ),
        num_instances=3,
    ),
    Family(
        "binary",
        "60 genes of 2, pairs, jitter",
        Role.REPORTED,
        lambda i: landscape_world("binary", Landscape(num_choices=(2,) * 60, pairs=1.0, jitter=0.001), 1400 + i),
        num_instances=3,
    ),
    Family(
        "wide",
        "4 genes of 13 in order of size, pairs, plateaus, 28,561 rows",
        Role.REPORTED,
        lambda i: landscape_world(
            "wide", Landscape(num_choices=(13,) * 4, pairs=1.0, ordinal=True, step=0.004), 1500 + i
        ),
        num_instances=30,
    ),
    Family(
        "three",
        "12 genes of 5, pairs and triples, three objectives",
        Role.REPORTED,
        lambda i: landscape_world(
            "three", Landscape(num_choices=(5,) * 12, pairs=0.5, triples=0.5), 1600 + i, three=True
        ),
        num_instances=3,
    ),
    Family(
        "bounded",
        "14 genes of 5, pairs: accuracy and params, latency within the lowest tenth",
        Role.REPORTED,
        lambda i: landscape_world(
            "bounded",
            Landscape(num_choices=(5,) * 14, pairs=1.0),
            1700 + i,
            size_for_latency=True,
            latency_quantile=0.1,
        ),
        num_instances=3,
    ),
    Family(
        "noisy",
        "7 genes of 6, pairs, measured with noise (0.4 % of accuracy, 3 % of latency), 279,936 rows",
        Role.REPORTED,
        lambda i: landscape_world(
            "noisy", Landscape(num_choices=(6,) * 7, pairs=1.0), 1800 + i, relative_noise=(0.004, 0.03)
        ),
        num_instances=10,
    ),
)

FAMILIES = {family.name: family for family in (*_TUNING, *_REPORTED)}


def families(role: Role) -> list[Family]:
    """Families of one role whose data is there, in the order of the table."""
    return [family for family in FAMILIES.values() if family.role is role and is_there(family)]


def is_there(family: Family) -> bool:
    """Whether the data folder holds what a family needs."""
    return not family.needs or (data_folder() / family.needs).is_file()
