"""What the backward pass of a transformer layer keeps, in numbers per position, for stock (unfused) layers.

`compute`: kept in the precision of the forward pass; `single`: kept in fp32 whatever that is, since RMSNorm computes in
fp32; `products`: results of matrix products and attention, which is what selective checkpointing keeps. d: hidden size;
q, k: widths of queries and of keys; f: feed-forward width. Compared with what autograd really keeps in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass

from trackyard.train.flops import Transformer
from trackyard.train.parameters import Recompute

SINGLE = 4
"""Bytes of a number in fp32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """Numbers per position and layer. hidden: the layer's input, which is all that full checkpointing keeps."""

    compute: int
    single: int
    products: int
    hidden: int

    def bytes(self, how: Recompute, width: int) -> int:
        """Bytes per position and layer; width: bytes of a number in the precision of the forward pass."""
        if how == "full":
            return self.hidden * width
        if how == "selective":
            return (self.hidden + self.products) * width
        return self.compute * width + self.single * SINGLE


def decoder(shape: Transformer, *, head_norms: bool = True) -> Kept:
    """A trained decoder layer of the Qwen, Olmo or Llama kind: RMSNorm, gated feed-forward.

    head_norms: queries and keys are normalised. Keys and values are repeated for the attention.
    """
    d, q, k, f = _widths(shape)
    normed = 2 * d + (q + k if head_norms else 0)
    return Kept(
        # Normalised states before their weight; inputs of products; repeated keys and values; result twice.
        compute=normed + 2 * d + 5 * q + 4 * f,
        single=normed,
        products=q + 2 * k + q + d + 2 * f + d,
        hidden=d,
    )


def frozen_decoder(shape: Transformer) -> Kept:
    """A frozen Gemma layer that gradients pass through: four norms, and no inputs of products."""
    d, q, k, f = _widths(shape)
    normed = 4 * d + q + k
    return Kept(compute=4 * q + 3 * f, single=normed, products=q + 2 * k + q + d + 2 * f + d, hidden=d)


def encoder(shape: Transformer) -> Kept:
    """A trained layer with LayerNorm and two feed-forward matrices: SigLIP, GPT-NeoX."""
    d, q, k, f = _widths(shape)
    return Kept(compute=4 * d + 3 * q + 2 * k + 2 * f, single=0, products=q + 2 * k + q + d + f + d, hidden=d)


def _widths(shape: Transformer) -> tuple[int, int, int, int]:
    return shape.hidden, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim, shape.ffn
