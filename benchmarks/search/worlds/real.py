"""Worlds of published data, read from the data folder (HILNAS_DATA): a whole table, and surrogates of two samples.

A surrogate answers for every genotype what a model fitted to the published rows predicts; `held_out_errors` says how
far it is off on rows that it has not seen.
"""

from __future__ import annotations

import csv
import os
from functools import cache
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import Ridge

from nas_engine.domain.metric import Goal
from nas_engine.domain.metrics import MACS, TOP1
from nas_engine.domain.objective import Objective
from nas_engine.domain.search_space import Gene, GeneKind
from nas_engine.spaces.tables.files import nas_bench_macro
from worlds.function_space import FunctionSpace
from worlds.generated import ACCURACY, LATENCY
from worlds.world import Floats, Ints, World

MACRO_FILE = "nasbench_macro_cifar10.npz"
OFA_FILE = "ofa_mbv3_imagenet_accuracy.csv"
FBNET_FILE = "fbnet_latency.npz"
FBNET_STAGES = (1, 4, 4, 4, 4, 4, 1)
"""Searchable layers per stage of FBNet (Wu et al. 2019, Table 1)."""
KINDS = np.asarray([0, 0, 1, 2, 0, 0, 1, 2, 3])
"""Expansion of each operator of FBNet as a class: 1, 3, 6, or none where the layer is skipped."""
FEWER_MACS = Objective(MACS, Goal.MINIMIZE)
NUM_HELD_OUT = 400


def data_folder() -> Path:
    """HILNAS_DATA; a folder that does not exist where it is unset."""
    return Path(os.environ.get("HILNAS_DATA") or "/none")


def macro_world() -> World:
    """NAS-Bench-Macro (CIFAR-10): all 6,561 networks of 8 layers and 3 operators, accuracy against MACs."""
    table = nas_bench_macro(data_folder() / MACRO_FILE)
    rows = {g: [table.lookup(g)[m].value for m in (TOP1, MACS)] for g in table.rows}
    return World(
        "macro",
        FunctionSpace("macro", table.genes),
        (ACCURACY, FEWER_MACS),
        lambda x: np.asarray([rows[tuple(genotype)] for genotype in x.tolist()]),
    )


def ofa_world() -> World:
    """OFA-MobileNetV3 (ImageNet): 20 kernels, 20 expansions, 5 depths; accuracy against MACs, both surrogates."""
    accuracy, macs = _ofa_surrogates(0)
    genes = tuple(
        Gene(f"{what}{stage}.{layer}", options, f"stage{stage}")
        for what, options in (("ks", ("3", "5", "7")), ("e", ("3", "4", "6")))
        for stage in range(5)
        for layer in range(4)
    ) + tuple(Gene(f"d{stage}", ("2", "3", "4"), f"stage{stage}", GeneKind.STRUCTURAL) for stage in range(5))

    def values_of(x: Ints) -> Floats:
        return np.stack([accuracy(x), macs(x)], axis=1)

    return World("ofa", FunctionSpace("ofa", genes, _without_absent_layers), (ACCURACY, FEWER_MACS), values_of)


def fbnet_world(instance: int) -> World:
    """FBNet: measured latency (surrogate) of device setting `instance`, and a smooth accuracy of our making.

    Accuracy saturates in the sum of what each layer's kernel and expansion give, weighted by place, and falls where
    two neighbours are both skipped.
    """
    architectures, latency_ms, names = _fbnet_rows()
    latency = _fbnet_latency(architectures, latency_ms[:, instance], len(names))
    rng = np.random.default_rng(22)
    place = rng.lognormal(0.0, 0.3, architectures.shape[1])
    gain = np.asarray([0.55, 0.45, 0.8, 1.0, 0.65, 0.5, 0.9, 1.08, 0.0])
    taste = rng.normal(0.0, 0.06, (architectures.shape[1], len(names)))
    columns, skip = np.arange(architectures.shape[1]), names.index("skip")

    def values_of(x: Ints) -> Floats:
        quality = ((gain[x] + taste[columns, x]) * place).sum(axis=1) / place.sum()
        broken = ((x[:, 1:] == skip) & (x[:, :-1] == skip)).sum(axis=1)
        return np.stack([0.80 - 0.28 * np.exp(-2.2 * quality) - 0.002 * broken, 1000.0 * latency(x)], axis=1)

    stages = [stage for stage, num_layers in enumerate(FBNET_STAGES) for _ in range(num_layers)]
    genes = tuple(Gene(f"layer{i}", names, f"stage{stage}") for i, stage in enumerate(stages))
    return World("fbnet", FunctionSpace("fbnet", genes), (ACCURACY, LATENCY), values_of)


def held_out_errors() -> list[str]:
    """How far each surrogate is off on rows that it was not fitted to, one line each; none without the data."""
    lines = []
    if (data_folder() / OFA_FILE).is_file():
        x, top1, macs = _ofa_rows()
        held_out = _held_out(len(x))
        accuracy, cost = _ofa_surrogates(NUM_HELD_OUT)
        lines.append(_error("ofa top1", "percentage points", 100 * accuracy(x[held_out]), 100 * top1[held_out]))
        lines.append(_error("ofa MACs", "M", cost(x[held_out]) / 1e6, macs[held_out] / 1e6))
    if (data_folder() / FBNET_FILE).is_file():
        architectures, latency_ms, names = _fbnet_rows()
        held_out = _held_out(len(architectures))
        fitted = np.setdiff1d(np.arange(len(architectures)), held_out)
        taus, shares = [], []
        for device in range(latency_ms.shape[1]):
            predict = _fbnet_latency(architectures[fitted], latency_ms[fitted, device], len(names))
            predicted, truth = predict(architectures[held_out]), latency_ms[held_out, device]
            taus.append(kendalltau(predicted, truth).statistic)
            shares.append(np.abs(predicted / truth - 1).mean())
        lines.append(
            f"fbnet latency, {len(taus)} devices: mean error {100 * np.mean(shares):.1f} %, Kendall's tau "
            f"{np.mean(taus):.3f} ({min(taus):.3f} to {max(taus):.3f}) on {NUM_HELD_OUT} held-out rows"
        )
    return lines


def _error(what: str, unit: str, predicted: Floats, truth: Floats) -> str:
    rmse = float(np.sqrt(np.mean((predicted - truth) ** 2)))
    return (
        f"{what}: root mean square error {rmse:.3g} {unit} (spread {truth.std():.3g}), Kendall's tau "
        f"{kendalltau(predicted, truth).statistic:.3f} on {len(truth)} held-out rows"
    )


def _held_out(num_rows: int) -> Ints:
    chosen: Ints = np.random.default_rng(0).permutation(num_rows)[:NUM_HELD_OUT]
    return chosen


def _without_absent_layers(x: Ints) -> Ints:
    """Kernel and expansion of layers beyond a stage's depth at 0."""
    absent = (np.arange(4) >= x[:, 40:, None] + 2).reshape(len(x), 20)
    return np.where(np.concatenate([absent, absent, np.zeros_like(x[:, 40:], dtype=np.bool_)], axis=1), 0, x)


@cache
def _ofa_rows() -> tuple[Ints, Floats, Floats]:
    """Genotypes, top-1 as a fraction, MACs."""
    with (data_folder() / OFA_FILE).open() as file:
        rows = list(csv.DictReader(file))
    index = {"ks": ("3", "5", "7"), "e": ("3", "4", "6"), "d": ("2", "3", "4")}
    genotypes = [[index[key].index(value) for key in index for value in row[key].split()] for row in rows]
    top1 = np.asarray([float(row["top1_imagenet"]) / 100 for row in rows])
    return _without_absent_layers(np.asarray(genotypes)), top1, np.asarray([float(row["macs"]) for row in rows])


def _ofa_features(x: Ints) -> Floats:
    """(N, 5 x 4 x 10) indicators per layer: present, and each kernel, each expansion and MACs-like products of them."""
    kernel, expand, depth = x[:, :20].reshape(-1, 5, 4), x[:, 20:40].reshape(-1, 5, 4), x[:, 40:] + 2
    present = (np.arange(4) < depth[:, :, None]).astype(np.float64)
    kernels, expansions = np.asarray([3.0, 5.0, 7.0])[kernel], np.asarray([3.0, 4.0, 6.0])[expand]
    parts = [present, *(present * (kernel == k) for k in (1, 2)), *(present * (expand == e) for e in (1, 2))]
    parts.append(present * kernels**2 * expansions / 50.0)
    return np.concatenate([part.reshape(len(x), -1) for part in parts], axis=1)


@cache
def _ofa_surrogates(num_held_out: int):  # type: ignore[no-untyped-def]  # two functions of genotypes
    x, top1, macs = _ofa_rows()
    fitted = np.setdiff1d(np.arange(len(x)), _held_out(len(x))[:num_held_out])
    features = _ofa_features(x)
    mean, deviation = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-9)
    linear = Ridge(1e-6).fit(features[fitted], macs[fitted])
    sample = fitted[:500]
    kernel = ConstantKernel(1.0) * RBF(20.0, (1, 1e3)) + WhiteKernel(0.01)
    scaled, usual = (features - mean) / deviation, float(top1[fitted].mean())
    process = GaussianProcessRegressor(kernel, random_state=0).fit(scaled[sample], 100 * (top1[sample] - usual))
    final = GaussianProcessRegressor(process.kernel_, optimizer=None).fit(scaled[fitted], 100 * (top1[fitted] - usual))
    amplitude, length = final.kernel_.k1.k1.constant_value, final.kernel_.k1.k2.length_scale
    known = scaled[fitted] / length
    known_squared, coefficients, intercept = (known**2).sum(axis=1), linear.coef_, linear.intercept_

    # Searches ask for one genotype at a time, which is why neither goes through scikit-learn's checks of its input.
    def accuracy(genotypes: Ints) -> Floats:
        asked = (_ofa_features(genotypes) - mean) / deviation / length
        squared = (asked**2).sum(axis=1)[:, None] + known_squared - 2.0 * asked @ known.T
        return np.asarray(amplitude * np.exp(-0.5 * squared) @ final.alpha_) / 100 + usual

    def cost(genotypes: Ints) -> Floats:
        return np.asarray(np.round(_ofa_features(genotypes) @ coefficients + intercept))

    return accuracy, cost


@cache
def _fbnet_rows() -> tuple[Ints, Floats, tuple[str, ...]]:
    with np.load(data_folder() / FBNET_FILE, allow_pickle=False) as file:
        return (
            file["arch"].astype(np.int64),
            file["latency_ms"].astype(np.float64),
            tuple(str(name) for name in file["op_names"]),
        )


def _fbnet_latency(architectures: Ints, latency_ms: Floats, num_options: int):  # type: ignore[no-untyped-def]
    """A ridge regression on operators per layer and on pairs of neighbours, as a function of genotypes."""

    def features(x: Ints) -> Floats:
        one_hot = np.eye(num_options)[x].reshape(len(x), -1)
        kinds = KINDS[x]
        pairs = np.eye(16)[4 * kinds[:, :-1] + kinds[:, 1:]].reshape(len(x), -1)
        return np.concatenate([one_hot, 0.3 * pairs], axis=1)

    model = Ridge(1.0).fit(features(architectures), latency_ms)
    num_layers, lowest = architectures.shape[1], 0.5 * latency_ms.min()
    per_layer = model.coef_[: num_layers * num_options].reshape(num_layers, num_options)
    per_pair = 0.3 * model.coef_[num_layers * num_options :].reshape(num_layers - 1, 16)
    layers, joints = np.arange(num_layers), np.arange(num_layers - 1)

    def latency(x: Ints) -> Floats:
        kinds = KINDS[x]
        total = model.intercept_ + per_layer[layers, x].sum(axis=1)
        total += per_pair[joints, 4 * kinds[:, :-1] + kinds[:, 1:]].sum(axis=1)
        return np.maximum(total, lowest)

    return latency
