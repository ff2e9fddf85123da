"""Cuts a voice's graph in two, in memory: phonemes → latent frames → audio.

A Piper voice (VITS: Kim et al. 2021, arXiv:2106.06103) is exported as one graph that gives the
whole sentence at once. Its second half, the HiFi-GAN decoder, is made of convolutions only, so it
can run on a stretch of latent frames with some frames of context on each side, and give the same
samples as over the whole sentence. Cut there, a voice needs no retraining to speak the beginning
of a sentence before its end has been computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


class CannotSplitError(ValueError):
    """The graph does not look like a voice that can be cut; it speaks whole sentences then."""


@dataclass(frozen=True)
class SplitGraph:
    """The two halves and what is needed to run them."""

    encoder: bytes
    """Serialised ONNX model: the voice's inputs → `carried`, then `durations` if there are any."""
    decoder: bytes
    """Serialised ONNX model: `carried` → audio."""
    carried: tuple[str, ...]
    """Tensors from one half to the other. The first is the latent, [1, channels, frames]; others,
    as the speaker's embedding, do not depend on the frame."""
    durations: str | None
    """Frames for each phoneme id, [1, 1, ids], where the graph tells them."""
    context: int
    """Frames on each side of a stretch that its samples depend on."""
    hop: int
    """Samples per frame."""


def split_graph(model: Any) -> SplitGraph:
    """Cuts a voice (`onnx.ModelProto`) before its decoder. The model is not changed.

    Raises:
        CannotSplitError: No decoder as Piper exports it was found.
    """
    from onnx import TensorProto, helper

    graph = model.graph
    maker = {name: node for node in graph.node for name in node.output}
    weights = {weight.name: weight for weight in graph.initializer}
    first = _first_decoder_conv(graph, maker, weights)
    latent = first.input[0]
    decoder = _fed_by(graph, latent)
    inside = {id(node) for node in decoder}
    constants, carried = _needs(decoder, latent, maker, weights)
    inside |= {id(node) for node in constants}
    decoder = [node for node in graph.node if id(node) in inside]

    ceils = [node.output[0] for node in graph.node if node.op_type == "Ceil"]
    durations = ceils[0] if len(ceils) == 1 else None
    encoder_outputs = [*carried, *([durations] if durations else [])]
    encoder = _leading_to(graph, encoder_outputs, maker)

    def build(nodes: list[Any], name: str, inputs: list[Any], outputs: list[str]) -> bytes:
        used = set(_inputs_of(nodes))
        part = helper.make_graph(
            nodes,
            name,
            inputs,
            [helper.make_tensor_value_info(out, TensorProto.FLOAT, None) for out in outputs],
            [weight for weight in graph.initializer if weight.name in used],
        )
        built = helper.make_model(
            part, opset_imports=model.opset_import, ir_version=model.ir_version
        )
        serialised: bytes = built.SerializeToString()
        return serialised

    channels = weights[first.input[1]].dims[1]
    decoder_inputs = [
        helper.make_tensor_value_info(
            name, TensorProto.FLOAT, [1, channels, "frames"] if name == latent else None
        )
        for name in carried
    ]
    context, hop = _reach(decoder, latent, graph.output[0].name, weights)
    return SplitGraph(
        encoder=build(encoder, "encoder", list(graph.input), encoder_outputs),
        decoder=build(decoder, "decoder", decoder_inputs, [graph.output[0].name]),
        carried=tuple(carried),
        durations=durations,
        context=context,
        hop=hop,
    )


def _first_decoder_conv(graph: Any, maker: dict[str, Any], weights: dict[str, Any]) -> Any:
    """Walks back from the first upsampling, which only the decoder has, to the decoder's start."""
    up = next((node for node in graph.node if node.op_type == "ConvTranspose"), None)
    if up is None:
        raise CannotSplitError("the graph has no upsampling")
    node = maker.get(up.input[0])
    if node is None or node.op_type != "LeakyRelu":
        raise CannotSplitError("the first upsampling does not follow an activation")
    node = maker.get(node.input[0])
    branches = [node]
    if node is not None and node.op_type == "Add":
        # Voices of several speakers add the speaker's embedding here; its convolution has one tap.
        branches = [maker.get(name) for name in node.input]
    found = [
        branch
        for branch in branches
        if branch is not None
        and branch.op_type == "Conv"
        and branch.input[1] in weights
        and weights[branch.input[1]].dims[2] > 1
    ]
    if len(found) != 1:
        raise CannotSplitError("the decoder's first convolution was not found")
    return found[0]


def _fed_by(graph: Any, tensor: str) -> list[Any]:
    """All nodes that `tensor` reaches; the graph's nodes are in topological order."""
    reached, nodes = {tensor}, []
    for node in graph.node:
        if not reached.isdisjoint(node.input):
            reached.update(node.output)
            nodes.append(node)
    return nodes


def _needs(
    decoder: list[Any], latent: str, maker: dict[str, Any], weights: dict[str, Any]
) -> tuple[list[Any], list[str]]:
    """What the decoder takes from outside: constants to copy along, and tensors to carry over."""
    made_inside = {name for node in decoder for name in node.output}
    constants: list[Any] = []
    carried = [latent]
    for name in dict.fromkeys(_inputs_of(decoder)):
        if name in made_inside or name in weights or name in ("", latent):
            continue
        node = maker.get(name)
        if node is not None and node.op_type == "Constant":
            constants.append(node)
        else:
            carried.append(name)
    return constants, carried


def _leading_to(graph: Any, wanted: list[str], maker: dict[str, Any]) -> list[Any]:
    """All nodes that the wanted tensors depend on, in the graph's order."""
    kept: set[int] = set()
    pending = list(wanted)
    while pending:
        node = maker.get(pending.pop())
        if node is not None and id(node) not in kept:
            kept.add(id(node))
            pending.extend(_inputs_of([node]))
    return [node for node in graph.node if id(node) in kept]


def _inputs_of(nodes: Iterable[Any]) -> Iterable[str]:
    """Input names, those of nested graphs (`If`, `Loop`) included."""
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _inputs_of(attribute.g.node)


def _reach(decoder: list[Any], latent: str, audio: str, weights: dict[str, Any]) -> tuple[int, int]:
    """How many frames around itself a sample depends on, and samples per frame.

    Each tensor inside gets its rate (samples per frame) and its reach (frames, one-sided); a
    convolution adds half its dilated width, counted at its rate.
    """
    rate = {latent: 1.0}
    reach = {latent: 0.0}
    for node in decoder:
        sources = [name for name in node.input if name in rate]
        if not sources:
            continue
        at = max(rate[name] for name in sources)
        far = max(reach[name] for name in sources)
        if node.op_type in ("Conv", "ConvTranspose"):
            stride = _attribute(node, "strides")
            dilation = _attribute(node, "dilations")
            width = (weights[node.input[1]].dims[2] - 1) * dilation
            if node.op_type == "ConvTranspose":
                at *= stride
            else:
                at /= stride
            far += max(width, 1) / 2 / at if node.op_type == "Conv" else width / at
        for name in node.output:
            rate[name], reach[name] = at, far
    if audio not in rate or rate[audio] != int(rate[audio]):
        raise CannotSplitError("the decoder's output does not follow from the latent")
    return math.ceil(reach[audio]) + 1, int(rate[audio])


def _attribute(node: Any, name: str) -> int:
    """First value of a list attribute of a one-dimensional convolution, 1 by default."""
    return next((int(a.ints[0]) for a in node.attribute if a.name == name), 1)
