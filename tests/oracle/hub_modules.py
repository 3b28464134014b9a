"""Writes hub modules of the original networks, in the format of versions 1 to 3 (TF1) and of versions 4 and 5 (TF2).

Layout, signatures, endpoint names and attachments follow the published modules of the `google/imagenet` collection.
"""

import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow

from .networks import FAMILIES, network
from .run import load, new_session, variable_shapes
from .slim import tf

DEFAULT_MOMENTUM = 0.99

# `ModuleDef{format: FORMAT_V3}` of tensorflow_hub's module_def.proto.
TF1_FORMAT = b"\x08\x03"
# `ATTACHMENT_COLLECTION_SAVED` of tensorflow_hub's saved_model_lib.py.
ATTACHMENTS = "hub_module_attachments"


def write_tf1_module(
    folder: str | pathlib.Path,
    family: str,
    variables: Mapping[str, np.ndarray],
    depth_multiplier: float,
    image_size: int,
    *,
    classification: bool = True,
    num_classes: int = 1001,
    dropout_keep_prob: float | None = None,
    batch_norm_hparams: bool = True,
    variant: str = "large",
) -> None:
    """Writes a module in TF1 hub format: two graphs, tagged `{}` and `{"train"}`, over one slim-named checkpoint.

    Signatures: `default`, `image_feature_vector`, `image_classification` and the latter two with `_with_bn_hparams`
    (input `batch_norm_momentum`). All but `default` return every endpoint as `<Scope>/<endpoint>`.

    Args:
        folder: To be created.
        family: "mobilenet_v1", "mobilenet_v2", "mobilenet_v3" or "inception_v2".
        variables: `{slim name: array}`.
        depth_multiplier: Factor of all widths.
        image_size: Of MobileNet V2's and V3's inputs, which are fixed; recorded as the default of the others.
        classification: With logits, or a feature vector module.
        num_classes: Classes of the logits.
        dropout_keep_prob: In the training graph; None: the family's own.
        batch_norm_hparams: Whether the `_with_bn_hparams` signatures are there, as in version 3, or not, as before.
        variant: As in `network`.
    """
    folder, num_classes = pathlib.Path(folder), num_classes if classification else None
    builder = tf.saved_model.Builder(str(folder))
    for is_training in (False, True):
        with tf.Graph().as_default(), new_session() as session:
            with tf.name_scope("hub_input"):
                images = tf.placeholder(tf.float32, _image_shape(family, image_size), "images")
                momentum = tf.placeholder_with_default(DEFAULT_MOMENTUM, (), "batch_norm_momentum")
            outputs = _outputs(
                family,
                images,
                momentum,
                is_training,
                depth_multiplier=depth_multiplier,
                num_classes=num_classes,
                dropout_keep_prob=dropout_keep_prob,
                variant=variant,
            )
            tf.add_to_collection(ATTACHMENTS, _image_module_info(image_size))
            signatures = {
                name: signature
                for name, signature in _tf1_signatures(images, momentum, outputs).items()
                if batch_norm_hparams or not name.endswith("_with_bn_hparams")
            }
            if is_training:
                builder.add_meta_graph(["train"], signatures)
            else:
                load(session, tf.global_variables(), variables)
                builder.add_meta_graph_and_variables(session, [], signatures)
    builder.save()
    (folder / "tfhub_module.pb").write_bytes(TF1_FORMAT)


def write_tf2_module(
    folder: str | pathlib.Path,
    family: str,
    variables: Mapping[str, np.ndarray],
    depth_multiplier: float,
    image_size: int,
    *,
    classification: bool = True,
    num_classes: int = 1001,
    dropout_keep_prob: float | None = None,
    weight_decay: float = 4e-5,
    signatures: bool = True,
    variant: str = "large",
) -> None:
    """Writes a module in TF2 format: a reusable SavedModel around the slim graph.

    `__call__(inputs, training=False, return_endpoints=False, batch_norm_momentum=0.99)` in four traces, `variables`,
    `trainable_variables`, and `regularization_losses` with one function that returns the sum.

    Args:
        folder: To be created.
        family: "mobilenet_v1", "mobilenet_v2", "mobilenet_v3" or "inception_v2".
        variables: `{slim name: array}`.
        depth_multiplier: Factor of all widths.
        image_size: Of MobileNet V2's and V3's inputs, which are fixed.
        classification: With logits, or a feature vector module.
        num_classes: Classes of the logits.
        dropout_keep_prob: In training; None: the family's own.
        weight_decay: L2 strength in the regularization loss.
        signatures: Whether `serving_default` is there, as in version 5, or not, as in version 4.
        variant: As in `network`.
    """
    inputs = tensorflow.TensorSpec(_image_shape(family, image_size), tensorflow.float32, "inputs")
    momentum = tensorflow.TensorSpec((), tensorflow.float32, "batch_norm_momentum")
    num_classes = num_classes if classification else None
    # Made once, outside of the graphs that share them. In slim, the moving statistics alone are not trainable.
    shared = {
        name: tensorflow.Variable(variables[name].astype(np.float32), trainable="/moving_" not in name, name=name)
        for name in variable_shapes(family, depth_multiplier, num_classes=num_classes, variant=variant)
    }
    graphs, losses = {}, {}
    for is_training in (False, True):

        def build(images, batch_norm_momentum, is_training=is_training):
            with tf.variable_creator_scope(lambda _, *, name, **rest: shared[name]):
                outputs = _outputs(
                    family,
                    images,
                    batch_norm_momentum,
                    is_training,
                    depth_multiplier=depth_multiplier,
                    num_classes=num_classes,
                    dropout_keep_prob=dropout_keep_prob,
                    weight_decay=weight_decay,
                    variant=variant,
                )
            losses[is_training] = tf.losses.get_regularization_loss()
            # The statistics move whenever the outputs are computed; a caller of TF2 knows no collections.
            with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
                return {name: tf.identity(tensor) for name, tensor in outputs.items()}

        graphs[is_training] = tf.wrap_function(build, [inputs, momentum])

    @tensorflow.function
    def call(inputs, training=False, return_endpoints=False, batch_norm_momentum=DEFAULT_MOMENTUM):
        outputs = graphs[training](inputs, tensorflow.convert_to_tensor(batch_norm_momentum, tensorflow.float32))
        return outputs if return_endpoints else outputs["default"]

    for training in (False, True):
        for return_endpoints in (False, True):
            call.get_concrete_function(inputs, training, return_endpoints, momentum)

    regularization_loss = graphs[False].prune([], losses[False])
    root = tensorflow.train.Checkpoint(
        variables=list(shared.values()),
        trainable_variables=[variable for variable in shared.values() if variable.trainable],
        regularization_losses=[tensorflow.function(lambda: regularization_loss(), input_signature=[])],
    )
    root.__call__ = call

    @tensorflow.function(input_signature=[inputs])
    def serve(inputs):
        # As a tensor, like the momentum of the traces above: a number would make a trace of its own.
        output = call(inputs, batch_norm_momentum=tensorflow.constant(DEFAULT_MOMENTUM))
        return {"logits" if classification else "feature_vector": output}

    tensorflow.saved_model.save(root, str(folder), {"serving_default": serve} if signatures else {})


def _image_shape(family, image_size):
    size = image_size if family in ("mobilenet_v2", "mobilenet_v3") else None
    return (None, size, size, 3)


def _outputs(
    family,
    images,
    momentum,
    is_training,
    *,
    depth_multiplier,
    num_classes,
    dropout_keep_prob,
    weight_decay=4e-5,
    variant="large",
):
    """Everything a module returns, by hub name; `default` is the logits, or else the feature vector."""
    with tf.name_scope("hub_input"):
        rescaled = tf.subtract(tf.multiply(images, 2.0, "Mul"), 1.0, "Sub")
    _, endpoints = network(
        family,
        rescaled,
        depth_multiplier=depth_multiplier,
        num_classes=num_classes,
        is_training=is_training,
        batch_norm_decay=momentum,
        weight_decay=weight_decay,
        dropout_keep_prob=dropout_keep_prob,
        variant=variant,
    )
    scope = FAMILIES[family].scope
    outputs = {f"{scope}/{name}": tensor for name, tensor in endpoints.items()}
    if num_classes is None:
        with tf.name_scope("hub_output/feature_vector"):
            default = tf.squeeze(endpoints["global_pool"], [1, 2], "SpatialSqueeze")
    else:
        default = endpoints["Logits"]
    return {"default": default, **outputs}


def _tf1_signatures(images, momentum, outputs):
    heads = [name for name in outputs if name.endswith(("/Logits", "/Predictions"))]
    backbone = {name: tensor for name, tensor in outputs.items() if name not in heads}
    if heads:
        pooled = next(tensor for name, tensor in outputs.items() if name.endswith("/global_pool"))
        with tf.name_scope("hub_output/feature_vector"):
            backbone["default"] = tf.squeeze(pooled, [1, 2], "SpatialSqueeze")
    named = {"image_feature_vector": backbone} | ({"image_classification": outputs} if heads else {})

    signatures = {"default": ({"images": images}, {"default": outputs["default"]})}
    for name, tensors in named.items():
        signatures[name] = ({"images": images}, tensors)
        signatures[name + "_with_bn_hparams"] = ({"images": images, "batch_norm_momentum": momentum}, tensors)
    return {
        name: tf.saved_model.predict_signature_def(given, returned) for name, (given, returned) in signatures.items()
    }


def _image_module_info(image_size: int) -> bytes:
    """`ModuleAttachment{"image_module_info": ImageModuleInfo{default_image_size{height, width}}}`, serialized."""
    size = b"\x08" + _varint(image_size) + b"\x10" + _varint(image_size)
    return _bytes_field(1, b"image_module_info") + _bytes_field(2, _bytes_field(1, size))


def _bytes_field(number: int, payload: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + _varint(value >> 7)
