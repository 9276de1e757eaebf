"""Real things of several principals, made through the service, for tests of who may do what to whose."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx2
import numpy as np

from nas_engine.cost.cost_table import MEDIA_TYPE as COST_TABLE
from nas_engine.domain.measuring.classification import compress_predictions
from nas_engine.domain.measuring.environment import Dtype
from server.access.permissions import Kind
from server.access.principal import Creator, Principal
from server.access.token import ApiToken, Role
from server.access.tokens import EnrolmentTokens, Tokens
from server.artifacts.artifact import Artifact
from server.artifacts.artifacts import Artifacts
from server.artifacts.model_check import ModelFacts
from server.candidates.candidate import Candidate, CandidateQuery
from server.candidates.candidate_store import CandidateStore
from server.candidates.search_store import SearchStore
from server.candidates.states import EvaluationSource
from server.classifying.classification import ClassificationRecord
from server.classifying.store import ClassificationStore
from server.core.database.transaction import Transaction
from server.core.ids import IdPrefix, new_id
from server.fleet.device import Device
from server.jobs.settings import SearchSettings
from server.latencies.known_hardware import KnownHardware
from server.latencies.predictors.predictor import LatencyPredictor, space_key
from server.latencies.predictors.store import PredictorStore
from server.latency_tables.batch import Batch, Sampling
from server.latency_tables.store import BatchStore
from server.measuring.queries import Latencies, ModelMeasurementSpec
from server.searches.trials.orders import order_trial
from server.searches.what_if.spec import parse_what_if_spec
from server.searches.what_if.store import WhatIfStore
from server.searches.what_if.what_if import WhatIf
from server.spaces.catalog import SpaceCatalog
from tests.support.worlds.api_world import ADMIN, SMALL_PARAMETERS, SMALL_SPACE, World, cheap_spec, latency_spec

TRAINING: dict[str, Any] = {
    "space": {"id": "spos", "parameters": {**SMALL_PARAMETERS, "input_channels": 1}},
    "dataset": "fashion-mnist-12k",
    "epochs": 1,
}
NETWORK: dict[str, Any] = {**TRAINING, "architecture": [0] * 4}
TABLE: dict[str, Any] = {"space": SMALL_SPACE, "device": {"device_type": "rk3588"}}
OUTSIDE: dict[str, Any] = {
    "objectives": [{"metric": "energy_mj"}, {"metric": "macs"}],
    "external": [{"metric": "energy_mj", "unit": "mJ", "goal": "minimize"}],
}
FACTS = ModelFacts(input_shapes=((1, 3, 32, 32),), opset=17, size_bytes=10, dtype=Dtype.FP32)
MODEL = b"a model"


class OwnedThings:
    """A server with callers of every role, and things that belong to one or another.

    Attributes:
        tokens: by caller: `alice` and `bob` are engineers, `vic` a viewer, `machine` an agent, `root` and `chief`
            admins.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.tokens: dict[str, ApiToken] = {}
        self._clients: dict[str, httpx2.Client] = {"anonymous": world.client(None)}
        self._browsers: dict[str, httpx2.Client] = {"anonymous": world.client(None)}
        for name, role in (
            ("alice", Role.ENGINEER),
            ("bob", Role.ENGINEER),
            ("vic", Role.VIEWER),
            ("machine", Role.AGENT),
            ("chief", Role.ADMIN),
        ):
            self.tokens[name], secret = world.process.get(Tokens).create(name, [role])
            self._clients[name] = world.client(secret)
            self._browsers[name] = world.client(None)
            self._browsers[name].post("/login", data={"token": secret}, follow_redirects=False)
        self.tokens["root"] = world.process.get(Tokens).authenticate(ADMIN)
        self._clients["root"] = world.client()
        self.num_made = 0
        self.board = self.device("root")
        self.weights = world.process.get(Artifacts).put(b"weights", "application/octet-stream")
        world.process.get(Artifacts).put(MODEL, "application/onnx")

    def client(self, caller: str) -> httpx2.Client:
        """The client of a caller."""
        return self._clients[caller]

    def browser(self, caller: str) -> httpx2.Client:
        """The client of a caller that has signed in on the pages."""
        return self._browsers[caller]

    def principal(self, caller: str) -> Principal:
        """Who a caller is."""
        return self.tokens[caller].owner

    def make(self, kind: Kind, owner: str) -> Mapping[str, str]:
        """A new thing of somebody's; its path parameters."""
        makers: Mapping[Kind, Callable[[str], Mapping[str, str]]] = {
            Kind.SEARCH: lambda who: {"search_id": self._post(who, "searches", cheap_spec(**OUTSIDE))},
            Kind.SUPERNET: lambda who: {"supernet_id": self._post(who, "supernets", TRAINING)},
            Kind.NETWORK: lambda who: {"network_id": self._post(who, "networks", NETWORK)},
            Kind.WHAT_IF: lambda who: self.what_if(who, self.make(Kind.SEARCH, "root")["search_id"]),
            Kind.STUDY: lambda who: {"study_id": self._post(who, "ranking-studies", self.study_spec())},
            Kind.TABLE: lambda who: {"table_id": self._post(who, "latency-tables", TABLE)},
            Kind.REPORT: self._report,
            Kind.JOB: lambda who: {"job_id": self.job(who)},
            Kind.DEVICE: lambda who: {"device_id": self.device(who).id},
        }
        return makers[kind](owner)

    def registered(self, who: str = "root") -> str:
        """A supernet that is ready."""
        body = {"spec": TRAINING, "weights_sha256": self.weights.sha256}
        return self._post(who, "supernets:register", body)

    def study_spec(self) -> dict[str, Any]:
        """A ranking study of a supernet that is ready."""
        return {"supernet": self.registered(), "num_architectures": 2, "training": {"epochs": 1}}

    def device(self, who: str) -> Device:
        """A board that came with an enrolment token of somebody's."""
        self.num_made += 1
        creator = Creator(self.tokens[who].id, self.principal(who))
        _, secret = self.world.process.get(EnrolmentTokens).create(f"of {who}", creator=creator)
        return self.world.enrol(f"board-{self.num_made}", enrolment_token=secret)

    def job(self, who: str) -> str:
        """The measurement of an uploaded model, as the route orders it once the model is checked."""
        spec = {"model_sha256": hashlib.sha256(MODEL).hexdigest(), "device": {"device_type": "rk3588"}}
        wanted = ModelMeasurementSpec.model_validate(spec)
        latencies = self.world.process.get(Latencies)
        return latencies.measure_model(wanted, FACTS, owner=self.principal(who)).id

    def measured_search(self, who: str) -> Mapping[str, str]:
        """A search with one measured candidate, where no other waits for a step: ids of all three."""
        search_id = self._post(who, "searches", latency_spec(1))
        self.world.step([[0] * 4])
        self.world.convert_all()
        self.world.measure_all(self.board)
        candidate = self._items(who, f"searches/{search_id}/candidates")[0]
        measurement = self._items(who, f"measurements?search_id={search_id}")[0]
        return {"search_id": search_id, "candidate_id": candidate["id"], "measurement_id": measurement["id"]}

    def held_trial(self, search_id: str) -> Mapping[str, Any]:
        """The lease of a trial of a search, held by an evaluator; nothing where there is no such search."""
        uow, spaces = self.world.process.uow, self.world.process.get(SpaceCatalog)
        if search_id not in {one["id"] for one in self._items("root", "searches?page_size=200")}:
            return {}

        def order(tx: Any) -> None:
            if CandidateStore(tx).count_candidates(CandidateQuery(search_id=search_id)):
                return
            candidate = Candidate(
                id=new_id(IdPrefix.CANDIDATE),
                search_id=search_id,
                seq=1,
                generation=0,
                record=spaces.decode("spos", SMALL_PARAMETERS, (0, 0, 0, 0)),
                genotype=(0, 0, 0, 0),
                created_at=tx.now(),
            )
            CandidateStore(tx).add_candidates([candidate])
            order_trial(tx, SearchStore(tx).lock_search(search_id), candidate, SearchSettings())

        uow.write(order)
        asked = self.client("root").post(f"/api/v1/searches/{search_id}/trials:ask", json={"evaluator": "rig"})
        trial = asked.json()["trials"][0]
        return {"trial_id": trial["id"], "lease_id": trial["lease_id"], "fence": trial["fence"]}

    def cost_table(self) -> Artifact:
        """A table of costs that was imported; nothing in it can be read, which its document says."""
        return self.world.process.get(Artifacts).put(b"{}", COST_TABLE)

    def predictor(self) -> str:
        """A predictor that is not fitted yet; everybody may read it."""
        hardware_key = self.world.process.get(KnownHardware).all()[0].hardware_key

        def work(tx: Transaction) -> str:
            predictor = LatencyPredictor(
                id=new_id(IdPrefix.LATENCY_PREDICTOR),
                device_type="rk3588",
                hardware_key=hardware_key,
                space_id="spos",
                parameters="{}",
                space_key=space_key("spos", "{}"),
                created_at=tx.now(),
            )
            PredictorStore(tx).add_predictor(predictor)
            return predictor.id

        return self.world.process.uow.write(work)

    def classification(self) -> str:
        """A worker's answers to an image set."""
        put = self.world.process.get(Artifacts).put
        images, model = put(b"images", "application/octet-stream"), put(MODEL, "application/onnx")
        record = ClassificationRecord(
            id=new_id(IdPrefix.CLASSIFICATION),
            source=EvaluationSource.EVALUATED,
            images_sha256=images.sha256,
            num_images=2,
            num_classes=10,
            num_correct=1,
            model_sha256=model.sha256,
            source_sha256=model.sha256,
            dtype=Dtype.FP32,
            batch=1,
            predictions=compress_predictions(np.array([3, 4], dtype=np.uint16)),
            created_at=datetime.now(UTC),
            result_digest="",
        )
        self.world.process.uow.write(lambda tx: ClassificationStore(tx).add_classification(record))
        return record.id

    def what_if(self, who: str, search_id: str) -> Mapping[str, str]:
        """A board that a search is carried over to; nothing is chosen yet."""
        hardware_key = self.world.process.get(KnownHardware).all()[0].hardware_key

        def work(tx: Transaction) -> str:
            what_if = WhatIf(
                id=new_id(IdPrefix.WHAT_IF),
                search_id=search_id,
                spec=parse_what_if_spec({"device": {"device_type": "rk3588"}}),
                hardware_key=hardware_key,
                created_by=self.tokens[who].id,
                owner=self.principal(who),
                created_at=tx.now(),
            )
            WhatIfStore(tx).add_what_if(what_if)
            return what_if.id

        return {"search_id": search_id, "what_if_id": self.world.process.uow.write(work)}

    def _report(self, who: str) -> Mapping[str, str]:
        """A report that is under way, on a table of an admin's."""
        table_id = self.make(Kind.TABLE, "root")["table_id"]

        def work(tx: Any) -> str:
            table = BatchStore(tx).get_batch(table_id)
            report = Batch(
                id=new_id(IdPrefix.COST_REPORT),
                spec=table.spec,
                sampling=Sampling(table_id=table_id, num_networks=2, seed=0, logit_std=1.0),
                hardware_key=table.hardware_key,
                num_entries=2,
                created_by=self.tokens[who].id,
                owner=self.principal(who),
                created_at=tx.now(),
            )
            BatchStore(tx).add_batch(report)
            return report.id

        return {"table_id": table_id, "report_id": self.world.process.uow.write(work)}

    def _post(self, who: str, path: str, body: Mapping[str, Any]) -> str:
        answer = self.client(who).post(f"/api/v1/{path}", json=body)
        assert answer.status_code in (201, 202), answer.text
        return str(answer.json()["id"])

    def _items(self, who: str, path: str) -> list[dict[str, Any]]:
        answer = self.client(who).get(f"/api/v1/{path}")
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["items"]
        return found
