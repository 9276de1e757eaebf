"""Published models of the SCARLET spaces as genotypes.

Indices: 0-5 = e3k3, e3k5, e3k7, e6k3, e6k5, e6k7 (seed footnote 1). S1: 6 = skip. S2 has no published
numbering; ours is 6-11 = the same six with squeeze-and-excite, 12 = skip.

FairNAS-A: public re-implementations disagree about layer 13; e6k3 is the one that gives the measured
388.12M MACs.
"""

from __future__ import annotations

from nas_engine.domain.search_space import NamedArchitecture

_SEED = "SCARLET-NAS supplementary material, Table 2"
_SCARLET = "xiaomi-automl/SCARLET-NAS models/Scarlet_{}.py"
_FAIRNAS = "xiaomi-automl/FairNAS models/FairNAS_{}.py (same backbone, no skips)"

PUBLISHED_S1 = (
    NamedArchitecture("fairnas-a", [2, 0, 2, 3, 5, 0, 0, 5, 5, 1, 3, 1, 1, 3, 3, 5, 3, 5, 4], _FAIRNAS.format("A")),
    NamedArchitecture("fairnas-b", [1, 0, 1, 0, 3, 1, 2, 0, 3, 1, 0, 3, 2, 0, 5, 4, 5, 3, 4], _FAIRNAS.format("B")),
    NamedArchitecture("fairnas-c", [1, 0, 2, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 5, 5, 3, 3, 4], _FAIRNAS.format("C")),
    NamedArchitecture("all-identity", [6] * 19, _SEED),
    NamedArchitecture("all-k7e6", [5] * 19, _SEED),
    NamedArchitecture("all-k3e3", [0] * 19, "uniform architecture of S1"),
)

PUBLISHED_S2 = (
    NamedArchitecture("scarlet-a", [2, 4, 1, 8, 9, 7, 9, 0, 8, 2, 1, 8, 0, 8, 9, 10, 6, 9, 11], _SCARLET.format("A")),
    NamedArchitecture(
        "scarlet-b", [6, 7, 6, 11, 0, 1, 11, 6, 12, 1, 6, 6, 11, 6, 10, 10, 12, 11, 10], _SCARLET.format("B")
    ),
    NamedArchitecture(
        "scarlet-c", [7, 6, 7, 12, 12, 0, 11, 6, 6, 1, 8, 2, 6, 8, 6, 12, 9, 11, 10], _SCARLET.format("C")
    ),
    NamedArchitecture("all-identity", [12] * 19, _SEED),
    NamedArchitecture("all-k7e6", [5] * 19, _SEED),
    NamedArchitecture("all-k7e6-se", [11] * 19, "uniform architecture of S2"),
)
