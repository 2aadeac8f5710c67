"""What decides the latent of an image, and the key that names it. Source: theworld spec section 8, reliability F28."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from trackyard.digest import digest_json

DTYPE = "float16"
"""Of stored latents: as many bytes as bfloat16 with three bits more of precision; they stay far below 65,504."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderFacts:
    """An encoder and the way to it. repo, revision: of its folder. weights, config: blake3 of its files.

    preprocessing: version and size of what turns encoded images into its input. shape: (C, h, w) of a latent.
    """

    repo: str
    revision: str
    weights: str
    config: str
    preprocessing: str
    shape: tuple[int, int, int]
    dtype: str = DTYPE

    @property
    def row_bytes(self) -> int:
        """Of one latent: 131,072 for (16, 64, 64)."""
        channels, height, width = self.shape
        return 2 * channels * height * width

    @property
    def digest(self) -> str:
        """Of all facts: what two caches have in common when their latents are interchangeable."""
        return digest_json(asdict(self))

    def key(self, image: str) -> str:
        """blake3 over the image's digest (hex) and everything that its latent depends on, 64 hex characters."""
        return digest_json(
            [image, f"{self.repo}@{self.revision}", self.weights, self.config, self.preprocessing, self.dtype]
        )

    def differences(self, other: EncoderFacts) -> list[str]:
        """What `other` says otherwise: "revision: 12ab here, 34cd there"."""
        mine, theirs = asdict(self), asdict(other)
        return [f"{name}: {value} here, {theirs[name]} there" for name, value in mine.items() if value != theirs[name]]
