"""`trackyard data`: know what exists, bring it, prove it, move it. One small module per step of that way."""

from __future__ import annotations

import typer

from trackyard.cli.data import bringing, importing, knowing, looking, making, moving, planning, proving

app = typer.Typer(help="What data exist; bring, prove, move and look at them.", no_args_is_help=True)
app.command("list")(knowing.list_)
app.command("show")(knowing.show)
app.command("instructions")(knowing.instructions)
app.command("plan")(planning.plan)
app.command("fetch")(bringing.fetch)
app.command("status")(bringing.status)
app.command("snapshot")(making.snapshot)
app.command("import")(importing.import_)
app.command("mini")(importing.mini)
app.command("verify")(proving.verify)
app.command("inspect")(looking.inspect)
app.command("sync")(moving.sync)
