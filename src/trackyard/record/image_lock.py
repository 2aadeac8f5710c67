"""containers/image.lock.json: which bytes an image is, and what they were made from. Source: hpc spec section 1.2.

It is a dependency of every stage that runs in an image, so another image makes those stages stale, and only those. Two
builds of one definition differ in their bytes: the file is committed empty, and whoever builds or brings an image
writes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationError

from trackyard.errors import DataError
from trackyard.parameters import Parameters
from trackyard.schema import read_document, write_document

SCHEMA = "trackyard-image-lock/1"
IMAGE_LOCK = Path("containers") / "image.lock.json"
"""Of the repository."""
CONTAINERS = IMAGE_LOCK.parent
"""Where definitions lie, and image files where a site names no store."""
RESTORE = f"git checkout -- {IMAGE_LOCK}, then `trackyard image lock NAME --from FILE.sif` for each image you have"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Base(Parameters):
    """What an image was made on. digest: `sha256:` and 64 hex digits, of the image that `name` was resolved to."""

    name: str
    digest: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class Locked(Parameters):
    """One image.

    file: its name, in the site's image store, else in containers/. def_sha256: of containers/NAME.def as it was built.
    build_args: those that were given, by name. package_lock_sha256: of the requirements.lock that was installed. cuda,
    driver_min: of the CUDA libraries inside and the oldest driver that serves them; none: there are none. sbom,
    packages: paths in the repository. created: of the build, ISO 8601.
    """

    file: FileName
    def_sha256: Sha256
    build_args: dict[str, str]
    base: Base
    sif_sha256: Sha256
    sif_bytes: int = Field(ge=1)
    apptainer_version: str
    package_lock_sha256: Sha256
    cuda: str | None
    driver_min: str | None
    sbom: str
    packages: str
    created: str

    @property
    def digest(self) -> str:
        """As TRACKYARD_IMAGE_DIGEST and results have it."""
        return f"sha256:{self.sif_sha256}"


class ImageLock(Parameters):
    """The whole file: images by name."""

    images: dict[FileName, Locked] = Field(default_factory=dict)


def read_lock(root: Path) -> ImageLock:
    """The lock of the repository; DataError names what is absent or wrong in it."""
    path = root / IMAGE_LOCK
    body = read_document(path, SCHEMA, fix=RESTORE)
    try:
        return ImageLock.model_validate({key: value for key, value in body.items() if key != "schema"})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise DataError(
            what=f"{path}: {wrong}", why="which bytes an image is cannot be read from a damaged lock", fix=RESTORE
        ) from error


def write_lock(root: Path, lock: ImageLock) -> None:
    """Replace the lock of the repository, images in the order of their names."""
    images = {name: lock.images[name].model_dump(mode="json") for name in sorted(lock.images)}
    write_document(root / IMAGE_LOCK, SCHEMA, {"images": images})
