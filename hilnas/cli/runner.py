"""Groups of commands: one for each noun, all with the same settings."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

SETTINGS = {"help_option_names": ["-h", "--help"]}


def new_app(help_text: str, *, default_verb: str | None = None) -> typer.Typer:
    """Make the empty group of a noun.

    Args:
        default_verb: stands where none is given, as ``run`` of ``hilnas server``.
    """
    return typer.Typer(
        cls=TyperGroup if default_verb is None else _with_default(default_verb),
        help=help_text,
        no_args_is_help=default_verb is None,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",  # the other mode takes [brackets] in help texts for markup and swallows them
        context_settings=dict(SETTINGS),
    )


def _with_default(verb: str) -> type[TyperGroup]:
    class WithDefaultVerb(TyperGroup):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            if not args or self._is_for_the_default(args[0]):
                args = [verb, *args]
            return super().parse_args(ctx, args)

        def _is_for_the_default(self, word: str) -> bool:
            if word in self.commands or word in SETTINGS["help_option_names"]:
                return False
            # Where the verb takes no words of its own, one that is not known is a mistyped verb.
            takes_words = any(one.param_type_name == "argument" for one in self.commands[verb].params)
            return takes_words or word.startswith("-")

    return WithDefaultVerb
