"""The use case of latencies without a board: what is measured, what can be estimated, and what must be measured."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nas_engine.domain.errors import EngineError
from nas_engine.domain.measuring.environment import HardwareKey
from server.core.database.transaction import Transaction, UnitOfWork
from server.core.errors import ServiceError
from server.fleet.device import HardwareProfile
from server.fleet.enrolment.trust import TRUST
from server.latencies.answer import (
    AnswerKind,
    Estimate,
    FoundMeasurement,
    LatencyAnswer,
    LatencyAnswers,
    MatchedBy,
)
from server.latencies.estimating import estimate_of, lacking, ranked, wanting
from server.latencies.hardware import DTYPES, offered
from server.latencies.networks import NetworkReader
from server.latencies.predictors.predictor import LatencyPredictor, space_key
from server.latencies.predictors.shelf import PredictorShelf
from server.latencies.predictors.store import PredictorStore
from server.latencies.question import AskedDevice, LatencyQuestion, Network
from server.latencies.store import LatencyStore
from server.measuring.measurement import MeasurementKind, measurement_kind


@dataclass(frozen=True, slots=True)
class _Known:
    """What the database holds for one question."""

    networks: tuple[Network, ...]
    by_arch_id: Mapping[str, Sequence[FoundMeasurement]]
    by_key: Mapping[str, Sequence[FoundMeasurement]]
    keys_of: Mapping[str, Sequence[str]]
    offered: tuple[Mapping[str, HardwareProfile], ...]
    current: tuple[Mapping[str, int], ...]
    registered: frozenset[str]
    hardware: Mapping[str, HardwareKey]
    predictors: Sequence[LatencyPredictor]


class LatencyAsking:
    """Answers questions for latencies; asks no board."""

    def __init__(self, uow: UnitOfWork, networks: NetworkReader, shelf: PredictorShelf) -> None:
        self._uow = uow
        self._networks = networks
        self._shelf = shelf

    def ask(self, question: LatencyQuestion) -> LatencyAnswers:
        """Answer for every network on every device type, network by network.

        Raises:
            InvalidSpecError: an architecture is not known, or not of its space.
        """
        known = self._uow.read(lambda tx: self._look(tx, question))
        answers = [
            _from_measurements(known, network, device, number)
            for network in known.networks
            for number, device in enumerate(question.devices)
        ]
        answers, used = self._estimated(known, answers)
        named = {one.hardware_key for one in answers} | {other.hardware_key for one in answers for other in one.others}
        return LatencyAnswers(
            question=question,
            answers=tuple(answers),
            hardware={key: known.hardware[key] for key in sorted(key for key in named if key is not None)},
            predictors=used,
        )

    def _look(self, tx: Transaction, question: LatencyQuestion) -> _Known:
        networks = self._networks.read(tx, question)
        types = {one.device_type for one in question.devices}
        store, valid = LatencyStore(tx), question.require_valid
        arch_ids = {one.arch_id for one in networks if one.arch_id is not None}
        found = store.newest_by_arch_id(arch_ids, types, require_valid=valid) if arch_ids else []
        by_arch_id, by_key, keys_of = defaultdict(list), defaultdict(list), defaultdict(list)
        for one in found:
            if one.arch_id is not None:
                by_arch_id[one.arch_id].append(one)
        keys = dict.fromkeys(question.models, "")
        if question.same_structure:
            keys |= self._keys(question, networks)
            for key, arch_id in keys.items():
                keys_of[arch_id].append(key)
        for one in store.newest_by_latency_key(keys, types, require_valid=valid) if keys else []:
            by_key[one.latency_key].append(one)
        of_type = store.devices_of_types(types)
        offers = tuple(offered(one, of_type[one.device_type]) for one in question.devices)
        spaces = {
            space_key(one.architecture.space_id, one.architecture.parameters)
            for one in networks
            if one.architecture is not None
        }
        predictors = PredictorStore(tx).of_spaces(types, spaces) if spaces else []
        current = {key: profile.key for offer in offers for key, profile in offer.items()}
        rows = (one for group in (by_arch_id, by_key) for some in group.values() for one in some)
        needed = {one.hardware_key for one in rows} | {one.hardware_key for one in predictors}
        return _Known(
            networks=networks,
            by_arch_id=by_arch_id,
            by_key=by_key,
            keys_of=keys_of,
            offered=offers,
            current=tuple({key: place for place, key in enumerate(offer)} for offer in offers),
            registered=frozenset(one for one, some in of_type.items() if some),
            hardware={**store.hardware_of(needed - current.keys()), **current},
            predictors=predictors,
        )

    def _keys(self, question: LatencyQuestion, networks: Sequence[Network]) -> Mapping[str, str]:
        """Latency keys of all architectures, in everything that the devices asked for might mean."""
        dtypes = {one.dtype for one in question.devices}
        batches = {one.batch or 1 for one in question.devices}
        wanted = [one for one in DTYPES if None in dtypes or one in dtypes]
        return self._networks.latency_keys(networks, wanted, sorted(batches))

    def _estimated(
        self, known: _Known, answers: Sequence[LatencyAnswer]
    ) -> tuple[list[LatencyAnswer], dict[str, LatencyPredictor]]:
        """Estimate what was not measured, where there is a predictor of that very space, type and hardware key."""
        waiting: dict[int, list[LatencyPredictor]] = {}
        used: dict[str, LatencyPredictor] = {}
        found = list(answers)
        fitting: dict[tuple[int, str], Sequence[LatencyPredictor]] = {}
        for place, answer in enumerate(answers):
            architecture = answer.network.architecture
            if answer.kind is not AnswerKind.MEASURE_IT or architecture is None or answer.network.genotype is None:
                continue
            place_of = answer.device_index, space_key(architecture.space_id, architecture.parameters)
            if place_of not in fitting:
                of_space = [one for one in known.predictors if one.space_key == place_of[1]]
                current = known.current[answer.device_index]
                fitting[place_of] = ranked(of_space, answer.device, known.hardware, current)
            fitted = [one for one in fitting[place_of] if one.artifact_sha256 is not None]
            if fitted:
                waiting[place] = fitted
            else:
                found[place] = replace(answer, reason=answer.reason + wanting(fitting[place_of]))
        while waiting:  # where the best cannot say, the next is asked
            groups: dict[str, list[int]] = defaultdict(list)
            for place, left in waiting.items():
                groups[left[0].id].append(place)
            for places in groups.values():
                predictor = waiting[places[0]][0]
                genotypes = [answers[place].network.genotype or () for place in places]
                for place, estimate in zip(places, self._estimates(predictor, genotypes), strict=True):
                    if isinstance(estimate, str):
                        found[place] = replace(found[place], reason=f"{found[place].reason}; {estimate}")
                        waiting[place] = waiting[place][1:]
                        if not waiting[place]:
                            del waiting[place]
                        continue
                    del waiting[place]
                    used[predictor.id] = predictor
                    found[place] = replace(
                        found[place],
                        kind=AnswerKind.ESTIMATED,
                        estimate=estimate,
                        hardware_key=predictor.hardware_key,
                        is_current=predictor.hardware_key in known.current[answers[place].device_index],
                        reason="",
                    )
        return found, used

    def _estimates(self, predictor: LatencyPredictor, genotypes: Sequence[tuple[int, ...]]) -> list[Estimate | str]:
        """What a predictor or table says of networks, or why it says nothing."""
        try:
            said = self._shelf.estimate(predictor, genotypes)
        except (EngineError, ServiceError) as error:
            return [f"not estimated: {error}"] * len(genotypes)
        rows = zip(said.values.tolist(), said.low.tolist(), said.high.tolist(), strict=True)
        return [
            lacking(predictor) if math.isnan(value) else estimate_of(predictor, value, low, high)
            for value, low, high in rows
        ]


def _from_measurements(known: _Known, network: Network, device: AskedDevice, number: int) -> LatencyAnswer:
    """The answer by what was measured; "measure it" where nothing that is meant was."""
    found: dict[str, tuple[FoundMeasurement, MatchedBy]] = {}
    for one, matched_by in _rows(known, network):
        key = known.hardware[one.hardware_key]
        if one.device_type == device.device_type and device.admits(one.hardware_key, key, is_model=network.is_model):
            found.setdefault(one.hardware_key, (one, matched_by))
    current = known.current[number]

    def rank(pair: tuple[FoundMeasurement, MatchedBy]) -> tuple[int, int]:
        one = pair[0]
        return -TRUST.index(one.device_class), current.get(one.hardware_key, len(current))

    # Sorting keeps the order of equals: the newest of those that no device offers any longer come first.
    newest = sorted(found.values(), key=lambda pair: pair[0].id, reverse=True)
    ranked = sorted(newest, key=rank)
    if not ranked:
        offer = known.offered[number]
        return LatencyAnswer(
            network=network,
            device=device,
            device_index=number,
            kind=AnswerKind.MEASURE_IT,
            hardware_key=next(iter(offer), None),
            is_current=bool(offer),
            reason=_why_not(known, network, device, number),
        )
    (best, matched_by), *others = ranked
    is_simulated = measurement_kind(best.device_class) is MeasurementKind.SIMULATED
    return LatencyAnswer(
        network=network,
        device=device,
        device_index=number,
        kind=AnswerKind.SIMULATED if is_simulated else AnswerKind.MEASURED,
        hardware_key=best.hardware_key,
        is_current=best.hardware_key in current,
        measurement=best,
        matched_by=matched_by,
        others=tuple(one for one, _ in others),
    )


def _rows(known: _Known, network: Network) -> list[tuple[FoundMeasurement, MatchedBy]]:
    if network.is_model:
        return [(one, MatchedBy.MODEL) for one in known.by_key.get(network.model_sha256 or "", ())]
    arch_id = network.arch_id or ""
    own = [(one, MatchedBy.ARCHITECTURE) for one in known.by_arch_id.get(arch_id, ())]
    alike = [one for key in known.keys_of.get(arch_id, ()) for one in known.by_key.get(key, ())]
    return own + [(one, MatchedBy.STRUCTURE) for one in alike]


def _why_not(known: _Known, network: Network, device: AskedDevice, number: int) -> str:
    if device.device_type not in known.registered:
        return f"no device of type {device.device_type!r} is registered, and none measured it"
    what = "this model" if network.is_model else "this architecture"
    if not known.offered[number]:
        return f"nobody measured {what} under what is asked, and no device of the type offers that"
    return f"nobody measured {what} there" + ("; models are not estimated" if network.is_model else "")
