"""How a command ends: what the user can mend is a message and exit code 1, Ctrl-C is exit code 130."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from stepladder.records import UserError


def guarded(work: Callable[[], None], stopped: str) -> None:
    """Run; `stopped` is said where Ctrl-C ends it."""
    try:
        work()
    except UserError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo(stopped, err=True)
        sys.exit(130)


def whole(name: str, text: str) -> int:
    """A whole number that a user gave. Raises UserError for anything else."""
    if not text.isdecimal():
        raise UserError(f"{name}: found {text!r}; expected a whole number, 0 or more")
    return int(text)
