"""The command line: `xfm train`, `xfm eval`, `xfm embed`, `xfm describe`, `xfm convert`, `xfm list`.

After a mistake of the user, or a failure of the machine, the program prints one sentence on standard error and returns
exit code 2. After a fault of xfm itself it prints one sentence and returns exit code 1; the traceback is in a file that
the sentence names, or is printed if XFM_TRACEBACK=1 is set.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any

from xfm.errors import XfmError
from xfm.failures import failed, give_up_output, leave
from xfm.memory import reuse_pages

EXAMPLES = """\
examples:
  xfm train configs/text/bert.py:tiny --workdir runs/first
  xfm train text/bert:base --workdir runs/bert --config.data.path=corpus --config.batch=512
  xfm eval runs/first
  xfm describe vision/vit:B/16 --config.data.size=384 --config.model.embed.position.size=24
  xfm list

CONFIG is the path of a config or its name, with a variant after a colon. --config.KEY=VALUE sets
one of its values; KEY goes into mappings by name and into lists by number, as in
--config.model.pattern.0.heads=8."""

TRAIN = """\
examples:
  xfm train configs/text/bert.py:tiny --workdir runs/first
  xfm train text/bert:tiny --workdir runs/mine --config.data.path=my_texts --config.steps=500

DIR will hold config.json, metrics.jsonl, the checkpoints and a picture of the losses. After an
interruption the same command continues the run, exactly as if it had not been interrupted."""

EVAL = """\
examples:
  xfm eval runs/first
  xfm eval runs/sst2 --json --config.evals="[{'kind': 'classes', 'scores': ['macro_f1']}]"

Of the run's config, only mesh, eval_steps and evals can be set."""

EVALUATION = ("mesh", "eval_steps", "evals")  # what `xfm eval` can set

DESCRIBE = """\
examples:
  xfm describe text/bert:base --config.data.length=128
  xfm describe sequence/mamba2_hybrid:8B --json

No parameters are allocated, so models of any size are described in seconds."""

EMBED = """\
examples:
  xfm embed sentence-transformers/all-MiniLM-L6-v2 < texts.txt > vectors.npy
  zcat texts.gz | xfm embed my_encoder --prompt-name query --precision ubinary > vectors.npy

MODEL is a folder or a name on the Hub. Each line of the input is a text and each row of the output its vector;
a blank line is an empty text. Any number of lines needs bounded memory. If input and output are both pipes,
the vectors are first written to a temporary file, because a .npy begins with the number of its rows."""

CONVERT = """\
examples:
  xfm convert sentence-transformers/all-MiniLM-L6-v2 minilm --dry-run
  xfm convert google-bert/bert-base-uncased tagger_base --head masked_lm
  xfm convert runs/first my_bert
  xfm convert runs/cola cola.npz

SOURCE is a folder or a name on the Hub, or the workdir of `xfm train`; DEST will be a folder that transformers
can load, or a file .npz with only what a run with transforms trained.
The dry run prints which tensor becomes which parameter, and which tensors are not used, and why."""


class Parser(argparse.ArgumentParser):
    """A parser that raises XfmError instead of printing the usage and exiting."""

    def error(self, message):
        """Raises XfmError with the message and where to read more."""
        raise XfmError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    argv: the arguments. If None, this is the program itself, which may exit after a failed command.
    """
    if argv is None:
        reuse_pages()
    try:
        words, overrides = split_overrides(sys.argv[1:] if argv is None else argv)
        arguments = parser().parse_args(words)
        if overrides and not arguments.takes_config:
            raise XfmError(f"--config.{overrides[0]} has no effect here; only train, eval and describe take settings")
        arguments.overrides = overrides
        arguments.run(arguments)
        sys.stdout.flush()
        return 0
    except (SystemExit, GeneratorExit):
        raise
    except BrokenPipeError:  # the reader, such as `head`, has stopped reading
        give_up_output()
        return 0
    except BaseException as error:  # some libraries raise errors that do not derive from Exception
        code = failed(error)
        return leave(code) if argv is None else code


def parser() -> Parser:
    """The parser of all commands; the parsed arguments have the function of the command as `run`."""
    layout = dict(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    about = "Text encoders, state-space hybrids and vision transformers in JAX."
    top = Parser("xfm", description=about, epilog=EXAMPLES, **layout)
    top.set_defaults(takes_config=False)
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(run, form, help, **more):
        name = form.split()[0]
        one = commands.add_parser(name, usage=f"xfm {form}", help=help, description=help, **more, **layout)
        one.set_defaults(run=run)
        return one

    def takes_config(one):
        one.set_defaults(takes_config=True)
        one.add_argument("config", metavar="CONFIG", type=a_name, help="path or name, with a variant after ':'")

    def prints_json(one):
        one.add_argument("--json", action="store_true", help="print JSON on standard output")

    train = command(
        run_train,
        "train CONFIG --workdir DIR [--config.KEY=VALUE ...]",
        "train what a config describes, or continue the run in DIR",
        epilog=TRAIN,
    )
    takes_config(train)
    train.add_argument("--workdir", metavar="DIR", required=True, type=a_name, help="folder of the run")
    evaluate = command(
        run_eval,
        "eval DIR [--json] [--config.KEY=VALUE ...]",
        "evaluate a run's newest checkpoint on its validation data",
        epilog=EVAL,
    )
    evaluate.set_defaults(takes_config=True)
    evaluate.add_argument("workdir", metavar="DIR", type=a_name, help="folder of the run")
    prints_json(evaluate)
    describe = command(
        run_describe,
        "describe CONFIG [--json] [--config.KEY=VALUE ...]",
        "show a network from top to bottom: shapes, parameters and FLOPs of each part",
        epilog=DESCRIBE,
    )
    takes_config(describe)
    prints_json(describe)
    embed = command(
        run_embed,
        "embed MODEL [options] < texts.txt > vectors.npy",
        "turn lines of text into vectors",
        epilog=EMBED,
    )
    embed.add_argument("model", metavar="MODEL", type=a_name, help="folder, name on the Hub, or workdir of a run")
    embed.add_argument("--revision", metavar="NAME", help="revision of the Hub's repository")
    embed.add_argument("--prompt-name", metavar="NAME", help="one of the model's prompts, a prefix for each text")
    embed.add_argument("--prompt", metavar="TEXT", help="a prefix for each text")
    embed.add_argument("--batch-size", metavar="N", type=a_count, default=32, help="rows of 128 tokens at once (32)")
    embed.add_argument("--truncate-dim", metavar="N", type=a_count, help="keep the first N numbers of a vector")
    embed.add_argument("--normalize", action="store_true", help="make each vector's length 1")
    embed.add_argument("--precision", default="float32", help="float32 (default), binary or ubinary")
    convert = command(
        run_convert,
        "convert SOURCE [DEST] [--dry-run] [--head HEAD] [--revision NAME] [--dtype DTYPE]",
        "write a checkpoint or a run as a folder of the Hub",
        epilog=CONVERT,
    )
    convert.add_argument("source", metavar="SOURCE", type=a_name, help="folder, name on the Hub, or workdir of a run")
    convert.add_argument(
        "dest", metavar="DEST", nargs="?", type=a_name, help="the new folder, or FILE.npz for what transforms trained"
    )
    convert.add_argument("--dry-run", action="store_true", help="write nothing, print the mapping")
    convert.add_argument("--head", help="the only head to keep; by default all heads are kept")
    convert.add_argument("--revision", metavar="NAME", help="revision of the Hub's repository")
    convert.add_argument("--dtype", help="dtype of the weights in DEST: float32, float16 or bfloat16")
    listed = command(
        run_list,
        "list [--family NAME] [--slot SLOT[=KIND]] [--paper TEXT] [--papers] [--json]",
        "list the configs, one per line, with variants and paper",
    )
    listed.add_argument("--family", metavar="NAME", help="only configs of a family, such as text")
    listed.add_argument("--slot", metavar="SLOT[=KIND]", help="show the kinds in a slot; only configs with that kind")
    listed.add_argument("--paper", metavar="TEXT", help="only configs whose paper's line contains the text")
    listed.add_argument("--papers", action="store_true", help="list the papers, each with what proves its config")
    prints_json(listed)
    return top


def a_name(text: str) -> str:
    """The argument as a name or path. Raises ArgumentTypeError if it is blank, or contains a null character."""
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not a name")
    return text


def a_count(text: str) -> int:
    """The argument as a number. Raises ArgumentTypeError if it is not a whole number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def split_overrides(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments other than overrides, and the overrides `--config.a.b=v` or `--config.a.b v` as `a.b=v`."""
    argv, words, overrides = list(argv), [], []
    while argv:
        word = argv.pop(0)
        if word.startswith("--config."):
            if "=" not in word:
                if not argv or argv[0].startswith("--"):
                    raise XfmError(f"{word} lacks a value; write {word}=VALUE")
                word = f"{word}={argv.pop(0)}"
            overrides.append(word.removeprefix("--config."))
        else:
            words.append(word)
    return words, overrides


def load(arguments: argparse.Namespace, checked: Callable[[Any], Any] | None = None) -> Any:
    """The config that the arguments name, with their overrides.  checked: as in `xfm.catalogue.load`."""
    from xfm.catalogue import load

    return load(arguments.config, arguments.overrides, lambda text: print(f"xfm: {text}", file=sys.stderr), checked)


def run_train(arguments: argparse.Namespace) -> None:
    """Trains what the config describes, or continues the run; first checks that it fits in memory."""
    from xfm.catalogue import check_fits
    from xfm.train import train

    train(load(arguments, check_fits), arguments.workdir)


def evaluation_settings(workdir: str, overrides: Sequence[str]) -> dict:
    """The keys of a run's config that the overrides change.  Raises XfmError for one that `xfm eval` cannot set."""
    if not overrides:
        return {}
    from xfm.overrides import apply_overrides
    from xfm.spec import plain
    from xfm.train.record import open_run

    before = open_run(workdir)[1].config
    after = plain(apply_overrides(before, overrides))
    changed = {key: value for key, value in after.items() if key not in before or before[key] != value}
    if wrong := [key for key in changed if key not in EVALUATION]:
        raise XfmError(
            f"xfm eval cannot set config.{wrong[0]}, which training has fixed; it can set {', '.join(EVALUATION)}"
        )
    return changed


def run_eval(arguments: argparse.Namespace) -> None:
    """Prints the validation metrics of a run's newest checkpoint."""
    from xfm.train import evaluate

    result = evaluate(arguments.workdir, changes=evaluation_settings(arguments.workdir, arguments.overrides))
    if arguments.json:
        found = {"step": result.step, "valid": result.valid, "baseline": result.baseline, "scores": result.report}
        print(json.dumps(found, indent=2))


def run_describe(arguments: argparse.Namespace) -> None:
    """Prints a network from top to bottom."""
    config = load(arguments)
    from xfm.describe import describe

    description = describe(config)
    print(json.dumps(description.to_json(), indent=2) if arguments.json else description)


def run_embed(arguments: argparse.Namespace) -> None:
    """Writes a vector for each line of standard input to standard output, as one .npy file."""
    from xfm.hub.sentence.lines import embed_lines
    from xfm.loading import sentence_encoder

    if sys.stdout.isatty():
        raise XfmError("vectors cannot be shown in a terminal; end the command with > vectors.npy")
    rows = embed_lines(
        sentence_encoder(arguments.model, revision=arguments.revision),
        sys.stdin.buffer,
        sys.stdout.buffer,
        precision=arguments.precision,
        prompt_name=arguments.prompt_name,
        prompt=arguments.prompt,
        batch_size=arguments.batch_size,
        normalize_embeddings=arguments.normalize,
        truncate_dim=arguments.truncate_dim,
    )
    print(f"xfm: {rows} vectors", file=sys.stderr)


def run_convert(arguments: argparse.Namespace) -> None:
    """Writes a checkpoint or a run as a folder of the Hub, or prints what would become of each tensor."""
    from xfm.convert.command import convert, mapping

    if arguments.dest is None and not arguments.dry_run:
        raise XfmError("convert needs DEST, the folder to write, or --dry-run")
    how = dict(head=arguments.head, revision=arguments.revision)
    if arguments.dry_run:
        print(mapping(arguments.source, **how))
        return
    path = convert(arguments.source, arguments.dest, dtype=arguments.dtype, **how)
    print(f"xfm: written to {path}", file=sys.stderr)


def run_list(arguments: argparse.Namespace) -> None:
    """Prints the configs that pass the filters; configs that cannot be read are named on standard error."""
    import dataclasses

    from xfm.catalogue import entries
    from xfm.listing import chosen, lines, papers

    found = entries()
    rows = chosen((one for one in found if not one.error), arguments.family, arguments.slot, arguments.paper)
    broken = [one for one in found if one.error]
    if arguments.json:
        every = [dataclasses.asdict(one) for one in (*(entry for entry, _ in rows), *broken)]
        print(json.dumps([{k: v for k, v in row.items() if k != "error" or v} for row in every], indent=2))
        return
    if not rows:
        raise XfmError("no config passes these filters; `xfm list` without them shows all")
    width = max(shutil.get_terminal_size((100, 24)).columns, 80)
    print((papers if arguments.papers else lines)(rows, width))
    for entry in broken:
        print(f"xfm: {entry.config} is not listed: {' '.join(entry.error.split())}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
