"""What the first release's client sent and read, at today's server: every request works, every field is there.

The requests were made by the first release's client against its own server over the same installation, reads first.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from nas_engine.settings.strategies import RetrainSettings
from server.jobs.states import LISTED_WHERE_NAMED
from tests.support.processes import first_release
from tests.support.processes.first_release import Answer, Installation

pytestmark = pytest.mark.xdist_group("first-release-rest")
REQUESTS: list[dict[str, Any]] = first_release.document("requests.json.xz")
SCHEMAS: dict[str, Any] = first_release.document("resources.json.gz")
OPENAPI: dict[str, Any] = first_release.document("openapi.json.gz")

CHANGED_ON_PURPOSE: Mapping[str, tuple[Any, Any]] = {
    "state": ("draining", "paused"),  # of a latency table: what a board holds ends all the same
    "detail": ("schema 0005_ranking", "schema 0021_turns"),
    "mutation_probability": (1.0, 0.5),  # one default of NSGA-II; a stored search keeps what it was created with
    "mean_leaves": (1.0, 0.5),
    "name": ("supernet", "network"),  # of a retraining that is given none
    "max_uses": (None, 10),  # of an enrolment token that is made without a limit
    "stage_repeats": ([2, 2, 2], [2, 3, 2]),  # of the preset fashion-mnist-demo, which later demos trained
    "iterations": (2000, 1200),  # of that preset too
    "batch_size": (128, 150),  # of immediate shifting, where a spec gives none
}
"""Fields of answers that have another value since: what the first release answered, and what is answered today."""

UNSAID_POPULATION = 20
"""Of NSGA-II where a search named none; today it follows from the space and from what was evaluated."""

VOLATILE = frozenset({"online", "num_online", "num_available", "num_devices", "utilisation_24h", "num_takers"})
"""Depend on the clock, or on who is there."""
VOLATILE |= {"eta_s", "queue_position", "next_page_token", "secret", "prefix", "version", "request_id", "instance"}
_LISTED_BY_ID = re.compile(r"/api/v1/(searches|supernets|jobs)\?")
"""Lists that leave out, or hold, what the first release's did not: latency tables are no searches, and those that were
under way have ordered jobs of their own; networks are no supernets. What both hold is compared."""
_NAMES: Mapping[str, Any] = first_release.document("names.json")["ids"]
_TABLES = ("latency_table", "spos_table", "table_under_way", "report", "spos_report", "report_under_way")
_MOVED = re.compile(f"/api/v1/searches/({'|'.join(_NAMES[name] for name in _TABLES)})(:[a-z]+)?")
"""Searches that are latency tables or reports today. Reading one is redirected; steering one is answered with a search,
which differs in its algorithm and progress alone."""
_OWN_ID = re.compile(r"[a-z]+_01[0-9a-z]{24}")
_UNKNOWN_FIELD = "Extra inputs are not permitted"
"""As pydantic says it; today's message lists the fields that there are."""
_CHOSEN_BY_THEN = {"auto"}
"""Asked for and never answered: the spec of a search names the algorithm that was chosen."""
_ONLY_WHERE_NAMED = {kind.value for kind in LISTED_WHERE_NAMED} | {"external"}
"""Of searches whose spec asks for them, and of jobs that lists hold only where the request names their kind."""
_METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture(scope="module")
def nas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("first-release-rest")
    first_release.unpack(folder)
    with first_release.opened(folder) as installation:
        first_release.keep_leases(installation.database_url)
        installation.start_server()
        yield installation


class Replay:
    """Sends what was recorded; ids that a server made are followed from request to request."""

    def __init__(self, nas: Installation) -> None:
        self._nas = nas
        self._ids: dict[str, str] = {}
        self.different: list[str] = []

    def send(self, entry: Mapping[str, Any]) -> None:
        """One request; what is not as it was is added to `different`."""
        where = f"{entry['method']} {entry['path']}"
        body = base64.b64decode(entry["body"]) if "body" in entry else None
        answer = self._nas.request(entry["method"], self._today(entry["path"]), body, entry.get("headers"))
        if answer.status != entry["status"]:
            self.different.append(f"{where}: {answer.status} for {entry['status']}: {answer.body[:300]!r}")
            return
        media = answer.header("content-type").partition(";")[0]
        if media != entry["media_type"]:
            self.different.append(f"{where}: {media} for {entry['media_type']}")
        elif _MOVED.fullmatch(entry["path"]):
            kept = {name: entry["answer"][name] for name in ("id", "state")}
            self._compare(kept, answer.json(), where)
            if entry["method"] == "POST":
                self._parse(entry, answer.json(), where)
        elif _LISTED_BY_ID.match(entry["path"]):
            self._compare_by_id(entry["answer"], answer.json(), where)
        elif "-presets" in entry["path"]:  # recipes follow their papers better today; what was named still is
            old, now = entry["answer"], answer.json()
            recorded = old.get("items", [old])
            names = {one["name"] for one in now.get("items", [now])}
            self.different += [f"{where}: {one['name']} is gone" for one in recorded if one["name"] not in names]
            self._parse(entry, now, where)
        elif "answer" in entry:
            old, now = entry["answer"], answer.json()
            if entry["path"].endswith("/problems"):  # more can go wrong today; what could, is described as it was
                known = {one["type"] for one in old["items"]}
                now = {**now, "items": [one for one in now["items"] if one["type"] in known]}
            if "/training-presets?" in entry["path"]:  # there are more today
                known = {one["name"] for one in old["items"]}
                now = {**now, "items": [one for one in now["items"] if one["name"] in known]}
            if entry["path"] == "/readyz":
                names = {one["name"] for one in old["checks"]}
                now = {**now, "checks": [one for one in now["checks"] if one["name"] in names]}
            self._compare(old, now, where)
            self._parse(entry, answer.json(), where)
        elif "text" in entry:
            self._compare_text(entry, answer, where)

    def _today(self, path: str) -> str:
        return _OWN_ID.sub(lambda found: self._ids.get(found[0], found[0]), path)

    def _parse(self, entry: Mapping[str, Any], document: Any, where: str) -> None:
        """As the first release's client does: unknown members of an answer are ignored, unknown values are not."""
        if "model" not in entry:
            return
        valid = jsonschema_rs.validator_for(SCHEMAS[entry["model"]])
        for one in document["items"] if entry["listing"] else [document]:
            for error in valid.iter_errors(one):
                self.different.append(f"{where}: no {entry['model']}: {error.message} at {error.instance_path}")

    def _compare(self, recorded: Any, now: Any, where: str) -> None:
        match recorded, now:
            case dict(), dict():
                for name, value in recorded.items():
                    if name == "population_size" and value == UNSAID_POPULATION and name not in now:
                        continue
                    if name not in now:
                        self.different.append(f"{where}/{name} is gone")
                    elif name == "rows" and value == []:
                        continue  # a latency table has them from the start, not when a worker comes to it
                    elif _is_changed_on_purpose(name, value, now[name]):
                        continue
                    elif name == "progress" and recorded.get("state") != "completed":
                        self._compare_progress(value, now[name], f"{where}/{name}")
                    elif name == "expires_at" and where.endswith("POST /api/v1/enrolment-tokens"):
                        assert now[name] is not None, "a token that is made without an expiry has one today"
                    elif name in VOLATILE or name.endswith(("_at", "_until")):
                        if (value is None) != (now[name] is None) and name not in VOLATILE:
                            self.different.append(f"{where}/{name}: {now[name]!r} for {value!r}")
                    else:
                        self._compare(value, now[name], f"{where}/{name}")
            case list(), list():
                if len(recorded) != len(now):
                    self.different.append(f"{where}: {len(now)} items for {len(recorded)}")
                for number, (old, new) in enumerate(zip(recorded, now, strict=False)):
                    self._compare(old, new, f"{where}/{number}")
            case str(), str() if recorded.startswith("schema ") and now.startswith("schema "):
                pass  # the database's revision, as /readyz names it
            case float() | int(), float() | int() if not isinstance(recorded, bool):
                if abs(recorded - now) > 1e-9 * max(abs(recorded), abs(now)):
                    self.different.append(f"{where}: {now!r} for {recorded!r}")
            case str(), str() if _OWN_ID.fullmatch(recorded) and _OWN_ID.fullmatch(now):
                if self._ids.setdefault(recorded, now) != now:
                    self.different.append(f"{where}: {now!r} for {self._ids[recorded]!r}")
            case str(), str() if recorded.endswith(_UNKNOWN_FIELD):
                if not now.startswith(recorded.removesuffix(_UNKNOWN_FIELD) + "there is no field "):
                    self.different.append(f"{where}: {now!r} for {recorded!r}")
            case str(), str():
                if _OWN_ID.sub("", recorded) != _OWN_ID.sub("", now):
                    self.different.append(f"{where}: {now!r} for {recorded!r}")
            case _ if recorded != now:
                self.different.append(f"{where}: {now!r} for {recorded!r}")

    def _compare_progress(self, recorded: dict[str, Any], now: dict[str, Any], where: str) -> None:
        """What is complete and was not told yet counts today: the front is another one, and its hypervolume no less."""
        grown = {"front_size"}
        if recorded.get("hypervolume") is not None and recorded["hypervolume"] <= now["hypervolume"]:
            grown.add("hypervolume")
        old, new = ({name: value for name, value in one.items() if name not in grown} for one in (recorded, now))
        self._compare(old, new, where)

    def _compare_by_id(self, recorded: Any, now: Any, where: str) -> None:
        known = {item["id"]: item for item in now["items"]}
        moved = {_NAMES[name] for name in _TABLES}
        for item in recorded["items"]:
            if item["id"] in known and item.get("search_id") not in moved:
                self._compare(item, known[item["id"]], f"{where}/{item['id']}")

    def _compare_text(self, entry: Mapping[str, Any], answer: Answer, where: str) -> None:
        old, new = entry["text"].splitlines(), answer.body.decode().splitlines()
        if entry["media_type"] == "application/x-ndjson":
            self._compare([json.loads(line) for line in old], [json.loads(line) for line in new], where)
            return
        if not set(old[0].split(",")) <= set(new[0].split(",")) or len(old) != len(new):
            self.different.append(f"{where}: {new[0]} for {old[0]}, {len(new)} lines for {len(old)}")


def _is_changed_on_purpose(name: str, recorded: Any, now: Any) -> bool:
    """Among others: a search that named no algorithm got NSGA-II's defaults, and gets one that the server chooses."""
    if CHANGED_ON_PURPOSE.get(name, (object(), object())) == (recorded, now):
        return True
    if name == "boot_id" and now is None:  # it helps to take a board's place, and is neither kept nor shown today
        return True
    if name != "algorithm":
        return False
    kinds = (recorded.get("kind"), now.get("kind")) if isinstance(recorded, dict) and isinstance(now, dict) else ()
    return kinds in (("nsga2", "predictor_assisted"), ("nsga2", "random"))


def test_everything_the_client_read_is_answered_as_it_was(nas: Installation) -> None:
    replay = Replay(nas)
    entries = [entry for entry in REQUESTS if entry["kind"] == "read"]
    for entry in entries:
        replay.send(entry)
    assert len(entries) > 300
    assert replay.different == []


def test_everything_the_client_wrote_is_taken_as_it_was(tmp_path: Path) -> None:
    first_release.unpack(tmp_path)
    with first_release.opened(tmp_path) as nas:
        first_release.keep_leases(nas.database_url)
        nas.start_server()
        replay = Replay(nas)
        entries = [entry for entry in REQUESTS if entry["kind"] == "write"]
        for entry in entries:
            replay.send(entry)
        assert {entry["method"] for entry in entries} >= {"POST", "PUT", "PATCH", "DELETE"}
        assert replay.different == []


def test_an_idempotency_key_of_the_first_release_gives_its_answer_again(nas: Installation) -> None:
    known = first_release.document("names.json")["idempotent"]
    headers = {"Content-Type": "application/json", "Idempotency-Key": known["key"]}
    before = len(nas.items(known["path"]))
    answer = nas.request("POST", known["path"], known["body"].encode(), headers)
    assert (answer.status, answer.json()["id"]) == (202, known["answer"])
    assert len(nas.items(known["path"])) == before


def test_no_answer_may_hold_a_value_that_the_first_client_cannot_read(nas: Installation) -> None:
    """By the documents of both: closed sets in answers have not grown, those in requests have not shrunk."""
    today = nas.get("/api/v1/openapi.json")
    problems: list[str] = []
    for path, item in OPENAPI["paths"].items():
        for method in _METHODS:
            if method not in item or method not in today["paths"].get(path, {}):
                continue  # moved: the replays above follow the redirect
            old, new = item[method], today["paths"][path][method]
            problems += _requests_refused(old, new, today, f"{method} {path}")
            for status, answer in old["responses"].items():
                if status.startswith("2") and status in new["responses"]:
                    found, known = _closed_sets(answer, OPENAPI), _closed_sets(new["responses"][status], today)
                    problems += [
                        f"{method} {path} {status} {place}: {sorted(known[place] - values)} cannot be read"
                        for place, values in found.items()
                        if place in known and not known[place] - _CHOSEN_BY_THEN - _ONLY_WHERE_NAMED <= values
                    ]
    assert problems == []


def _requests_refused(old: Any, new: Any, today: Any, where: str) -> list[str]:
    found = []
    known = {(one["in"], one["name"]): one for one in new.get("parameters", ())}
    for one in old.get("parameters", ()):
        place = (one["in"], one["name"])
        if place not in known:
            found.append(f"{where}: {place} is not taken any more")
            continue
        was, now = _closed_sets(one["schema"], OPENAPI), _closed_sets(known[place]["schema"], today)
        found += [f"{where}: {place} refuses {was[at] - now[at]}" for at in was if at in now and not was[at] <= now[at]]
    if "requestBody" in old:
        held, holds = (_members(one.get("requestBody", {}), root) for one, root in ((old, OPENAPI), (new, today)))
        held = {member for member in held if not member.endswith("/algorithm/logit_std")}  # reports are no searches
        held = {member for member in held if not _of_network_in_search(member, where)}
        found += [f"{where}: the body may not hold {member} any more" for member in sorted(held - holds)]
    return found


def _of_network_in_search(member: str, where: str) -> bool:
    """Whether a search's inline supernet has a member that only networks have: the first release refused it too."""
    parent, _, name = member.rpartition("/")
    return "/searches" in where and parent.endswith("/supernet/strategy") and name in RetrainSettings.model_fields


def _closed_sets(schema: Any, root: Any, place: str = "", above: tuple[str, ...] = ()) -> dict[str, set[Any]]:
    """Enums by where they stand."""
    found: dict[str, set[Any]] = {}
    for at, one in _walk(schema, root, place, above):
        values = set(one["enum"]) if "enum" in one else {one["const"]} if "const" in one else set()
        if values:
            found.setdefault(at, set()).update(values)
    return found


def _members(schema: Any, root: Any) -> set[str]:
    """Members of objects by where they stand."""
    return {f"{at}/{name}" for at, one in _walk(schema, root) for name in one.get("properties", {})}


def _walk(schema: Any, root: Any, place: str = "", above: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(schema, dict):
        return
    if "$ref" in schema:
        if schema["$ref"] in above:
            return
        target = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target.get(part, {})  # the first release's document names one schema that it does not hold
        yield from _walk(target, root, place, (*above, schema["$ref"]))
        return
    yield place, schema
    for name, one in schema.get("properties", {}).items():
        yield from _walk(one, root, f"{place}/{name}", above)
    for name in ("items", "additionalProperties", "schema"):
        yield from _walk(schema.get(name), root, f"{place}/*" if name != "schema" else place, above)
    for one in schema.get("content", {}).values():
        yield from _walk(one, root, place, above)
    for name in ("anyOf", "oneOf", "allOf"):
        for one in schema.get(name, ()):
            yield from _walk(one, root, place, above)
