"""Networks: training ordered, followed, cancelled; what comes of it published."""

from __future__ import annotations

from dataclasses import replace

from nas_engine.domain.errors import EngineError
from nas_engine.domain.json_value import JsonValue
from nas_engine.settings.training import NetworkSpec
from server.access.principal import NOBODY, Creator
from server.artifacts.store import ArtifactStore
from server.core.database.transaction import Transaction
from server.core.errors import InvalidSpecError, NotFoundError, SpecViolation
from server.core.ids import IdPrefix, new_id
from server.core.transitions import check_transition
from server.jobs.completion import cancel_job, complete_job
from server.jobs.job import LeaseRef
from server.jobs.queue import JobStore
from server.training.deployables import RetrainedModel, order_retrained
from server.training.lifecycle import end_network
from server.training.networks.network import Network, NetworkWeights
from server.training.networks.store import NetworkStore
from server.training.store import SupernetStore
from server.training.training import TRAINING_TRANSITIONS, TrainingState
from server.training.trainings import Trainings


class Networks(Trainings[Network]):
    """Use cases of networks that are trained by themselves."""

    store = NetworkStore

    def create_network(self, spec: NetworkSpec, creator: Creator = NOBODY, place: str = "") -> Network:
        """Queue the training of a network; `place` is where its document has the architecture.

        Raises:
            InvalidSpecError: it cannot be trained; every reason is given.
        """
        self._check(spec, place)
        return self._uow.write(lambda tx: self._queue(tx, _new(tx, spec, creator), spec))

    def register(
        self,
        spec: NetworkSpec,
        weights_sha256: str,
        statistics: JsonValue = None,
        creator: Creator = NOBODY,
        place: str = "",
    ) -> Network:
        """Take in a network that was trained elsewhere: READY at once; `place` as in `create_network`.

        Raises:
            InvalidSpecError: the spec names an unknown space or data set, or an architecture that is not of the space.
            NotFoundError: the weights are no artifact.
        """
        self._check(spec, place)

        def work(tx: Transaction) -> Network:
            network = _new(tx, spec, creator)
            NetworkStore(tx).add_training(network)
            return self._publish(tx, network, weights_sha256, statistics)

        return self._uow.write(work)

    def finish_training(
        self, lease: LeaseRef, weights_sha256: str, statistics: JsonValue, model: RetrainedModel
    ) -> Network | None:
        """Publish the trained weights, end the TRAIN job, and order the model file that the spec asks for beside ONNX.

        Returns:
            What is published; None where the training was cancelled meanwhile.

        Raises:
            LeaseLostError: somebody else trains it by now; nothing is written.
            NotFoundError: the weights are no artifact.
        """

        def work(tx: Transaction) -> Network | None:
            network = self._lock_leased(tx, lease)
            job = JobStore(tx).get_job(lease.job_id)
            if network.state is TrainingState.CANCELLED:
                cancel_job(tx, job)
                return None
            network = self._publish(tx, network, weights_sha256, statistics)
            complete_job(tx, job, {"weights_sha256": weights_sha256})
            order_retrained(tx, network, model, self._settings.max_evaluation_attempts)
            return network

        return self._uow.write(work)

    def _check(self, spec: NetworkSpec, place: str) -> None:
        space, found = self._misplaced(spec)
        violations = [*found]
        if spec.architecture is None:
            message = "which architecture? Give a published name, a genotype, or the space's own form"
            violations.append(SpecViolation(f"{place}/architecture", message))
        elif space is not None:
            try:
                self._spaces.record(spec.space.id, spec.space.parameters, spec.architecture)
            except EngineError as error:
                violations.append(SpecViolation(f"{place}/architecture", str(error)))
        if (version_id := spec.inherit_from) is not None:
            try:
                self._uow.read(lambda tx: SupernetStore(tx).get_supernet_version(version_id))
            except NotFoundError as error:
                violations.append(SpecViolation(f"{place}/inherit_from", str(error)))
        if violations:
            raise InvalidSpecError(violations)

    def _publish(self, tx: Transaction, network: Network, sha256: str, statistics: JsonValue) -> Network:
        ArtifactStore(tx).get_artifact(sha256)
        check_transition("network", network.id, TRAINING_TRANSITIONS, network.state, TrainingState.READY)
        now = tx.now()
        weights = NetworkWeights(id=new_id(IdPrefix.WEIGHTS), sha256=sha256, statistics=statistics, created_at=now)
        return self._save(tx, replace(network, state=TrainingState.READY, weights=weights, finished_at=now))

    def _end(self, tx: Transaction, id: str, state: TrainingState, reason: str) -> None:
        end_network(tx, id, state, reason)


def _new(tx: Transaction, spec: NetworkSpec, creator: Creator) -> Network:
    return Network(
        id=new_id(IdPrefix.NETWORK),
        spec=spec,
        state=TrainingState.QUEUED,
        created_by=creator.token_id,
        owner=creator.owner,
        created_at=tx.now(),
    )
