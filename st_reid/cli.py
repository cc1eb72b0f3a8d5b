"""What the command lines share: options from dataclasses, one line for a user's mistake, logging."""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import runpy
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn, TypeVar, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace, get_loader, set_loader

from st_reid.config import expected
from st_reid.errors import UserError, first_line, one_line, unknown_name
from st_reid.exits import Exit, Output, explain, flush_output, say
from st_reid.reading import check_yaml
from st_reid.stopping import StopRequest

C = TypeVar("C")
DEBUG = "--debug"


def run(command: Callable[[list[str]], None], name: str) -> NoReturn:
    """Run a command line and exit with a status of :class:`~st_reid.exits.Exit`; an error is one line.

    ``--debug`` prints the traceback before that line. If standard output is closed early, the work goes on without it.
    Of several processes, only the first one logs more than warnings.
    """
    rank = int(os.environ.get("RANK", 0))  # which `torchrun` sets
    logging.basicConfig(level=logging.WARNING if rank else logging.INFO, format="%(message)s", handlers=[Output()])
    name += f" (process {rank})" if rank else ""
    argv = [argument for argument in sys.argv[1:] if argument != DEBUG]
    status: int = Exit.DONE
    try:
        with StopRequest("nothing is half written, and the same command begins again"):
            command(_import_modules(argv))
    except (Exception, KeyboardInterrupt) as error:
        if len(argv) < len(sys.argv) - 1:
            traceback.print_exception(error)
        status, text = explain(error)
        say(f"{name}: {text}")
    finally:  # also after --help
        if not flush_output():
            sys.exit(Exit.MISTAKE)
    sys.exit(status)


def _import_modules(argv: list[str]) -> list[str]:
    """Import what ``--import`` names, files or modules, and return the other arguments.

    Raises:
        UserError: it does not exist, or its import fails.
    """
    rest: list[str] = []
    arguments = iter(argv)
    for argument in arguments:
        option, _, name = argument.partition("=")
        if option != "--import":
            rest.append(argument)
            continue
        name = name or next(arguments, "")
        try:
            if name.endswith(".py"):
                runpy.run_path(name, run_name=Path(name).stem)
            else:
                importlib.import_module(name)
        except Exception as error:  # it can be any code
            raise UserError(f"--import {name}: {type(error).__name__}: {first_line(error)}") from error
    return rest


def parse(config_class: type[C], argv: list[str], name: str) -> C:
    """Parse a command line, and the YAML file that ``--config`` names, into a dataclass.

    The command line wins over the file, the file over the dataclass's defaults: only given values are set.

    Args:
        config_class: a dataclass whose fields, nested ones by dotted names, are the options.
        argv: the arguments; dashes in option names count as underscores, and the end of a dotted name is enough
            if it is unique. ``--config`` takes a file or the name of a recipe.
        name: the program's name in its help.

    Raises:
        UserError: an unknown setting, with the nearest one, a value of a wrong type or out of its range, or a file
            that cannot be read.
    """
    settings = dict(_settings(config_class))
    for argument in argv:
        if not argument.isascii() and argument.encode(errors="replace").decode() != argument:
            raise UserError(f"{argument!r} is not UTF-8; rename it, or set LC_ALL=C.UTF-8 if the name is in UTF-8")
    argv = _tidy(argv, settings)
    parser = _parser(config_class, name)  # type: ignore[arg-type]

    def make(argv: list[str]) -> Any:
        values = parser.parse_args(argv, defaults=False)
        for setting, kind in settings.items():
            value = values.get(setting, values)
            odd = not isinstance(value, Namespace) if is_dataclass(kind) else value is None
            if odd and NoneType not in get_args(kind):
                raise TypeError(f'Parser key "{setting}": Got value: {value}')  # jsonargparse lets it pass
        for own in ("import", "debug"):
            if values.get(own) and not any(argument.partition("=")[0] == f"--{own}" for argument in argv):
                raise UserError(f"{own} stands in a file; expected --{own} on the command line, where alone it works")
        made = vars(parser.instantiate(values))
        return _plain(config_class(**{name: value for name, value in made.items() if name not in OWN}))

    asked = [argument for argument in argv if re.match("-h$|--help$|--print_config", argument)]
    try:
        if asked:
            with suppress(*_ERRORS):  # the result has the defaults that belong to the given settings
                parser.set_defaults(asdict(make([argument for argument in argv if argument not in asked])))
            parser.parse_args(argv)
        return make(argv)
    except _ERRORS as error:
        if isinstance(error, UserError):
            raise
        file = next((argument.partition("=")[2] for argument in argv if argument.startswith("--config=")), "")
        raise _explain(error, settings, file) from None


OWN = ("config", "import", "debug")  # of every command line, but not settings
_ERRORS = (ArgumentError, TypeError, ValueError, OverflowError, RecursionError)


@cache  # a run that is resumed parses twice
def _parser(config_class: type, name: str) -> ArgumentParser:
    parser = ArgumentParser(prog=name, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="a YAML file of these settings; the command line wins")
    parser.add_argument("--import", help="a Python file or a module that registers models or datasets")
    parser.add_argument(DEBUG, action="store_true", help="print the traceback of an error, too")
    parser.add_class_arguments(config_class, None)
    return parser


def _bounded(load: Callable[..., Any]) -> Callable[[str], Any]:
    """Make a loader of YAML refuse what is too large or too deep, in files and on the command line."""

    def bounded(value: str) -> Any:
        check_yaml(value)
        return load(value)

    return bounded


set_loader("yaml", _bounded(get_loader("yaml")), (yaml.YAMLError,))


def _settings(config_class: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the type of every setting."""
    hints = get_type_hints(config_class)
    for f in fields(config_class):
        yield prefix + f.name, hints[f.name]
        if is_dataclass(hints[f.name]):
            yield from _settings(hints[f.name], f"{prefix}{f.name}.")


def _plain(value: Any) -> Any:
    """Return a value as Python's own; one with a range is of a subclass, which neither YAML nor a checkpoint takes."""
    if is_dataclass(value):
        for f in fields(value):
            setattr(value, f.name, _plain(getattr(value, f.name)))
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return next((kind(value) for kind in (bool, int, float, str) if isinstance(value, kind)), value)


def _tidy(argv: list[str], settings: dict[str, Any]) -> list[str]:
    """Write options in full and joined with their values, a bare flag as true, and ``--config`` first.

    The values of a list stay texts, and the parser converts them, so that a camera 1 and a tracklet 0012 stay as given.
    """
    parts: list[list[str]] = [[]]  # the options, each with its values, after what stands before the first
    for argument in argv:
        if argument.startswith("--"):
            parts.append([])
        parts[-1].append(argument)
    first: list[str] = []
    rest = parts[0]
    for option, *values in parts[1:]:
        option, equals, value = option.partition("=")
        values = [value, *values] if equals else values
        name = _full_name(option.removeprefix("--").replace("-", "_"), settings)
        kind = settings.get(name)
        is_list = any(get_origin(alternative) is list for alternative in (kind, *get_args(kind)))
        if kind is bool and not equals and values[:1] not in (["true"], ["false"], ["True"], ["False"]):
            values = ["true", *values]
        if name == "config" and values:
            first += [f"--config={_config_file(values[0])}", *values[1:]]
        elif is_list and values and (len(values) > 1 or values[0][:1] != "["):
            rest.append(f"--{name}={json.dumps(values, ensure_ascii=False)}")
        else:
            rest += ["=".join([f"--{name}", *values[:1]]), *values[1:]]
    return first + rest


def _full_name(name: str, settings: dict[str, Any]) -> str:
    """Return the setting with the name ``name``, or with that end; an unknown name is returned unchanged."""
    full = [f"--{setting}" for setting in sorted(settings) if setting.endswith(f".{name}") and name not in settings]
    if len(full) > 1:
        raise UserError(f"--{name} may mean {' or '.join(full)}; write it in full")
    return full[0].removeprefix("--") if full else name


def _config_file(name: str) -> str:
    if not re.fullmatch(r"[\w-]+", name) or Path(name).is_file():
        return name
    from st_reid.recipe_files import find_config

    return str(find_config(name))


_UNKNOWN = re.compile(r"(?:arguments: --|Option '|Group '([^']+)' does not accept option ')([^'\s=]+)")
_GOT = re.compile(
    r"(?:Given|Got) value: ?(.*?)(?= Given value|$)|of type [^:]+: (.+?) (?:does not conform|not an?)"
    r"|(?:invalid literal|could not convert)[^'\"]*['\"](.*?)['\"](?= |$)|number, not '(\w+)'"
    r"|Not of type \w+: ?(.*?) ?does not match"
    r"|load config [\"'](.*?)[\"'](?= |$)"
)


def _explain(error: Exception, settings: dict[str, Any], file: str) -> UserError:
    """Turn jsonargparse's error of many lines into one line; ``file`` is that of ``--config``."""
    message = one_line(error).replace('"<unicode string>"', file)
    if unknown := _UNKNOWN.search(message):
        return unknown_name("setting", ".".join(filter(None, unknown.groups())), settings)
    names = [name for name in re.findall(r'Parser key "([^"]+)"', message) if name in settings]
    got = ["".join(groups) for groups in _GOT.findall(message)]
    if not names or not got:
        return UserError(message)
    words = expected(settings[names[-1]])
    if "does not conform" in message:  # it is a number
        words = re.sub("a (whole )?number of ", "", words)
    value = re.sub("^None(Type)?$", "null", got[-1]).replace("\0", "\\0") or "empty"
    return UserError(f"{names[-1]} is {value:.60}; expected {words}")
