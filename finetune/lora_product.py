"""A layer with its low-rank update, in as few passes over memory as there can be."""

from typing import TYPE_CHECKING, Any

from peft.tuners.lora import Linear
from torch.autograd import Function
from torch.nn import Identity
from torch.nn.functional import linear

if TYPE_CHECKING:
    from torch import Tensor

Context = Any


class LoraProduct(Function):
    """`x W' + b + scale (x A') B'`, where only x, A and B get a gradient.

    The update is added into the product's own memory. As separate operations it would be written,
    scaled and added, each in a pass over all activations, and for a rank of 16 these passes cost
    as much as the update itself.
    """

    @staticmethod
    def forward(
        context: Context,
        x: "Tensor",
        weight: "Tensor",
        bias: "Tensor | None",
        a: "Tensor",
        b: "Tensor",
        scale: float,
    ) -> "Tensor":
        """Return shape (N, out) for `x` (N, in), `weight` (out, in), `a` (r, in), `b` (out, r)."""
        low = x @ a.T  # (N, r)
        context.save_for_backward(x, weight, a, b, low)
        context.scale = scale
        return linear(x, weight, bias).addmm_(low, b.T, alpha=scale)

    @staticmethod
    def backward(context: Context, *gradients: "Tensor") -> "tuple[Tensor | None, ...]":
        """Return the gradients of x, A and B; the frozen layer gets none."""
        (gradient,) = gradients  # (N, out)
        x, weight, a, b, low = context.saved_tensors
        low_gradient = (gradient @ b).mul_(context.scale)  # (N, r)
        of_x = None
        if context.needs_input_grad[0]:
            of_x = (gradient @ weight).addmm_(low_gradient, a)
        of_b = (gradient.T @ low).mul_(context.scale)
        return of_x, None, None, low_gradient.T @ x, of_b, None


class LoraLinear(Linear):
    """PEFT's layer, computed by `LoraProduct` wherever that is the same thing.

    The frozen layer may be in bfloat16: the adapter stays in float32 and is rounded for the
    product, so its gradient and its steps are not.
    """

    def forward(self, x: "Tensor", *args: Any, **kwargs: Any) -> "Tensor":
        """Return the layer's output for `x`: shape (..., in) to (..., out)."""
        name = self._plain_adapter()
        if name is None or args or kwargs:
            output: Tensor = super().forward(x, *args, **kwargs)
            return output
        base = self.get_base_layer()
        a, b = (part[name].weight.to(x.dtype) for part in (self.lora_A, self.lora_B))
        product: Any = LoraProduct.apply(  # type: ignore[no-untyped-call]
            x.flatten(0, -2), base.weight, base.bias, a, b, self.scaling[name]
        )
        shaped: Tensor = product.unflatten(0, x.shape[:-1])
        return shaped

    def _plain_adapter(self) -> str | None:
        """Return the adapter, if it is one without dropout and without a variant such as DoRA."""
        if self.disable_adapters or self.merged or len(self.active_adapters) != 1:
            return None
        (name,) = self.active_adapters
        plain = (
            name in self.lora_A
            and name not in self.lora_variant
            and isinstance(self.lora_dropout[name], Identity)
            and self.lora_B[name].bias is None
        )
        return name if plain else None
