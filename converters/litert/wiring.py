"""How the operations of a LiteRT model are connected, and the constants among their inputs."""

from collections.abc import Iterable

from converters.litert.schema import Model, Operator, Tensor

# Of one value each: an activation consists of them where it is not fused into the convolution.
_ELEMENTWISE = ("ADD", "MUL", "MINIMUM", "MAXIMUM", "RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "HARD_SWISH")


class Wiring:
    """The operations of a model by the tensors that they write and read.

    Args:
        model: from `converters.litert.schema.read_model`.
    """

    def __init__(self, model: Model):
        self.model = model
        self._producers = {index: op for op in model.operators for index in op.outputs}
        self._order = {index: place for place, op in enumerate(model.operators) for index in op.outputs}
        self._readers: dict[int, list[Operator]] = {}
        for op in model.operators:
            for index in op.inputs:
                self._readers.setdefault(index, []).append(op)

    def producer(self, index: int) -> Operator | None:
        """Returns the operation that writes a tensor; None of the image and of constants."""
        return self._producers.get(index)

    def readers(self, index: int) -> list[Operator]:
        """Returns the operations that read a tensor."""
        return self._readers.get(index, [])

    def constant(self, index: int) -> Tensor | None:
        """Returns a constant, directly or behind the operation that widens float16 weights."""
        producer = self._producers.get(index)
        if producer is not None and producer.kind == "DEQUANTIZE":
            index = producer.inputs[0]
        tensor = self.model.tensors[index]
        return None if tensor.values is None else tensor

    def activated(self, index: int) -> int:
        """Returns the tensor after the operations that read nothing but this one: an activation that is not fused.

        Hard-swish is one operation, or a sum, a ReLU6 and two products.
        """
        own, last, waiting = {index}, index, list(self.readers(index))
        while waiting:
            op = min(waiting, key=lambda op: self._order[op.outputs[0]])
            waiting = [other for other in waiting if other is not op]
            if op.kind in _ELEMENTWISE and all(i in own or self.constant(i) is not None for i in op.inputs):
                own.update(op.outputs)
                last = op.outputs[0]
                waiting += self.readers(last)
        return last

    def is_computed_last(self, index: int, others: Iterable[int]) -> bool:
        """Returns whether no other of these tensors is computed after this one."""
        return all(self._order.get(other, -1) <= self._order.get(index, -1) for other in others)
