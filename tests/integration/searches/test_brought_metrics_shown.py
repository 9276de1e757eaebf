"""Metrics that a package brings stand on pages, in tables of commands and in sentences as those that ship do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import httpx2
import pytest

from hilnas.cli import main as cli
from hilnas.cli.shown.fronts import listed_values
from hilnas.client.client import Hilnas
from hilnas.client.views.metric_titles import metric_title
from nas_engine.domain.metrics import TEST_TOP1, TOP1, metric_named
from server.candidates.candidate import Candidate, Evaluation
from server.candidates.candidate_store import CandidateStore
from server.candidates.evaluation_store import EvaluationStore
from server.candidates.states import EvaluationSource
from server.core.database.transaction import Transaction
from server.core.ids import IdPrefix, new_id
from tests.support.worlds.api_world import ADMIN, World, cheap_spec
from tests.support.worlds.brought_metrics import brought_metrics, uninstalled
from tests.support.worlds.served_world import served


@dataclass(frozen=True)
class Shown:
    """A search that is over and has one candidate, served."""

    url: str
    search_id: str
    candidate_id: str


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    with brought_metrics(tmp_path_factory.mktemp("brought")):
        world = World.open(tmp_path_factory.mktemp("shown") / "home")
        with served(world) as url, Hilnas(url, ADMIN) as nas:
            nodes = {"metric": "num_nodes", "goal": "maximize"}
            search = nas.searches.create(cheap_spec(1, objectives=[{"metric": "macs"}, nodes]))
            world.step([[0] * 4])
            world.step(last=True)
            (found,) = world.process.uow.read(lambda tx: CandidateStore(tx).all_complete_candidates(search.id))
            world.process.uow.write(lambda tx: _evaluate(tx, found))
            yield Shown(url, search.id, found.id)
        world.close()


def _evaluate(tx: Transaction, candidate: Candidate) -> None:
    values = {metric_named("num_nodes"): 31.0, metric_named("spread"): 0.5, TOP1: 0.8, TEST_TOP1: 0.75}
    for metric, value in values.items():
        evaluation = Evaluation(
            id=new_id(IdPrefix.EVALUATION),
            search_id=candidate.search_id,
            candidate_id=candidate.id,
            metric=metric,
            value=value,
            uncertainty=0.01 if metric.name == "spread" else None,
            source=EvaluationSource.EVALUATED,
            created_at=candidate.created_at,
        )
        EvaluationStore(tx).add_evaluation(evaluation)


def _command(
    shown: Shown, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *argv: str
) -> list[str]:
    monkeypatch.setenv("HILNAS_URL", shown.url)
    monkeypatch.setenv("HILNAS_TOKEN", ADMIN)
    monkeypatch.setenv("COLUMNS", "240")
    status = cli.main(list(argv))
    printed = capsys.readouterr()
    assert status == 0, printed.err or printed.out
    return printed.out.splitlines()


def test_the_page_of_a_candidate_says_each_metric_as_it_is_declared(shown: Shown) -> None:
    with httpx2.Client(base_url=shown.url) as client:
        assert client.post("/login", data={"token": ADMIN}, follow_redirects=False).status_code == 303
        page = client.get(f"/candidates/{shown.candidate_id}").text
    assert '<dt title="Spread of the logits.">spread of &lt;logits&gt;</dt><dd>0.50 ± 0.02</dd>' in page, page[
        page.index("<dl") : page.index("</dl>")
    ]
    assert '<dt title="Nodes of the graph.">num_nodes</dt><dd>31 nodes</dd>' in page
    # What ships looks as it did.
    assert ">top-1, validation images</dt><dd>80 %</dd>" in page
    assert ">top-1, test images</dt><dd>75 %</dd>" in page
    assert ">MACs</dt><dd>" in page
    assert ">params</dt><dd>" in page
    assert ">peak activations</dt><dd>" in page
    assert re.search(r">peak activations</dt><dd>[\d.]+ (bytes|KiB|MiB)</dd>", page)


def test_tables_of_commands_have_a_column_for_each_metric(
    shown: Shown, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = _command(shown, monkeypatch, capsys, "search", "candidates", shown.search_id)
    header = next(line for line in printed if "┃" in line)
    titles = [cell.strip() for cell in header.strip("┃ ").split("┃")]
    metrics = ["validation top1 [%]", "test top1 [%]", "MACs", "params", "num_nodes [nodes]", "spread"]
    assert titles == ["candidate", "architecture", "state", *metrics, "kind", "expected gain [%]", "flags"]
    front = "\n".join(_command(shown, monkeypatch, capsys, "search", "front", shown.search_id))
    for title in ("MACs", "num_nodes [nodes]", "test top1 [%]", "spread", "0.50 ± 0.02"):
        assert title in front
    assert "peak activations" not in front
    one = "\n".join(_command(shown, monkeypatch, capsys, "candidates", "show", shown.candidate_id))
    assert "num_nodes [nodes]" in one
    assert "peak activations [KiB]" in one


def test_a_client_without_the_package_shows_it_too(shown: Shown) -> None:
    with Hilnas(shown.url, ADMIN) as nas:
        (candidate,) = nas.searches.candidates(shown.search_id)
        front = nas.searches.front(shown.search_id)
    with uninstalled():
        listed = [(one.name, one.column, one.unit) for one in listed_values([candidate])]
        assert listed[-2:] == [("num_nodes", "num_nodes", "nodes"), ("spread", "spread", "")]
        assert metric_title("spread", "spread") == "spread"
        assert [metric_title(one.metric, one.column) for one in front.objectives] == ["MACs", "num_nodes"]


def test_an_answer_speaks_of_it_in_its_own_words(shown: Shown) -> None:
    with Hilnas(shown.url, ADMIN) as nas:
        answer = nas.searches.answer(shown.search_id, bounds=["spread:ge:0.4"])
        assert answer.headline.startswith("At logit spread >= 0.4: ship ")
        answer = nas.searches.answer(shown.search_id, bounds=["top1:ge:0.9"])
        assert answer.headline.startswith("At validation accuracy >= 90 %: nothing meets that")


def test_lists_say_what_it_is_called(shown: Shown) -> None:
    with httpx2.Client(headers={"Authorization": f"Bearer {ADMIN}"}) as client:
        items = client.get(f"{shown.url}/api/v1/metrics").json()["items"]
    labels = {one["name"]: one["label"] for one in items}
    assert (labels["spread"], labels["num_nodes"], labels["macs"]) == ("spread of <logits>", "num_nodes", "MACs")
