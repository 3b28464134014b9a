"""A foreign graph is data: what it would do outside of the network is refused by name, and nothing of it runs."""

import functools
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from converters import ConversionError
from converters.graphs.frozen_graph import FrozenGraph
from converters.hub.module import open_hub_module
from tests.oracle.files import freeze
from tests.oracle.hub_modules import write_tf1_module, write_tf2_module
from tests.oracle.recipes import made_up_variables
from tests.oracle.run import variable_shapes
from tests.processor_time import processor_time_below

SIZE = 64
FAMILY = "mobilenet_v1"


@pytest.fixture(scope="module")
def variables():
    return made_up_variables(variable_shapes(FAMILY, 0.25))


@pytest.fixture(scope="module")
def frozen(tmp_path_factory, variables):
    """The bytes of a healthy graph."""
    path = tmp_path_factory.mktemp("frozen") / "frozen.pb"
    freeze(path, FAMILY, variables, depth_multiplier=0.25, image_size=SIZE)
    return path.read_bytes()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(size=(2, SIZE, SIZE, 3)).astype(np.float32)


def constant(body, name, value):
    """Add a constant to a list of nodes."""
    node = body.add(name=name, op="Const")
    tensor = tf.make_tensor_proto(value)
    node.attr["dtype"].type = tensor.dtype
    node.attr["value"].tensor.CopyFrom(tensor)
    return node


def writer(body, target, separator=""):
    """Add nodes that write a file to a list of nodes, of a graph or (with ``:output:0``) of a function."""
    constant(body, "leak_name", str(target))
    constant(body, "leak_text", "text")
    body.add(name="leak", op="WriteFile").input.extend([f"leak_name{separator}", f"leak_text{separator}"])


def relu(graph):
    return next(node for node in graph.node if node.op == "Relu6")


def before_an_endpoint(graph, name):
    relu(graph).input.append(f"^{name}")


def operation(graph, target, op):
    graph.node.add(name="odd", op=op)
    before_an_endpoint(graph, "odd")


def function(graph, name, calls=()):
    """A function without arguments that calls others."""
    added = graph.library.function.add()
    added.signature.name = name
    for number, called in enumerate(calls):
        node = added.node_def.add(name=f"call{number}", op="PartitionedCall")
        node.attr["f"].func.name = called
        node.attr["Tin"].list.SetInParent()
        node.attr["Tout"].list.SetInParent()
    return added


def call(graph, name):
    graph.node.add(name="call", op=name)
    before_an_endpoint(graph, "call")


def write_by_control(graph, target):
    writer(graph.node, target)
    before_an_endpoint(graph, "leak")


def write_in_a_function(graph, target):
    function(graph, "outer", ["inner"])
    writer(function(graph, "inner").node_def, target, ":output:0")
    call(graph, "outer")


def write_under_the_name_of_an_operation(graph, target):
    writer(function(graph, "Relu6").node_def, target, ":output:0")


def recursion(graph, target):
    function(graph, "f", ["f"])
    call(graph, "f")


def mutual_recursion(graph, target):
    function(graph, "f", ["g"])
    function(graph, "g", ["f"])
    call(graph, "f")


def many_calls(graph, target):
    """Each function calls the next one four times: 4**39 nodes in 40 functions."""
    for number in range(40):
        function(graph, f"f{number}", [f"f{number + 1}"] * 4 if number < 39 else ())
    call(graph, "f0")


def many_nodes(graph, target):
    for number in range(300_000):
        graph.node.add(name=f"n{number}", op="NoOp")
    relu(graph).input.extend(f"^n{number}" for number in range(300_000))


def huge_constant(graph, target):
    constant(graph.node, "huge", np.float32(1)).attr["value"].tensor.tensor_shape.dim.add(size=2**30)
    before_an_endpoint(graph, "huge")


def huge_tensor(graph, target):
    constant(graph.node, "dims", np.array([2**16, 2**16], np.int32))
    constant(graph.node, "one", np.float32(1))
    node = graph.node.add(name="huge", op="Fill", input=["dims", "one"])
    node.attr["T"].type = tf.float32.as_datatype_enum
    before_an_endpoint(graph, "huge")


def weights(graph):
    return next(node for node in graph.node if node.name.endswith("Conv2d_0/weights"))


def short_content(graph, target):
    tensor = weights(graph).attr["value"].tensor
    tensor.tensor_content = tensor.tensor_content[:-4]


def dtype(graph, target, number):
    weights(graph).attr["dtype"].type = weights(graph).attr["value"].tensor.dtype = number


def negative_shape(graph, target):
    weights(graph).attr["value"].tensor.tensor_shape.dim[0].size = -3


def computed_dtype(graph, target):
    relu(graph).attr["T"].type = 20


def control_characters(graph, target):
    graph.node.add(name="\x1b[31mred\nline", op="WriteFile")
    before_an_endpoint(graph, "\x1b[31mred\nline")


def cycle(graph, target):
    for name, other in ("ab", "ba"):
        graph.node.add(name=name, op="Identity", input=[other]).attr["T"].type = 1
    before_an_endpoint(graph, "a")


def missing_input(graph, target):
    relu(graph).input[0] = "nowhere"


def name_twice(graph, target):
    graph.node.add(name="input", op="NoOp")


REFUSED = {
    "WriteFile before an endpoint": (write_by_control, "node leak has the operation WriteFile"),
    "WriteFile in a function": (write_in_a_function, "operation WriteFile"),
    "a function named as an operation": (write_under_the_name_of_an_operation, "operation WriteFile"),
    "ReadFile": (functools.partial(operation, op="ReadFile"), "operation ReadFile"),
    "PyFunc": (functools.partial(operation, op="PyFunc"), "operation PyFunc"),
    "an unknown operation": (functools.partial(operation, op="Frobnicate"), "operation Frobnicate"),
    "recursion": (recursion, "function f calls itself"),
    "mutual recursion": (mutual_recursion, "function f calls itself"),
    "functions that multiply": (many_calls, "more than 50000 nodes"),
    "many nodes": (many_nodes, "more than 50000 nodes"),
    "a huge constant": (huge_constant, "constants declare more than"),
    "a huge tensor": (huge_tensor, "Fill"),
    "content too short": (short_content, "weights.* bytes; its shape and dtype say"),
    "dtype 20": (functools.partial(dtype, number=20), "weights has dtype 20"),
    "dtype 21": (functools.partial(dtype, number=21), "weights has dtype 21"),
    "a negative shape": (negative_shape, "has the shape"),
    "an operation of dtype 20": (computed_dtype, "computes with dtype 20"),
    "control characters in a name": (control_characters, r"\\x1b\[31mred\\nline"),
    "a cycle": (cycle, "cycle"),
    "an input that is not there": (missing_input, "takes nowhere"),
    "a name twice": (name_twice, "have the name of another"),
}


@pytest.mark.parametrize("float64", [False, True])
@pytest.mark.parametrize("case", REFUSED)
def test_graphs_that_are_refused(case, float64, frozen, images, tmp_path):
    change, message = REFUSED[case]
    graph = tf.compat.v1.GraphDef.FromString(frozen)
    change(graph, tmp_path / "written")
    path = tmp_path / "odd.pb"
    path.write_bytes(graph.SerializeToString())
    with processor_time_below(5), pytest.raises(ConversionError, match=message) as error:
        FrozenGraph(path, float64=float64).run(images)
    assert str(path) in str(error.value) and "\n" not in str(error.value) and str(error.value).endswith(".")
    assert not (tmp_path / "written").exists()


def extra_writer(graph, target):
    writer(graph.node, target)


def extra_head(graph, target):
    """Another head on the features, of operations that are not allowed."""
    graph.node.add(name="head/odd", op="Frobnicate", input=[relu(graph).name])


def extra_nodes(graph, target):
    for number in range(300_000):
        graph.node.add(name=f"n{number}", op="NoOp")


def extra_recursion(graph, target):
    function(graph, "f", ["f"])
    graph.node.add(name="call", op="f")


def decoder_in_front(graph, target):
    """Images as the bytes of a JPEG, which the placeholder of the network is computed from."""
    given = next(node for node in graph.node if node.op == "Placeholder")
    given.op, shape = "ResizeBilinear", [SIZE, SIZE]
    given.attr.clear()
    given.attr["T"].type = tf.float32.as_datatype_enum
    graph.node.add(name="bytes", op="Placeholder").attr["dtype"].type = tf.string.as_datatype_enum
    graph.node.add(name="decode", op="DecodeJpeg", input=["bytes"])
    constant(graph.node, "size", np.array(shape, np.int32))
    given.input.extend(["decode", "size"])


def prefix(graph, target):
    for node in graph.node:
        node.name = f"import/{node.name}"
        node.input[:] = [f"import/{name}" for name in node.input]


def other_machine(graph, target):
    for node in graph.node:
        node.device = "/job:worker/device:TPU:7"
        node.attr["_class"].list.s.append(b"loc:@elsewhere")


@pytest.mark.parametrize(
    "change",
    [extra_writer, extra_head, extra_nodes, extra_recursion, decoder_in_front, prefix, other_machine],
    ids=lambda change: change.__name__,
)
def test_what_the_endpoints_do_not_need_neither_runs_nor_hinders(change, frozen, images, tmp_path):
    (tmp_path / "frozen.pb").write_bytes(frozen)
    expected = FrozenGraph(tmp_path / "frozen.pb").run(images)
    graph = tf.compat.v1.GraphDef.FromString(frozen)
    change(graph, tmp_path / "written")
    (tmp_path / "odd.pb").write_bytes(graph.SerializeToString())
    odd = FrozenGraph(tmp_path / "odd.pb")
    found = odd.run(images)
    assert odd.image_size == (SIZE, SIZE) and set(found) == set(expected) and len(found) == 30
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert odd.strides["MobilenetV1/Conv2d_0"] == (2, 1) and not (tmp_path / "written").exists()


WRITERS = {"TF1": write_tf1_module, "TF2": write_tf2_module}


@pytest.fixture(scope="module")
def modules(tmp_path_factory, variables):
    folder = tmp_path_factory.mktemp("modules")
    for form, write in WRITERS.items():
        write(folder / form, FAMILY, variables, 0.25, SIZE)
    return folder


def changed(modules, form, tmp_path, change):
    folder = tmp_path / "module"
    shutil.copytree(modules / form, folder)
    saved = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    change(saved, tmp_path / "written")
    (folder / "saved_model.pb").write_bytes(saved.SerializeToString())
    return folder


def use(folder, images):
    module = open_hub_module(folder)
    return module.run(images), module.train(images, 0.5), module.regularization_loss()


def in_call(saved, target):
    """In the function that computes the network."""
    for body in saved.meta_graphs[0].graph_def.library.function:
        if any(node.op == "Conv2D" for node in body.node_def):
            writer(body.node_def, target, ":output:0")
            body.control_ret["leak"] = "leak"
            body.signature.control_output.append("leak")


def in_recursion(saved, target):
    for body in saved.meta_graphs[0].graph_def.library.function:
        for node in body.node_def:
            if node.op == "StatefulPartitionedCall":
                node.attr["f"].func.name = body.signature.name


def in_tf1_network(saved, target):
    for graph in saved.meta_graphs:
        writer(graph.graph_def.node, target)
        relu(graph.graph_def).input.append("^leak")


def in_tf1_updates(saved, target):
    for graph in saved.meta_graphs:
        writer(graph.graph_def.node, target)
        graph.collection_def["update_ops"].node_list.value.append("leak")


@pytest.mark.parametrize(
    ("form", "change", "message"),
    [
        ("TF2", in_call, "leak has the operation WriteFile"),
        ("TF2", in_recursion, "calls itself"),
        ("TF1", in_tf1_network, "leak has the operation WriteFile"),
        ("TF1", in_tf1_updates, "leak has the operation WriteFile"),
    ],
)
def test_modules_that_are_refused(form, change, message, modules, images, tmp_path):
    folder = changed(modules, form, tmp_path, change)
    with pytest.raises(ConversionError, match=message) as error:
        use(folder, images)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "written").exists()


def as_main_operation(saved, target):
    """What TensorFlow's own loader runs: main and init operations, and the saver."""
    for graph in saved.meta_graphs:
        writer(graph.graph_def.node, target)
        for key in ("saved_model_main_op", "legacy_init_op", "table_initializer"):
            graph.collection_def[key].node_list.value[:] = ["leak"]
        signature = graph.signature_def["__saved_model_init_op"]
        signature.outputs["__saved_model_init_op"].name = "leak"
        graph.saver_def.restore_op_name = "leak"


def as_saver_and_initializer(saved, target):
    """In the functions that save, restore and initialize."""
    as_main_operation(saved, target)
    graph = saved.meta_graphs[0]
    for body in graph.graph_def.library.function:
        if "traced_restore" in body.signature.name or "traced_save" in body.signature.name:
            writer(body.node_def, target, ":output:0")
            body.control_ret["leak"] = "leak"
            body.signature.control_output.append("leak")
    if graph.object_graph_def.nodes:  # a resource whose initializer writes
        initializer = graph.graph_def.library.function.add()
        initializer.signature.name = "initialize"
        writer(initializer.node_def, target, ":output:0")
        graph.object_graph_def.concrete_functions["initialize"].SetInParent()
        graph.object_graph_def.nodes.add().resource.device = ""
        graph.object_graph_def.nodes[-1].children.add(
            local_name="_initialize", node_id=len(graph.object_graph_def.nodes)
        )
        graph.object_graph_def.nodes.add().function.concrete_functions.append("initialize")
        graph.object_graph_def.nodes[0].children.add(local_name="table", node_id=len(graph.object_graph_def.nodes) - 2)


@pytest.mark.parametrize("form", WRITERS)
def test_what_a_loader_would_run_is_not_run(form, modules, images, tmp_path):
    expected, trained, loss = use(modules / form, images)
    found, again, same = use(changed(modules, form, tmp_path, as_saver_and_initializer), images)
    assert all(np.array_equal(found[name], expected[name]) for name in expected) and loss == same
    assert set(again.moving_statistics) == set(trained.moving_statistics) != set()
    assert not (tmp_path / "written").exists()


RANGES = {
    "scaled": (lambda x: tf.compat.v1.subtract(x * 2.0, 1.0), (0.0, 1.0)),
    "of bytes": (lambda x: (x - 127.5) * (1 / 127.5), (0.0, 255.0)),
    "as it is": (tf.identity, (-1.0, 1.0)),
}


@pytest.mark.parametrize("case", RANGES)
def test_the_range_of_images_is_found_by_evaluating_what_scales_them(case, frozen, tmp_path):
    scale, expected = RANGES[case]
    with tf.Graph().as_default() as graph:
        images = tf.compat.v1.placeholder(tf.float32, (1, SIZE, SIZE, 3), name="images")
        network = tf.compat.v1.GraphDef.FromString(frozen)
        tf.import_graph_def(network, {"input:0": scale(images)}, name="net")
    (tmp_path / "scaled.pb").write_bytes(graph.as_graph_def().SerializeToString())
    odd = FrozenGraph(tmp_path / "scaled.pb")
    assert odd.input_range == pytest.approx(expected, abs=1e-3)
    assert (odd.batch, odd.image_size, odd.channels, odd.dtype) == (1, (SIZE, SIZE), 3, "float32")
    noise = np.random.default_rng(0).uniform(size=(3, SIZE, SIZE, 3)).astype(np.float32)
    (tmp_path / "frozen.pb").write_bytes(frozen)
    found, plain = odd.run(noise), FrozenGraph(tmp_path / "frozen.pb").run(noise)
    assert all(np.abs(found[name] - plain[name]).max() < 1e-4 * np.abs(plain[name]).max() for name in plain)


def test_what_a_graph_says_about_its_convolutions(frozen, tmp_path):
    (tmp_path / "frozen.pb").write_bytes(frozen)
    graph = FrozenGraph(tmp_path / "frozen.pb")
    assert not graph.folded and not graph.trains and graph.folded_scopes == ()
    assert len(graph.strides) == 28 and set(graph.paddings.values()) == {"SAME"}
    assert [scope for scope, (stride, _) in graph.strides.items() if stride == 2] == [
        f"MobilenetV1/Conv2d_{block}" for block in ("0", "2_depthwise", "4_depthwise", "6_depthwise", "12_depthwise")
    ]
    changed = tf.compat.v1.GraphDef.FromString(frozen)
    for node in changed.node:
        if node.op.startswith("FusedBatchNorm"):
            node.attr["is_training"].b = True
    (tmp_path / "training.pb").write_bytes(changed.SerializeToString())
    assert FrozenGraph(tmp_path / "training.pb").trains
