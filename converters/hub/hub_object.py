"""A model as a TF-Hub module: the reusable SavedModel that `hub.load` and `hub.KerasLayer` take.

The contract is that of the published modules of version 5, read off a genuine one: the root's ``variables``,
``trainable_variables`` and ``regularization_losses``, and ``__call__`` with four traces.
"""

from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

import mobilenets
from converters.parity.fused_batch_norm import FusedBatchNormalization
from converters.weights import family_of, is_trainable, weights_by_slim_name
from mobilenets import SCOPES
from mobilenets.families import FAMILIES

DEFAULT_MOMENTUM = 0.99


def hub_object(model: keras.Model) -> tuple[tf.train.Checkpoint, dict[str, Callable]]:
    """Returns what `tf.saved_model.save` takes: the root object and its signatures."""
    network = _network(model)
    weights = weights_by_slim_name(network)
    variables = {
        name: tf.Variable(weight.numpy(), name=name, trainable=is_trainable(name)) for name, weight in weights.items()
    }
    slim = {id(weight): variables[name] for name, weight in weights.items()}
    # In addition to the slim variables: the state of a dropout's random numbers.
    seeds = {id(v): tf.Variable(v.numpy(), trainable=False) for v in network.variables if id(v) not in slim}
    trainable = [slim[id(weight)] for weight in network.trainable_variables]
    others = [(slim | seeds)[id(weight)] for weight in network.non_trainable_variables]
    is_moving = [id(weight) in slim for weight in network.non_trainable_variables]

    images = tf.TensorSpec([None, *network.input_shape[1:]], tf.float32, "inputs")
    momentum = tf.TensorSpec([], tf.float32, "batch_norm_momentum")

    # One graph of the network for each mode, which all traces of `call` share.
    @tf.function(input_signature=[images])
    def infer(inputs):
        return network.stateless_call(trainable, others, inputs, training=False)[0]

    @tf.function(input_signature=[images, momentum])
    def train(inputs, batch_norm_momentum):
        outputs, updated = network.stateless_call(trainable, others, inputs, training=True)
        for variable, value, moving in zip(others, updated, is_moving, strict=True):
            # The network's own momentum is 0: then its statistics are those of the batch.
            if moving:
                value = variable * batch_norm_momentum + value * (1.0 - batch_norm_momentum)
            variable.assign(value)
        return outputs

    @tf.function
    def call(inputs, training=False, return_endpoints=False, batch_norm_momentum=DEFAULT_MOMENTUM):
        outputs = train(inputs, batch_norm_momentum) if training else infer(inputs)
        return outputs if return_endpoints else outputs["default"]

    for training in (False, True):
        for return_endpoints in (False, True):
            call.get_concrete_function(images, training, return_endpoints, momentum)

    root = tf.train.Checkpoint(
        variables=list(variables.values()),
        trainable_variables=trainable,
        regularization_losses=_regularization_losses(network, slim),
        dropout_state=list(seeds.values()),
    )
    root.__call__ = call
    return root, _signatures(call, images.shape, network)


def _network(model: keras.Model) -> keras.Model:
    """Returns the model with every endpoint as an output, and batch norms that hand out the statistics of a batch."""
    input_shape = None if FAMILIES[family_of(model)].fixed_image_size else (None, None, model.input_shape[3])
    inner = mobilenets.with_batch_norm(model, FusedBatchNormalization, momentum=0.0, input_shape=input_shape)
    return keras.Model(inner.input, {"default": inner.output, **mobilenets.endpoints(inner)})


def _regularization_losses(network: keras.Model, variables: Mapping[int, tf.Variable]) -> list[Callable]:
    """One function that gives the sum, as in the published modules; none where the model has no weight decay."""
    decayed = [
        (regularizer, variables[id(weight)])
        for layer in network.layers
        for weight in layer.trainable_weights
        if (regularizer := weight.regularizer) is not None
    ]
    if not decayed:
        return []
    return [
        tf.function(lambda: tf.add_n([regularizer(variable) for regularizer, variable in decayed]), input_signature=[])
    ]


def _signatures(call: Callable, shape: tf.TensorShape, network: keras.Model) -> dict[str, Callable]:
    """Returns the signatures of versions 1 to 3 and, for servers, ``serving_default``."""
    scope = SCOPES[family_of(network)]
    logits = (f"{scope}/Logits", f"{scope}/Predictions")

    def default(outputs):
        return {"default": outputs["default"]}

    def feature_vector(outputs):
        features = {name: tensor for name, tensor in outputs.items() if name not in logits}
        return features | {"default": tf.squeeze(outputs[f"{scope}/global_pool"], [1, 2])}

    selections = {"serving_default": default, "default": default, "image_feature_vector": feature_vector}
    if logits[0] in network.output:
        selections["image_classification"] = lambda outputs: outputs
    momentum = tf.constant(DEFAULT_MOMENTUM)
    return {
        name: tf.function(
            lambda images, choose=choose: choose(call(images, return_endpoints=True, batch_norm_momentum=momentum)),
            input_signature=[tf.TensorSpec(shape, tf.float32, "inputs" if name == "serving_default" else "images")],
        )
        for name, choose in selections.items()
    }
