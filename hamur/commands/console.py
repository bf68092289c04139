"""The console command `hamur`: what the scripts of examples/ do, by name.

Each command is the main function of a script, with the script's flags.
"""

import importlib
import sys
from collections.abc import Sequence

# name -> (module, its main function, the script, what it does)
COMMANDS = {
    "train": ("commands.own_table", "main", "run_own_table", "Train a model on any table."),
    "predict": ("commands.predict", "main", "predict", "Score rows with a trained model."),
    "export": ("commands.export_model", "main_export", "export_model", "Write it for serving."),
    "serve": ("serving", "main_serve", "serving", "Score rows over HTTP."),
    "compare": (
        "studies.comparison",
        "main",
        "compare_models",
        "Train many models over several seeds; leaderboard and report.",
    ),
    "prepare": (
        "commands.prepare_data",
        "main_prepare",
        "prepare_data",
        "Raw files of a published data set -> a cache that loads at once.",
    ),
    "synthetic": (
        "commands.make_synthetic",
        "main_synthetic",
        "make_synthetic",
        "Generate files in the formats of the published data sets.",
    ),
}


def usage() -> str:
    """The list of commands."""
    lines = [f"  {name:<10} {text}" for name, (*_, text) in COMMANDS.items()]
    commands = "\n".join(lines)
    return f"usage: hamur COMMAND [flags]\n\n{commands}\n\nhamur COMMAND --help lists its flags."


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit code, which is 2 for wrong usage."""
    argv = sys.argv[1:] if argv is None else argv
    name, *flags = argv or ["nothing"]
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        print(f"hamur: error: {name} is no command; known are {known}.", file=sys.stderr)
        return 2
    module, function, script, text = COMMANDS[name]
    sys.argv = [f"hamur {name}", *flags]  # argparse takes its name from here
    return getattr(importlib.import_module(f"hamur.{module}"), function)(script, text, flags)
