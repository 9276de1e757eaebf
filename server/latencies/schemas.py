"""Answers for latencies, predictors and hardware keys on the wire."""

from __future__ import annotations

from datetime import datetime

from nas_engine.domain.measurement import DeviceClass, Validity
from server.core.http.resources import Id, ListQuery, Resource, Text
from server.latencies.answer import AnswerKind, MatchedBy
from server.latencies.predictors.predictor import EstimateMethod
from server.measuring.schemas import HardwareResource


class HardwareKeyResource(Resource):
    """One hardware key and what it stands for: latencies under different keys are not comparable."""

    hardware_key: str
    """Digest of `hardware`, computed by the server."""

    hardware: HardwareResource
    """Everything that must be equal for two latencies to be comparable."""


class OfferedHardwareResource(HardwareKeyResource):
    """A hardware key of the database, and who has it."""

    device_types: list[str]
    """Types of the registered devices that offer it now; empty where none does any longer."""


class HardwareListQuery(ListQuery):
    """Filters of the list of hardware keys."""

    device_type: Text | None = None
    """Keys that registered devices of this type offer now."""

    runtime: Text | None = None
    """Keys of this inference engine."""


class FoundMeasurementResource(Resource):
    """The newest measurement under one hardware key."""

    measurement_id: Id
    """Measurement; `GET /api/v1/measurements/{id}` has its samples and the state of the board."""

    hardware_key: str
    """Hardware key that it was made under, explained in `hardware` of the whole answer."""

    device_class: DeviceClass
    """Class of the device: board, emulated or simulated."""

    device_id: Id | None
    """Device that measured; null where none did."""

    profile: str
    """Name of the measuring profile: quick, standard or audit."""

    validity: Validity
    """The worst of its validity flags."""

    p50_us: float
    """Median latency, microseconds."""

    ci95_low_us: float
    """Lower end of the median's 95 % interval, microseconds."""

    ci95_high_us: float
    """Upper end of the median's 95 % interval, microseconds."""

    num_measurements: int
    """Number of measurements of the same network under this key."""

    created_at: datetime
    """Time at which the server stored it, RFC 3339."""


class EstimateResource(Resource):
    """What an estimate stands on."""

    method: EstimateMethod
    """Kind of estimate: by a predictor that is fitted to measured architectures, or by a latency table that measured
    networks calibrate."""

    source_id: Id
    """Id of the predictor, or of the latency table."""

    predictor_id: Id
    """Id of the predictor, also of one that is made of a table, explained in `predictors` of the whole answer."""

    nominal: float | None
    """Share of new measurements that the interval is made to hold, as a fraction; null without an interval."""

    coverage: float | None
    """Share of networks left out whose measurement the intervals did hold, as a fraction; null where not known."""

    num_left_out: int
    """Number of networks left out that the coverage was found on."""

    num_measurements: int
    """Number of measurements that the estimate stands on: of networks and of operators."""

    num_networks: int
    """Number of measured networks among these."""

    num_operators: int
    """Number of measured operators among these, of the latency table; 0 without one."""

    validation: str
    """How it was validated, in words."""

    is_stale: bool
    """Whether so much was measured since it was fitted, or changed in table or reports, that it is fitted anew."""


class LatencyAnswerResource(Resource):
    """The answer for one network on one device type."""

    arch_id: str | None
    """Id of the architecture; null for a model."""

    model_sha256: str | None
    """SHA-256 of the model; null for an architecture."""

    device_type: str
    """Device type that was asked for."""

    device_index: int
    """Place of the device in the question, from 0."""

    kind: AnswerKind
    """What the answer is: measured, simulated, estimated, or `measure_it` where only a measurement can tell."""

    latency_us: float | None
    """Latency, microseconds: the median of a measurement, or the estimate; null where it must be measured."""

    low_us: float | None
    """Lower end of its interval, microseconds: 95 % of the median, `nominal` of an estimate; null where unknown."""

    high_us: float | None
    """Upper end of its interval, microseconds; null where unknown."""

    hardware_key: str | None
    """Hardware key that the latency holds for, or that a measurement would be made under; null where none is known."""

    is_current: bool
    """Whether a registered device of the type offers that hardware key now."""

    is_ambiguous: bool
    """Whether there are measurements under other hardware keys that the question admits: `others` lists them."""

    matched_by: MatchedBy | None
    """How the measurement was found: by architecture, by equal structure, or by model; null without one."""

    measurement: FoundMeasurementResource | None
    """Measurement that the latency is of; null unless it is measured or simulated."""

    estimate: EstimateResource | None
    """What the estimate stands on; null unless it is estimated."""

    reason: str
    """Why it must be measured; empty where it need not."""

    others: list[FoundMeasurementResource]
    """Newest measurement under each other hardware key that the question admits."""

    job_id: Id | None
    """Job that measures it, or makes its model file before; null where nothing was queued."""

    not_queued: str
    """Why nothing was queued though that was asked for; empty otherwise."""


class FitQualityResource(Resource):
    """How a predictor did on networks that were left out."""

    nominal: float
    """Share of new measurements that intervals are made to hold, as a fraction."""

    coverage: float
    """Share of left-out networks whose measured latency lay within their interval, as a fraction."""

    num_left_out: int
    """Number of networks that were left out, each once."""

    num_folds: int
    """Number of parts in which they were left out."""

    mean_relative_error: float
    """Mean absolute error on left-out networks over their measured latency, as a fraction."""

    median_relative_width: float
    """Median width of intervals over the measured latency, as a fraction."""

    kendall_tau: float | None
    """Kendall's tau of predicted and measured order of left-out networks; null where all are equal."""


class LatencyPredictorResource(Resource):
    """A predictor of latency: of one search space on one device type under one hardware key. One is fitted to measured
    architectures, and one is made of each complete latency table."""

    id: Id
    """Identifier of the predictor, given by the server; it stays the same when it is fitted anew."""

    device_type: str
    """Device type that it predicts."""

    hardware_key: str
    """Hardware key that it predicts."""

    space_id: str
    """Search space whose architectures it predicts."""

    parameters: str
    """Canonical JSON of the space's parameters."""

    method: EstimateMethod
    """What it is made of: measured architectures, or a latency table."""

    table_id: Id | None
    """Latency table that it is made of; null where it is fitted to measured architectures."""

    report_ids: list[Id]
    """Reports of the table whose networks it was calibrated by; empty without a table, and before the first fit."""

    num_operators: int
    """Number of measured operators of the table; 0 without one, and before the first fit."""

    num_seen: int
    """Number of measurements of the space under this key that were counted; of a table, of networks that its reports
    compare."""

    num_fitted: int
    """Number of measured architectures that it was fitted to or calibrated by; 0 before the first fit."""

    num_new: int
    """Number of measurements since it was fitted."""

    refit_after: int
    """Number of new measurements after which it is fitted anew, or for the first time; of a table, of networks."""

    is_due: bool
    """Whether it is to be fitted: then it is stale, or not fitted yet."""

    model: str
    """Family of models that was chosen, or form of the table's sums: exact by choices or by paths, or fitted; empty
    before the first fit."""

    artifact_sha256: str | None
    """SHA-256 of its arrays, an artifact; null before the first fit."""

    quality: FitQualityResource | None
    """How it did on networks left out; null before the first fit."""

    trouble: str
    """Why the last fit failed; empty where it did not."""

    fitted_at: datetime | None
    """Time at which it was fitted, RFC 3339; null before the first fit."""


class PredictorListQuery(ListQuery):
    """Filters of the list of predictors."""

    device_type: Text | None = None
    """Predictors of this device type."""

    hardware_key: Text | None = None
    """Predictors of this hardware key."""


class LatencyAnswersResource(Resource):
    """Every answer to a question for latencies, network by network in the order asked, architectures first."""

    answers: list[LatencyAnswerResource]
    """One answer for each network and device, the devices of one network in the order asked."""

    hardware: list[HardwareKeyResource]
    """What the hardware keys of the answers stand for."""

    predictors: list[LatencyPredictorResource]
    """Predictors that estimated something."""

    num_measured: int
    """Number of answers that are measured."""

    num_simulated: int
    """Number of answers that a simulator gave."""

    num_estimated: int
    """Number of answers that are estimated."""

    num_to_measure: int
    """Number of answers that say to measure it."""
