"""What the command lines share: options from dataclasses, one line for a user's mistake, logging."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, NoReturn, TypeVar, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from st_reid.errors import UserError, unknown_name
from st_reid.stopping import Interrupted

C = TypeVar("C")


def run(command: Callable[[list[str]], None], name: str) -> NoReturn:
    """Run a command line and exit: 0 on success, 2 with one line on a user's mistake, 130 on Ctrl-C, 143 on SIGTERM.

    Of several processes the first one speaks; the others only warn.
    """
    rank = int(os.environ.get("RANK", 0))  # which `torchrun` sets
    logging.basicConfig(level=logging.WARNING if rank else logging.INFO, format="%(message)s", stream=sys.stdout)
    name += f" (process {rank})" if rank else ""
    try:
        command(sys.argv[1:])
    except UserError as error:
        print(f"{name}: error: {one_line(error)}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"{name}: error: {error.filename or 'input or output'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(130)
    except Interrupted as interruption:
        print(f"{name}: {interruption}", file=sys.stderr)
        sys.exit(interruption.status)
    except RuntimeError as error:
        death = _explain_death(error)
        if death is None:
            raise
        print(f"{name}: error: {death}; a run goes on with --resume", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)


def _explain_death(error: RuntimeError) -> str | None:
    """Return what to say where a process died that this one needs, else ``None``."""
    text = one_line(error)
    if "DataLoader worker" in text:
        return f"a process that reads images died ({text}); if memory ran out, lower data.workers"
    if "RANK" in os.environ and re.search("(?i)connection (closed|reset)|broken pipe|remote process", text):
        return f"another process of this run ended ({text}); its own message says why"
    return None


def one_line(error: Exception) -> str:
    """Return an error's message as one line, without the traceback that a loader's worker wraps it in."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and lines[0].startswith("Caught "):
        return lines[-1].partition(": ")[2]
    return " ".join(lines)


def parse(config_class: type[C], argv: list[str], name: str, defaults: dict[str, Any] | None = None) -> C:
    """Parse a command line, and the YAML file that ``--config`` names, into a dataclass.

    The command line wins over the file, the file over ``defaults``, those over the dataclass's own.

    Args:
        config_class: a dataclass whose fields, nested ones by dotted names, are the options.
        argv: the arguments; dashes in option names are taken for underscores, and the last part of a dotted name is
            enough where it is unique.
        name: the program's name in its help.
        defaults: values by dotted name.

    Raises:
        UserError: an unknown setting, with the nearest one, a wrong type, or a file that cannot be read.
    """
    parser = ArgumentParser(prog=name, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="a YAML file of these settings; the command line wins")
    parser.add_class_arguments(config_class, None)
    try:
        parser.set_defaults(defaults or {})
        values = parser.parse_args(_tidy(argv, config_class))
    except (ArgumentError, TypeError, ValueError) as error:
        raise _explain(error, config_class) from None
    return _build(config_class, values)


def peek(argv: list[str], name: str) -> str | None:
    """Return the value that ``--name`` has on a command line or in its YAML file, before it is parsed."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(f"--{name}", nargs="?", dest="value")
    parser.add_argument("--config", nargs="?", action="append", default=[])
    found, _ = parser.parse_known_args(argv)
    for file in () if found.value else reversed(found.config):
        try:
            with open(file, encoding="utf-8") as f:
                settings = yaml.safe_load(f)
        except (OSError, TypeError, yaml.YAMLError, UnicodeDecodeError):
            continue  # `parse` says what is wrong with the file
        if isinstance(settings, dict) and isinstance(settings.get(name), str):
            return settings[name]
    return found.value


def _tidy(argv: list[str], config_class: Any) -> list[str]:
    """Write option names in full with underscores, bare flags as ``=true``, and ``--config`` first.

    The last part of a dotted name is enough where only one setting ends in it: ``--lr`` for ``--optim.lr``.
    """
    settings = dict(_settings(config_class))
    argv = _join_lists(argv, {name: _text_in_list(kind) for name, kind in settings.items() if list in _kinds(kind)})
    flags = {f"--{name}" for name, kind in settings.items() if kind is bool}
    ends = Counter(name.rpartition(".")[2] for name in settings)
    full = {f"--{end}": f"--{name}" for name in settings if ends[end := name.rpartition(".")[2]] == 1}
    first: list[str] = []
    rest: list[str] = []
    for i, argument in enumerate(argv):
        option, equals, value = argument.partition("=")
        if not option.startswith("--"):
            (first if i and argv[i - 1] == "--config" else rest).append(argument)
            continue
        option = "--" + _setting_of(option)
        option = full.get(option, option)
        if option in flags and not equals and argv[i + 1 : i + 2] not in (["true"], ["false"], ["True"], ["False"]):
            equals, value = "=", "true"
        (first if option == "--config" else rest).append(option + equals + value)
    return first + rest


def _join_lists(argv: list[str], lists: dict[str, bool]) -> list[str]:
    """Write ``--video a b`` as ``--video=["a", "b"]``, which is how a list is parsed; numbers are numbers but in texts.

    ``lists`` has the settings that are lists, and whether of texts: a camera may be called 1, and a tracklet 0012.
    """
    joined: list[str] = []
    values: list[str] | None = None
    for argument in [*argv, "--"]:
        if values is not None and not argument.startswith("--"):
            values.append(argument)
            continue
        if values and not (len(values) == 1 and values[0].startswith("[")):
            texts = lists[_setting_of(joined[-1])]
            joined[-1] += "=" + json.dumps([v if texts or not _is_number(v) else yaml.safe_load(v) for v in values])
        elif values:
            joined[-1] += "=" + values[0]
        joined.append(argument)
        values = [] if _setting_of(argument) in lists else None
    return joined[:-1]


def _setting_of(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


def _text_in_list(kind: Any) -> bool:
    return list[str] in _alternatives(kind)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _kinds(kind: Any) -> set[Any]:
    """Return the types that a setting may have, without what is in them."""
    return {get_origin(k) or k for k in _alternatives(kind)}


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) is UnionType else (kind,)


def _settings(config_class: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the type of every setting."""
    hints = get_type_hints(config_class)
    for f in fields(config_class):
        yield prefix + f.name, hints[f.name]
        if is_dataclass(hints[f.name]):
            yield from _settings(hints[f.name], f"{prefix}{f.name}.")


_UNKNOWN = (
    re.compile(r"unrecognized arguments: --(?P<name>[^\s=]+)"),
    re.compile(r"Option '(?P<name>[^']+)' is not accepted"),
    re.compile(r"Group '(?P<group>[^']+)' does not accept option '(?P<name>[^']+)'"),
)


def _explain(error: Exception, config_class: Any) -> UserError:
    message = one_line(error)
    for pattern in _UNKNOWN:
        if found := pattern.search(message):
            group = found.groupdict().get("group")
            name = f"{group}.{found['name']}" if group else found["name"]
            return unknown_name("setting", name, [name for name, _ in _settings(config_class)])
    return UserError(message)


def _build(config_class: type[C], values: Namespace) -> C:
    hints = get_type_hints(config_class)
    arguments = {}
    for f in fields(config_class):  # type: ignore[arg-type]
        value = values[f.name]
        arguments[f.name] = _build(hints[f.name], value) if is_dataclass(hints[f.name]) else value
    return config_class(**arguments)
