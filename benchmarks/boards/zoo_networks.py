"""Networks of Rockchip's model zoo, rebuilt layer by layer from their papers and repositories, random weights.

Classifiers are layer graphs and go through our own exporter; detectors need upsampling and several
outputs, which a layer graph does not have, and are written by `Sketch`. Detectors end at their
heads' convolutions, as the zoo's do (decoding is done outside the model).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from zoo_sketch import Act, Sketch

from nas_engine.domain.graph_builder import GraphBuilder
from nas_engine.domain.layer_graph import ActivationKind, Init, InitKind, PoolKind
from nas_engine.export.onnx import export_onnx
from nas_engine.export.random_weights import random_weights

INIT = Init(InitKind.NORMAL, 0.01)
NUM_CLASSES = 80  # COCO


def mobilenet_v2() -> bytes:
    """Sandler et al. 2018, width 1.0, 224 pixels."""
    g = GraphBuilder((3, 224, 224))
    number = iter(range(1000))

    def layer(x: int, out: int, kernel: int, stride: int, groups: int, *, active: bool) -> int:
        name = f"layer{next(number)}"
        x = g.conv(x, f"{name}.conv", out=out, kernel=kernel, stride=stride, groups=groups, init=INIT)
        x = g.batch_norm(x, f"{name}.bn", affine=True)
        return g.activation(x, f"{name}.relu6", ActivationKind.RELU6) if active else x

    x = layer(g.input, 32, 3, 2, 1, active=True)
    for expand, out, repeats, stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)
    ):  # fmt: skip
        for repeat in range(repeats):
            y, c = x, g.channels(x)
            if expand > 1:
                y = layer(y, c * expand, 1, 1, 1, active=True)
            y = layer(y, c * expand, 3, 1 if repeat else stride, c * expand, active=True)
            y = layer(y, out, 1, 1, 1, active=False)
            x = g.add((x, y), f"add{next(number)}") if g.shape(x) == g.shape(y) else y
    x = layer(x, 1280, 1, 1, 1, active=True)
    x = g.flatten(g.global_avg_pool(x, "pool"), "flatten")
    graph = g.build(g.linear(x, "classifier", out=1000, init=INIT, bias=INIT))
    return export_onnx(graph, *random_weights(graph, 0))


def resnet50_v2() -> bytes:
    """He et al. 2016 (identity mappings: normalisation and activation before the convolutions), 224 pixels."""
    g = GraphBuilder((3, 224, 224))

    def normalised(x: int, name: str) -> int:
        return g.activation(g.batch_norm(x, f"{name}.bn", affine=True), f"{name}.relu", ActivationKind.RELU)

    x = g.conv(g.input, "stem", out=64, kernel=7, stride=2, init=INIT)
    x = g.pool(normalised(x, "stem"), "stem.pool", PoolKind.MAX, kernel=3, stride=2, padding=1)
    for stage, (width, repeats) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(repeats):
            name = f"stage{stage}.block{block}"
            stride = 2 if stage and not block else 1
            before = normalised(x, f"{name}.0")
            if not block:
                x = g.conv(before, f"{name}.shortcut", out=4 * width, kernel=1, stride=stride, init=INIT)
            y = normalised(g.conv(before, f"{name}.conv1", out=width, kernel=1, init=INIT), f"{name}.1")
            y = normalised(g.conv(y, f"{name}.conv2", out=width, kernel=3, stride=stride, init=INIT), f"{name}.2")
            x = g.add((x, g.conv(y, f"{name}.conv3", out=4 * width, kernel=1, init=INIT)), f"{name}.add")
    x = g.flatten(g.global_avg_pool(normalised(x, "head"), "head.pool"), "head.flatten")
    graph = g.build(g.linear(x, "head.linear", out=1000, init=INIT, bias=INIT))
    return export_onnx(graph, *random_weights(graph, 0))


def _spp_fast(s: Sketch, x: str, out: int, act: Act) -> str:
    pools = [s.conv(x, s.channels(x) // 2, 1, act=act)]
    for _ in range(3):
        pools.append(s.max_pool(pools[-1], 5))
    return s.conv(s.concat(*pools), out, 1, act=act)


def _csp_spp(s: Sketch, x: str, out: int, act: Act) -> str:
    """The pyramid pooling of YOLOv6 v3.0."""
    half = out // 2
    main = s.conv(s.conv(s.conv(x, half, 1, act=act), half, 3, act=act), half, 1, act=act)
    pools = [main]
    for _ in range(3):
        pools.append(s.max_pool(pools[-1], 5))
    main = s.conv(s.conv(s.concat(*pools), half, 1, act=act), half, 3, act=act)
    return s.conv(s.concat(s.conv(x, half, 1, act=act), main), out, 1, act=act)


def _c3(s: Sketch, x: str, out: int, repeats: int, act: Act, *, shortcut: bool) -> str:
    """CSP block of YOLOv5 and YOLOX."""
    main, side = s.conv(x, out // 2, 1, act=act), s.conv(x, out // 2, 1, act=act)
    for _ in range(repeats):
        inner = s.conv(s.conv(main, out // 2, 1, act=act), out // 2, 3, act=act)
        main = s.add(main, inner) if shortcut else inner
    return s.conv(s.concat(main, side), out, 1, act=act)


def _c2f(s: Sketch, x: str, out: int, repeats: int, act: Act, *, shortcut: bool) -> str:
    """Split block of YOLOv8."""
    parts = list(s.halves(s.conv(x, out, 1, act=act)))
    for _ in range(repeats):
        inner = s.conv(s.conv(parts[-1], out // 2, 3, act=act), out // 2, 3, act=act)
        parts.append(s.add(parts[-1], inner) if shortcut else inner)
    return s.conv(s.concat(*parts), out, 1, act=act)


Block = Callable[..., str]


def _neck(
    s: Sketch, levels: list[str], width: Callable[[int], int], n: int, block: Block, act: Act, *, reduce: bool
) -> list[str]:
    """Path aggregation over strides 8, 16 and 32; `reduce` has a 1x1 convolution before each upsampling."""
    p3, p4, p5 = levels
    top = s.conv(p5, width(512), 1, act=act) if reduce else p5
    middle = block(s, s.concat(s.upsample(top), p4), width(512), n, act, shortcut=False)
    lateral = s.conv(middle, width(256), 1, act=act) if reduce else middle
    small = block(s, s.concat(s.upsample(lateral), p3), width(256), n, act, shortcut=False)
    medium = block(s, s.concat(s.conv(small, width(256), 3, 2, act), lateral), width(512), n, act, shortcut=False)
    large = block(s, s.concat(s.conv(medium, width(512), 3, 2, act), top), width(1024), n, act, shortcut=False)
    return [small, medium, large]


def yolo_v5(depth: float, width_factor: float, act: Act = Act.SILU) -> bytes:
    """ultralytics/yolov5 v6 and later, 640 pixels."""
    s, width = Sketch((3, 640, 640)), partial(_scaled, factor=width_factor)
    x = s.conv(s.input, width(64), 6, 2, act, pad=2)
    levels = []
    for out, repeats in ((128, 3), (256, 6), (512, 9), (1024, 3)):
        x = _c3(s, s.conv(x, width(out), 3, 2, act), width(out), _repeats(repeats, depth), act, shortcut=True)
        levels.append(x)
    levels[-1] = _spp_fast(s, x, width(1024), act)
    features = _neck(s, levels[1:], width, _repeats(3, depth), _c3, act, reduce=True)
    return s.model([s.conv(x, 3 * (5 + NUM_CLASSES), 1, act=Act.SIGMOID) for x in features])


def yolo_v8(depth: float, width_factor: float, max_channels: int = 1024) -> bytes:
    """ultralytics YOLOv8 detection, 640 pixels, with the zoo's extra class sum per level."""
    s, act = Sketch((3, 640, 640)), Act.SILU
    width = partial(_scaled, factor=width_factor, largest=max_channels)
    x = s.conv(s.input, width(64), 3, 2, act)
    levels = []
    for out, repeats in ((128, 3), (256, 6), (512, 6), (1024, 3)):
        x = _c2f(s, s.conv(x, width(out), 3, 2, act), width(out), _repeats(repeats, depth), act, shortcut=True)
        levels.append(x)
    levels[-1] = _spp_fast(s, x, width(1024), act)
    features = _neck(s, levels[1:], width, _repeats(3, depth), _c2f, act, reduce=False)
    box_width, class_width = max(16, width(256) // 4, 64), max(width(256), NUM_CLASSES)
    outputs = []
    for x in features:
        box = s.conv(s.conv(x, box_width, 3), box_width, 3)
        classes = s.conv(s.conv(s.conv(x, class_width, 3), class_width, 3), NUM_CLASSES, 1, act=Act.SIGMOID)
        outputs += (s.conv(box, 64, 1, act=Act.NONE), classes, s.class_sum(classes))
    return s.model(outputs)


def yolo_x(depth: float, width_factor: float) -> bytes:
    """Ge et al. 2021, 640 pixels; the focus layer as the 6x6 convolution it equals."""
    s, act, width = Sketch((3, 640, 640)), Act.SILU, partial(_scaled, factor=width_factor)
    x = s.conv(s.input, width(64), 6, 2, act, pad=2)
    levels = []
    for out, repeats in ((128, 3), (256, 9), (512, 9), (1024, 3)):
        x, is_last = s.conv(x, width(out), 3, 2, act), out == 1024
        if is_last:
            narrow = s.conv(x, width(512), 1)
            x = s.conv(s.concat(narrow, *(s.max_pool(narrow, k) for k in (5, 9, 13))), width(1024), 1)
        x = _c3(s, x, width(out), _repeats(repeats, depth), act, shortcut=not is_last)
        levels.append(x)
    features = _neck(s, levels[1:], width, _repeats(3, depth), _c3, act, reduce=True)
    outputs = []
    for x in features:
        stem = s.conv(x, width(256), 1)
        classes, boxes = (s.conv(s.conv(stem, width(256), 3), width(256), 3) for _ in range(2))
        heads = [s.conv(boxes, 4, 1, act=Act.NONE), s.conv(boxes, 1, 1, act=Act.SIGMOID)]
        outputs.append(s.concat(*heads, s.conv(classes, NUM_CLASSES, 1, act=Act.SIGMOID)))
    return s.model(outputs)


def yolo_v6(depth: float, width_factor: float) -> bytes:
    """Li et al. 2023 (v3.0), sizes n and s, re-parameterised to plain 3x3 convolutions, 640 pixels."""
    s, act, width = Sketch((3, 640, 640)), Act.RELU, partial(_scaled, factor=width_factor)

    def repeated(x: str, out: int, repeats: int) -> str:
        for _ in range(_repeats(repeats, depth)):
            x = s.conv(x, out, 3, act=act)
        return x

    def fused(top: str, middle: str, bottom: str, out: int) -> str:
        up, side = s.transposed_conv(top, out), s.conv(middle, out, 1, act=act)
        down = s.conv(s.conv(bottom, out, 1, act=act), out, 3, 2, act)
        return s.conv(s.concat(up, side, down), out, 1, act=act)

    x = s.conv(s.input, width(64), 3, 2, act)
    levels = []
    for out, repeats in ((128, 6), (256, 12), (512, 18), (1024, 6)):
        x = repeated(s.conv(x, width(out), 3, 2, act), width(out), repeats)
        levels.append(x)
    p2, p3, p4, p5 = levels
    top = s.conv(_csp_spp(s, p5, width(1024), act), width(256), 1, act=act)
    middle = repeated(fused(top, p4, p3, width(256)), width(256), 12)
    lateral = s.conv(middle, width(128), 1, act=act)
    small = repeated(fused(lateral, p3, p2, width(128)), width(128), 12)
    medium = repeated(s.concat(s.conv(small, width(128), 3, 2, act), lateral), width(256), 12)
    large = repeated(s.concat(s.conv(medium, width(256), 3, 2, act), top), width(512), 12)
    outputs = []
    for x in (small, medium, large):
        stem = s.conv(x, s.channels(x), 1)
        classes, boxes = s.conv(stem, s.channels(x), 3), s.conv(stem, s.channels(x), 3)
        classes = s.conv(classes, NUM_CLASSES, 1, act=Act.SIGMOID)
        outputs += (s.conv(boxes, 4, 1, act=Act.NONE), classes, s.class_sum(classes))
    return s.model(outputs)


def retinaface_mobile() -> bytes:
    """RetinaFace (Deng et al. 2019) on MobileNetV1-0.25, 320 pixels (biubug6/Pytorch_Retinaface)."""
    s, act = Sketch((3, 320, 320)), Act.LEAKY
    x = s.conv(s.input, 8, 3, 2, act)
    levels = []
    stages = (((16, 1), (32, 2), (32, 1), (64, 2), (64, 1)), ((128, 2), *((128, 1),) * 5), ((256, 2), (256, 1)))
    for stage in stages:
        for out, stride in stage:
            x = s.conv(s.conv(x, s.channels(x), 3, stride, act, groups=s.channels(x)), out, 1, act=act)
        levels.append(x)
    p3, p4, p5 = (s.conv(x, 64, 1, act=act) for x in levels)
    p4 = s.conv(s.add(p4, s.upsample(p5)), 64, 3, act=act)
    p3 = s.conv(s.add(p3, s.upsample(p4)), 64, 3, act=act)
    outputs = []
    for x in (p3, p4, p5):
        five = s.conv(x, 16, 3, act=act)
        seven = s.conv(s.conv(five, 16, 3, act=act), 16, 3, act=Act.NONE)
        branches = s.concat(s.conv(x, 32, 3, act=Act.NONE), s.conv(five, 16, 3, act=Act.NONE), seven)
        x = s.activate(branches, Act.RELU)
        outputs += (s.conv(x, channels, 1, act=Act.NONE) for channels in (8, 4, 20))
    return s.model(outputs)


def _scaled(channels: int, *, factor: float, largest: int = 1024) -> int:
    """Channels times a width factor, rounded up to a multiple of 8 (all YOLO repositories)."""
    return -(-int(min(channels, largest) * factor) // 8) * 8


def _repeats(number: int, depth: float) -> int:
    return max(1, round(number * depth))


NETWORKS: dict[str, Callable[[], bytes]] = {
    "mobilenetv2-12": mobilenet_v2,
    "resnet50-v2-7": resnet50_v2,
    "yolov5s_relu": partial(yolo_v5, 0.33, 0.50, Act.RELU),
    "yolov5n": partial(yolo_v5, 0.33, 0.25),
    "yolov5s": partial(yolo_v5, 0.33, 0.50),
    "yolov5m": partial(yolo_v5, 0.67, 0.75),
    "yolov6n": partial(yolo_v6, 0.33, 0.25),
    "yolov6s": partial(yolo_v6, 0.33, 0.50),
    "yolov8n": partial(yolo_v8, 0.33, 0.25),
    "yolov8s": partial(yolo_v8, 0.33, 0.50),
    "yolox_s": partial(yolo_x, 0.33, 0.50),
    "RetinaFace_mobile320": retinaface_mobile,
}
"""By the name they have in rknn_zoo_fps.json."""
