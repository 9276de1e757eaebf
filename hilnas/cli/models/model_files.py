"""Model files of candidates and networks: waited for while they are made, and fetched."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from hilnas.cli.terminal import make_console
from hilnas.cli.working import Say, busy, transferring, working
from hilnas.client.errors import HilnasError
from nas_engine.domain.json_value import JsonValue
from server.jobs.states import JobState
from server.training.training import TrainingState

if TYPE_CHECKING:
    from hilnas.client.client import Hilnas
    from server.training.schemas import DeployableModelResource

POLL_S = 1.0
_progress = make_console(stderr=True)


class FetchedFormat(StrEnum):
    """File format of a model."""

    ONNX = "onnx"
    RKNN = "rknn"


def fetch(nas: Hilnas, sha256: str, path: Path) -> None:
    """Fetch a stored file, and show how far that is."""
    with transferring(_progress, path.name, None) as on_bytes:
        nas.artifacts.download(sha256, path, on_bytes=on_bytes)


def fetch_all(
    nas: Hilnas, network_id: str, folder: Path | None, *, as_json: bool = False
) -> list[dict[str, JsonValue]]:
    """Print every model file of a network once none is being converted any more, fetched where a folder is given.

    Args:
        as_json: print nothing to standard output.

    Returns:
        The files as documents, each with the ``path`` where it lies now.

    Raises:
        HilnasError: one could not be made.
    """
    models = _finished(nas, network_id)
    fetched: list[dict[str, JsonValue]] = []
    console = make_console(stderr=as_json)
    for model in models:
        if model.sha256 is None:
            continue
        place, path = model.sha256, None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{network_id}-{model.dtype}.{model.format}"
            fetch(nas, model.sha256, path)
            place = str(path)
        left = f", left to the CPU: {', '.join(model.cpu_operators)}" if model.cpu_operators else ""
        console.print(f"{model.format} {model.dtype}: {place}{left}", highlight=False, soft_wrap=True)
        fetched.append({**model.model_dump(mode="json"), "path": None if path is None else str(path)})
    if failed := [model for model in models if model.sha256 is None]:
        raise HilnasError(f"{failed[0].format} file: {failed[0].reason or failed[0].state}")
    return fetched


def fetch_bundle(nas: Hilnas, candidate: str, out: Path | None) -> str:
    """Fetch the evidence behind a candidate, whose model is exported first where it was not yet; returns the file."""
    model_of(nas, candidate, FetchedFormat.ONNX)
    with busy("the server gathers the evidence"):
        return nas.candidates.bundle(candidate, out or Path())


def fetch_retrained_bundle(nas: Hilnas, candidate: str, out: Path | None) -> str:
    """Fetch the evidence behind the newest network that was trained of a candidate; returns the file.

    Raises:
        HilnasError: it was not trained by itself yet.
    """
    id = nas.searches.candidate(candidate).id
    for network in nas.networks.all(states=[TrainingState.READY.value]):
        if network.spec.labels.get("candidate") == id:
            with busy("the server gathers the evidence"):
                return nas.networks.bundle(network.id, out or Path())
    raise HilnasError(f"{candidate} was not trained by itself yet: hilnas candidates retrain {candidate} --follow")


def _finished(nas: Hilnas, network_id: str) -> list[DeployableModelResource]:
    with working(_progress) as say:
        while True:  # ends with the conversion's attempts
            models = list(nas.networks.models(network_id))
            if all(model.state != "converting" for model in models):
                return models
            say("waiting for the conversion")
            time.sleep(POLL_S)


def model_of(nas: Hilnas, candidate: str, format: FetchedFormat) -> DeployableModelResource:
    """The candidate's file of a format, exported or converted meanwhile.

    Raises:
        HilnasError: there is none, and none can be made.
    """
    with working(_progress) as say:
        return _made(nas, candidate, format, say)


def _made(nas: Hilnas, candidate: str, format: FetchedFormat, say: Say) -> DeployableModelResource:
    exported = False
    while True:  # ends with the attempts of the jobs
        found = list(nas.candidates.models(candidate))
        wanted = [one for one in found if one.format == format.value]
        if ready := [one for one in wanted if one.sha256 is not None]:
            return ready[0]
        if any(one.state == "converting" for one in wanted):
            say(f"the {format.value} file of {candidate} is being converted")
            time.sleep(POLL_S)
            continue
        if wanted:
            raise HilnasError(f"the {format.value} file of {candidate} failed: {wanted[0].reason}")
        if found:
            made = ", ".join(one.file_name for one in found)
            raise HilnasError(
                f"{candidate} has no {format.value} file ({made}): the search's device runs none; "
                "`hilnas models convert` or `hilnas candidates retrain --rknn` makes one"
            )
        if exported:
            raise HilnasError(
                f"the supernet's weights of {candidate} do not fit the network as a board runs it: train it by itself "
                f"(hilnas candidates retrain {candidate})"
            )
        _export(nas, candidate, say)
        exported = True


def _export(nas: Hilnas, candidate: str, say: Say) -> None:
    """Have it exported, and wait. Raises HilnasError: the job failed."""
    job = nas.candidates.export(candidate)
    say(f"{candidate} is being exported: {job.id}")
    while job.state in (JobState.QUEUED, JobState.LEASED):
        time.sleep(POLL_S)
        job = nas.jobs.get(job.id)
    if job.state is not JobState.DONE:
        raise HilnasError(f"{job.id} {job.state.value}: {job.failure_type or '-'}: {job.failure_message}")


def target(out: Path | None, name: str) -> Path:
    """Where a file is written: under its own name, unless a file is named."""
    if out is None:
        return Path(name)
    return out / name if out.is_dir() else out
