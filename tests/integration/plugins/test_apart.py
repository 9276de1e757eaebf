"""What packages bring to servers is asked in a process of its own: it may end, and nothing else does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas_engine.domain.errors import InvalidGenotypeError
from nas_engine.domain.metrics import all_metrics, metric_named
from nas_engine.domain.plugins import apart
from nas_engine.domain.plugins.apart import ApartProcess, keep_apart
from nas_engine.domain.plugins.declarations import SpaceDeclaration
from nas_engine.domain.plugins.doors import Door, PluginError
from nas_engine.domain.search_space import Form, SearchSpace
from nas_engine.domain.views.graph_metrics import graph_value
from nas_engine.spaces.registry import create_space, declared_spaces
from tests.support.packages import find_packages, forget, lay_out

SPACE = """import ctypes, os, sys, time
from dataclasses import dataclass
from hilnas import SpaceDeclaration
from nas_engine.spaces.shufflenet import ShuffleNetParameters, ShuffleNetSpace
from nas_engine.domain.layer_graph import Input

@dataclass(frozen=True)
class Own:
    fault: str = "none"

class Odd:
    space_id = "odd"
    def __init__(self, settings):
        self.inner = ShuffleNetSpace(ShuffleNetParameters(num_classes=3))
        self.fault = settings.fault
        self.parameters = {"fault": settings.fault}
        for name in ("genes", "size", "num_classes", "input_shapes"):
            setattr(self, name, getattr(self.inner, name))
        self.named = {}
    def canonical(self, genotype):
        return self.inner.canonical(genotype)
    def decode(self, genotype):
        from nas_engine.domain.architecture import Architecture
        return Architecture.of("odd", self.parameters, list(self.canonical(genotype)))
    def parse(self, document):
        return self.decode(document)
    def genotype_of(self, architecture):
        return tuple(architecture.choices_value())
    def supernet_graphs(self):
        return self.inner.supernet_graphs()
    def graph(self, architecture, form):
        match self.fault:
            case "exit": os._exit(7)
            case "segfault": ctypes.string_at(0)
            case "sys-exit": sys.exit(4)
            case "interrupt": raise KeyboardInterrupt
            case "raise": raise RuntimeError("broken inside")
            case "memory": held = bytearray(1 << 40)
            case "own-node":
                class Mine(Input): pass
                return Mine(name="a", inputs=(), shape=(1,), block="", operator="")
            case "print": print('{"value": 3}', flush=True)
            case "gil": ctypes.PyDLL(None).sleep(600)
        return self.inner.graph(self.inner.decode(architecture.choices_value()), form)

IT = SpaceDeclaration(name="odd", title="", settings=Own, implementation="brings_odd:Odd")
"""
METRIC = """import ctypes, os
from dataclasses import dataclass
from hilnas import Goal, MetricDeclaration, MetricSource

@dataclass(frozen=True)
class Own:
    fault: str = "none"
    scale: tuple[float, ...] = (1.0,)

def compute(graph, settings):
    match settings.fault:
        case "exit": os._exit(7)
        case "segfault": ctypes.string_at(0)
        case "nan": return float("nan")
        case "text": return "many"
        case "nothing": return None
    return settings.scale[0] * len(graph.nodes)

IT = MetricDeclaration(name="odd_nodes", title="", unit="nodes", goal=Goal.MINIMIZE, source=MetricSource.GRAPH,
                       settings=Own, implementation="brings_odd_nodes:compute")
"""
FIRST = (0,) * 20


@pytest.fixture
def _packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    lay_out(tmp_path, "brings-odd", "hilnas.spaces", "odd", SPACE)
    lay_out(tmp_path, "brings-odd-nodes", "hilnas.metrics", "odd_nodes", METRIC)
    find_packages(monkeypatch, tmp_path)
    keep_apart()
    yield
    processes = apart.process_of(Door.SPACES, SpaceDeclaration, declared_spaces().get("odd"))
    processes.end()
    forget()


def _graph(space: SearchSpace) -> object:
    return space.graph(space.decode(FIRST), Form.DEPLOYED)


@pytest.mark.usefixtures("_packages")
class TestServersAskElsewhere:
    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            ("exit", "graph ended its process with exit status 7"),
            ("segfault", "graph ended its process with signal SIGSEGV"),
            ("sys-exit", "graph raised SystemExit: 4"),
            ("interrupt", "graph raised KeyboardInterrupt"),
            ("raise", "graph raised RuntimeError: broken inside"),
            ("memory", "graph raised MemoryError"),
            ("own-node", "Mine is none of the values of hilnas"),
        ],
    )
    def test_what_a_space_does_in_a_call_is_named_and_the_next_call_is_answered(self, fault: str, reason: str) -> None:
        space = create_space("odd", {"fault": fault})
        with pytest.raises(PluginError, match=rf"odd of brings-odd 1\.0: .*{reason}"):
            _graph(space)
        assert space.canonical(FIRST) == FIRST
        assert _graph(create_space("odd")) == _graph(create_space("odd", {"fault": "print"}))

    def test_it_answers_as_it_does_at_home(self) -> None:
        space, own = create_space("odd"), create_space("spos", {"num_classes": 3})
        assert (space.genes, space.size, space.input_shapes) == (own.genes, own.size, own.input_shapes)
        assert _graph(space) == _graph(own)
        assert list(space.supernet_graphs()) == list(own.supernet_graphs())
        with pytest.raises(InvalidGenotypeError, match="genotype has 1 genes"):
            space.canonical((0,))

    def test_native_code_that_holds_the_interpreter_is_given_up_in_time(self) -> None:
        space, found = create_space("odd", {"fault": "gil"}), declared_spaces().get("odd")
        process: ApartProcess = apart.process_of(Door.SPACES, SpaceDeclaration, found)
        architecture = space.decode(FIRST)
        from nas_engine.domain.plugins.value_document import to_document

        argument = {
            "parameters": {"fault": "gil"},
            "call": "graph",
            "given": [to_document(architecture), to_document(Form.DEPLOYED)],
        }
        start_s = time.monotonic()
        with pytest.raises(PluginError, match=r"graph did not return within 1 s"):
            process.ask("graph", "nas_engine.spaces.apart:answer", argument, 1.0)
        assert time.monotonic() - start_s < 60
        assert space.canonical(FIRST) == FIRST

    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            ("exit", "computing it ended its process with exit status 7"),
            ("segfault", "computing it ended its process with signal SIGSEGV"),
            ("nan", "gave nan: it must be a finite number"),
            ("text", "computing it raised ValueError: could not convert string to float"),
            ("nothing", "computing it raised TypeError"),
        ],
    )
    def test_what_a_metric_does_in_a_call_is_named_and_the_next_call_is_answered(self, fault: str, reason: str) -> None:
        metric = metric_named("odd_nodes")
        settings = all_metrics().get("odd_nodes").declaration.settings
        assert settings is not None
        graph = create_space("spos").graph(create_space("spos").decode(FIRST), Form.DEPLOYED)
        assert graph is not None
        with pytest.raises(PluginError, match=rf"odd_nodes of brings-odd-nodes 1\.0.*{reason}"):
            graph_value(metric, graph, settings(fault=fault))
        assert graph_value(metric, graph, settings(scale=(2.0,))) == 2 * len(graph.nodes)
