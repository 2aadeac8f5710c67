"""`trackyard image`: container images, built, proved and entered."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trackyard.cli.printing import print_check, print_json, size
from trackyard.cli.root import repository_root
from trackyard.errors import EXIT_FAILED, ConfigError

if TYPE_CHECKING:
    from trackyard.launch.sites import Site

app = typer.Typer(help="Container images: build one, prove it, run commands in it.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="name of the image: cpu, train; containers/NAME.def defines it")]


@app.command()
def build(
    name: Name,
    build_arg: Annotated[list[str] | None, typer.Option(help="KEY=VALUE for the definition; repeatable")] = None,
    tmp: Annotated[Path | None, typer.Option(help="where it is unpacked, instead of APPTAINER_TMPDIR")] = None,
) -> None:
    """Build an image from its definition, run its test, and write its digest, packages and SBOM into containers/."""
    from trackyard.launch.chosen import chosen_site
    from trackyard.launch.image.building import build as build_image
    from trackyard.runner import SystemRunner

    root = repository_root()
    site = chosen_site(root)
    locked = build_image(
        root, name, SystemRunner(), site=site, given=_arguments(build_arg or []), temporary=tmp, say=_say
    )
    _tell_others(root, name, site)
    print(f"{name}: {locked.digest}, {size(locked.sif_bytes)}; next: trackyard image verify {name}")


@app.command()
def verify(name: Name) -> None:
    """Prove that an image is the locked bytes and that all that the lock says of it is true; exit 1 where it is not."""
    from trackyard.launch.chosen import chosen_site
    from trackyard.launch.image.verifying import checks
    from trackyard.launch.preflight import run_checks
    from trackyard.runner import SystemRunner

    root = repository_root()
    site = chosen_site(root)
    report = run_checks(checks(root, name, SystemRunner(), site=site), progress=print_check)
    _tell_others(root, name, site)
    examined = sum(row.examined for row in report.rows)
    print(f"{name}: {'proved' if report.ok else 'NOT proved'}: {report.count('failed')} of {len(report.rows)} checks "
          f"failed, {examined} things examined")  # fmt: skip
    if not report.ok:
        raise typer.Exit(EXIT_FAILED)


@app.command(name="exec", context_settings={"ignore_unknown_options": True})
def execute(
    name: Name,
    command: Annotated[list[str], typer.Argument(help="what to run, behind --")],
    nv: Annotated[bool, typer.Option("--nv", help="with this machine's GPUs")] = False,
) -> None:
    """Run a command in an image as stages are run in it; its exit code is this command's."""
    from trackyard.launch.chosen import chosen_site
    from trackyard.launch.image.entering import entering_argv, entering_environment
    from trackyard.launch.image.finding import named_image
    from trackyard.launch.image.inside import entering_for
    from trackyard.runner import SystemRunner

    root = repository_root()
    site = chosen_site(root)
    image, digest = named_image(root, name, site)
    entering = entering_for(root, image, digest, tuple(command), site=site, gpus=nv, runner=SystemRunner())
    argv = entering_argv(entering)
    # In place of this process, so that signals reach the command itself.
    os.execvpe(argv[0], argv, entering_environment(entering, os.environ))


@app.command()
def lock(
    name: Name,
    source: Annotated[Path | None, typer.Option("--from", help="an image file that was built elsewhere")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document")] = False,
) -> None:
    """Show what the lock says of an image, or take over a file from elsewhere: tested, copied and locked."""
    from trackyard.launch.chosen import chosen_site
    from trackyard.launch.image.adopting import adopt
    from trackyard.launch.image.lock_file import locked_image
    from trackyard.runner import SystemRunner

    root = repository_root()
    if source is not None:
        adopt(root, name, source, SystemRunner(), site=chosen_site(root))
    locked = locked_image(root, name)
    if as_json:
        print_json(locked)
        return
    for key, value in locked.model_dump().items():
        if key not in ("base", "build_args"):
            print(f"{key:20} {value if value is not None else 'none'}")
    print(f"{'base':20} {locked.base.name} {locked.base.digest}")
    for key, value in locked.build_args.items():
        print(f"{'build argument':20} {key}={value}")


@app.command()
def sbom(name: Name) -> None:
    """Print the bill of materials (CycloneDX 1.5) of an image, read from the image itself."""
    from trackyard.launch.chosen import chosen_site
    from trackyard.launch.image.finding import named_image
    from trackyard.launch.image.sbom import packages_inside, sbom_document
    from trackyard.runner import SystemRunner

    root = repository_root()
    image, digest = named_image(root, name, chosen_site(root))
    packages = packages_inside(image, digest, root, SystemRunner())
    print_json(sbom_document(name, digest.partition(":")[2], packages))


def _tell_others(root: Path, name: str, site: Site | None) -> None:
    """Other files of an image in a store. Nothing is removed: other checkouts may run in them."""
    from trackyard.launch.image.finding import image_folder
    from trackyard.launch.image.lock_file import locked_image
    from trackyard.launch.image.space import others

    found = others(image_folder(root, site), name, locked_image(root, name).file)
    if found:
        total = sum(path.stat().st_size for path in found)
        print(f"{name}: {len(found)} other files of it in the store, {size(total)}; where no checkout has locked them "
              f"and no job runs in them: {shlex.join(['rm', *map(str, found)])}")  # fmt: skip


def _arguments(given: list[str]) -> dict[str, str]:
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError(
                what=f"--build-arg {text}",
                why="a build argument is KEY=VALUE",
                fix="trackyard image build cpu --build-arg BASE=containers/debian.sif",
            )
        found[key] = value
    return found


def _say(line: str) -> None:
    print(line, flush=True)
