"""A module whose values, gradients and running statistics are views into two flat tensors.

So an SGD step, a norm or a local rule's correction is one vector operation, whatever the model.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from simfl.params import Params


def params_of(module: nn.Module) -> Params:
    """The module's trained parameters, and after them its float buffers, copied.

    Frozen parameters, integer buffers and those that `state_dict` leaves out are not part of the
    model that travels: every device keeps their initial values.
    """
    named = {name: value for name, value in module.named_parameters() if value.requires_grad}
    later = []
    saved = module.state_dict(keep_vars=True)
    for name, value in module.named_buffers():
        if value.is_floating_point() and name in saved:
            named[name] = value  # type: ignore[assignment]
            later.append(name)
    return Params.from_named(named, later)


class FlatModule:
    """A private copy of a module, in training mode, over `flat` (P,) and `grad` (T,)."""

    def __init__(self, module: nn.Module, torch_device: torch.device | str = "cpu") -> None:
        self.module = copy.deepcopy(module).float().to(torch_device).train()
        initial = params_of(module)
        self.layout = initial.layout
        self.flat = initial.flat.to(torch_device)
        self.grad = torch.zeros(self.layout.trainable, device=torch_device)
        self._bind()

    @property
    def trained(self) -> Tensor:
        """The trainable part of `flat`, a view."""
        return self.flat[: self.layout.trainable]

    def load(self, flat: Tensor) -> None:
        """Sets all values, and everything that is not in `flat` to what it was at first."""
        self.flat.copy_(flat)
        for buffer, initial in self._rest:
            buffer.copy_(initial)

    def forget(self) -> None:
        """The next `backward` makes gradients of its own instead of adding to those in `grad`."""
        for value in self.learnt:
            value.grad = None

    @torch.no_grad()
    def descend(self, lr: float) -> None:
        """A step along the gradients that `backward` made after `forget`: y = y - lr * g."""
        for value in self.learnt:
            if value.grad is not None:
                value.add_(value.grad, alpha=-lr)

    def _bind(self) -> None:
        """Points the module's tensors into the flat ones."""
        where, shapes = self.layout.slices, dict(self.layout.shapes)
        #: The views of `grad`, one for each of `learnt`.
        self.grads: list[Tensor] = []
        self.learnt = [value for value in self.module.parameters() if value.requires_grad]
        for name, value in self.module.named_parameters():
            if name not in where:  # frozen
                continue
            value.data = self.flat[where[name]].view(shapes[name])
            value.grad = self.grad[where[name]].view(shapes[name])
            self.grads.append(value.grad)
        self._rest = []
        for name, buffer in self.module.named_buffers():
            if name in where:
                buffer.data = self.flat[where[name]].view(shapes[name])
            else:
                self._rest.append((buffer, buffer.clone()))
