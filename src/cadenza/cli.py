"""The command line: one function per verb. Results go to stdout, progress and complaints to stderr.

Exit codes: 0 done, 1 failed or stopped, 2 bad input or usage.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from cadenza.errors import CadenzaError, InputError
from cadenza.machine import share_cores
from cadenza.presets import ARCHITECTURES, PRESETS
from cadenza.version import __version__

if TYPE_CHECKING:
    from cadenza.corpus import Corpus, FileReport
    from cadenza.listening import Mean
    from cadenza.options import ComposeOptions
    from cadenza.training import Progress

DEFAULT_FOLDER = "midi_songs"
FEW_STEPS = 200  # of training; three minutes on a laptop are some 600
TRAIN_EXTRA = "pip install 'cadenza[train]'"
RENDERED = (".wav", ".musicxml", ".svg")
WEB_EXTRA = "pip install 'cadenza[web]'"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be valid text
    share_cores()
    parser = _parser()
    arguments = parser.parse_args(argv)
    if "verb" not in arguments:
        parser.print_help(sys.stderr)
        return 2
    try:
        return int(arguments.verb(arguments) or 0)
    except InputError as error:
        print(f"cadenza: {error}", file=sys.stderr)
        return 2
    except CadenzaError as error:
        print(f"cadenza: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        _tell("\ncadenza: stopped; nothing that was finished is lost.")
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 1


# -- verbs --------------------------------------------------------------------------------------------


def inspect(arguments: argparse.Namespace) -> None:
    """Say of every file whether it can be learned from, and why not."""
    corpus = _scan(arguments.path, arguments)
    if arguments.json:
        totals = corpus.totals()
        print(json.dumps({"files": [r.to_dict() for r in corpus.files], "totals": totals}, indent=1))
    else:
        for report in corpus.files:
            print(_report_line(report))
        _print_totals(corpus)
    if not arguments.path.is_dir():
        report = corpus.files[0]
        if not report.facts:
            raise InputError(f"{report.path}: {report.verdict} ({report.reason}).")
        if not arguments.json:
            _print_notes(arguments.path)
    elif not corpus.pieces:
        raise InputError(
            f"{arguments.path}: nothing usable in {len(corpus.files)} files; the reasons are above."
        )


def train(arguments: argparse.Namespace) -> None:
    """Learn a model from a folder."""
    _require_torch()
    folder = _training_folder(arguments)
    _train(folder, arguments.out, arguments, overwrite=arguments.force)
    if _speaks():
        print(arguments.out)


def compose(arguments: argparse.Namespace) -> None:
    """Compose new pieces with a trained model."""
    if arguments.again is None:
        _compose(arguments.model, arguments.out, arguments)
        return
    others = list(_given(arguments))
    if others:
        raise InputError(f"--again takes all from its file; leave out --{others[0].replace('_', '-')}.")
    _compose_again(arguments.model, arguments.out, arguments.again, _music(arguments))


def _compose_again(model: Path | None, out: Path, path: Path, music: dict[str, Path]) -> None:
    """Write the piece that a sidecar describes, under the same name; music: what it was made from, if moved."""
    from cadenza.composer import Composer

    try:
        sidecar = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON; name the file beside a composed piece.") from error
    made_with = sidecar.get("model") if isinstance(sidecar, dict) else None
    precision = made_with.get("precision") if isinstance(made_with, dict) else None
    piece = Composer.from_pretrained(model, precision if isinstance(precision, str) else None).again(
        sidecar, next(iter(music.values()), None)
    )
    _keep_music(out, [path.stem], music)
    _make_folder(out)
    for written in piece.save_all(out, path.stem):
        print(written)


def run(arguments: argparse.Namespace) -> None:
    """Inspect, train and compose in one go."""
    from cadenza.files import write_atomic

    _require_torch()
    folder = _training_folder(arguments)
    _check_composing(arguments)
    model = arguments.out / "model"
    _train(folder, model, arguments, overwrite=True)
    if not _speaks():
        return
    print(model)
    first = _compose(model, arguments.out, arguments)
    tutorial = Path("test_output.mid")
    write_atomic(tutorial, first.read_bytes())
    print(tutorial)


def evaluate(arguments: argparse.Namespace) -> None:
    """Measure how well a model predicts pieces that it has not seen, or how like real pieces composed ones are."""
    if arguments.samples is not None:
        if arguments.model is not None:
            raise InputError("--samples compares files and takes no model; leave out MODEL and PATH.")
        _listen(arguments)
        return
    if arguments.model is None or arguments.path is None:
        raise InputError("name a model folder and the files to judge it by, or --samples FOLDER.")
    if arguments.against is not None:
        raise InputError("--against needs --samples FOLDER.")
    _judge(arguments)


def _listen(arguments: argparse.Namespace) -> None:
    """Composed pieces beside real ones."""
    from cadenza.holdout import split
    from cadenza.listening import listen
    from cadenza.model_folder import bundled_corpus

    arguments.drums = True
    composed = _scan(arguments.samples, arguments)
    if arguments.against is None:
        real, whose = split(_scan(bundled_corpus(), arguments)).held_out, "of the bundled corpus"
    else:
        real, whose = _scan(arguments.against, arguments).pieces, f"in {arguments.against}"
    found = listen([piece.score for piece in composed.pieces], [piece.score for piece in real])
    if arguments.json:
        skipped = [report.to_dict() for report in composed.skipped]
        print(json.dumps({**found.to_dict(), "skipped": skipped}, indent=1))
        return
    print(f"{_pieces(found.samples)} beside {found.real} {whose}, {found.bars} bars of each at most")
    print(f"{'':<28}{'composed':<28}{'real':<28}{'overlap':>7}{'KL':>8}")
    for name, each in found.features.items():
        means = "".join(
            f"{'' if mean is None else _interval(mean):<28}" for mean in (each.samples, each.real)
        )
        print(f"{name.replace('_', ' '):<28}{means}{each.overlap:>7.0%}{each.divergence:>8.3f}")
    print(f"{'mean':<84}{found.overlap:>7.0%}")
    for report in composed.skipped:
        if report.verdict != "not MIDI":  # sidecars and rolls lie beside the pieces
            _tell(_report_line(report))


def _interval(mean: Mean) -> str:
    return f"{mean.value:.3f} ({mean.low:.3f} to {mean.high:.3f})"


def _judge(arguments: argparse.Namespace) -> None:
    """The likelihood of pieces."""
    from cadenza.evaluation import evaluate_graph
    from cadenza.model_folder import ModelFolder

    folder = ModelFolder.open(arguments.model)
    corpus = _scan(arguments.path, arguments)
    corpus.require_pieces(1)
    representation = folder.representation
    pieces = [representation.encode_piece(piece.score) for piece in corpus.pieces]
    graph = folder.graph("fp32" if "fp32" in folder.precisions else folder.precisions[0], threads=0)
    likelihood = evaluate_graph(graph, representation, pieces)
    result = {
        "nats_per_note": likelihood.nats_per_note,
        "by_field": likelihood.by_field(),
        "notes": likelihood.notes,
        "pieces": len(pieces),
        "skipped": [r.to_dict() for r in corpus.skipped],
    }
    if arguments.json:
        print(json.dumps(result, indent=1))
        return
    print(
        f"{likelihood.nats_per_note:.3f} nats per note ({likelihood.notes:,} notes in {len(pieces)} pieces)"
    )
    for name, nats in likelihood.by_field().items():
        print(f"  {name:<11}{nats:7.3f}")
    for report in corpus.skipped:
        print(_report_line(report), file=sys.stderr)


def compare(arguments: argparse.Namespace) -> None:
    """Show the longest passage that two MIDI files share, in any key and tempo."""
    from cadenza import originality
    from cadenza.midi import read_midi

    first, second = read_midi(arguments.first), read_midi(arguments.second)
    for path, score in ((arguments.first, first), (arguments.second, second)):
        if not len(score):
            raise InputError(f"{path}: has no notes; choose another file.")
    found = originality.compare(first, second, str(arguments.second))
    if arguments.json:
        print(json.dumps(found.to_dict(), indent=1))
        return
    if found.longest is None:
        print(f"no shared passage of {originality.LEAST} notes or more")
        return
    here, there = ("{}-{}".format(*bars) for bars in (found.longest.bars, found.longest.bars_there))
    print(
        f"longest shared passage: {found.notes} notes, bars {here} of {arguments.first} and "
        f"{there} of {arguments.second}"
    )
    print(f"{found.share:.0%} of the notes of {arguments.first}'s outer lines lie in shared passages")


def render(arguments: argparse.Namespace) -> None:
    """Make sound, sheet music or pictures of MIDI files."""
    from cadenza.export import write_score
    from cadenza.midi import MIDI_SUFFIXES, read_midi

    path, out = arguments.path, arguments.out
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; name MIDI files.")
    if not path.is_dir():
        if out.suffix.lower() not in RENDERED:
            raise InputError(f"{out}: must end in {', '.join(RENDERED)}; give such a name.")
        targets = {path: out}
    else:
        files = sorted(each for each in path.iterdir() if each.suffix.lower() in MIDI_SUFFIXES)
        targets = {file: out / f"{file.stem}.{arguments.to}" for file in files}
    if not targets:
        raise InputError(f"{path}: holds no MIDI files; name another folder.")
    for file, target in targets.items():
        write_score(read_midi(file), target)
        print(target)


def serve(arguments: argparse.Namespace) -> None:
    """Open the studio: a page on which to train, listen and compose."""
    missing = [name for name in ("fastapi", "uvicorn", "multipart") if find_spec(name) is None]
    if missing:
        raise InputError(f"the studio needs {', '.join(missing)}; type: {WEB_EXTRA}")
    from cadenza.web.guard import LOOPBACK
    from cadenza.web.serving import default_data, run

    if arguments.port > 65_535:
        raise InputError(f"--port {arguments.port}: ports go up to 65535; choose a lower one.")
    if arguments.token is not None and not re.fullmatch(r"[A-Za-z0-9._~-]+", arguments.token):
        raise InputError(
            "--token takes letters, digits and . _ ~ - alone, and at least one; choose such a secret."
        )
    if arguments.host.lower() not in LOOPBACK and arguments.token is None:
        raise InputError(
            f"--host {arguments.host} lets others in; give --token SECRET as well, which all of them have to know."
        )
    run(arguments.data or default_data(), arguments.host, arguments.port, arguments.token)


# -- what verbs share -----------------------------------------------------------------------------------


def _scan(path: Path, arguments: argparse.Namespace) -> Corpus:
    from cadenza.corpus import scan
    from cadenza.library import Library, default_library

    meter = _Meter()
    cached = path.is_dir() and arguments.cache
    with Library(default_library(path)) if cached else nullcontext() as library:
        corpus = scan(
            path,
            allow_drums_only=arguments.drums,
            on_file=lambda done, n: meter.show(f"reading {done}/{n} files"),
            library=library,
            workers=0,
        )
    meter.clear()
    return corpus


def _training_folder(arguments: argparse.Namespace) -> Path:
    from cadenza.model_folder import bundled_corpus

    if arguments.bundled:
        if arguments.folder is not None:
            raise InputError("give a folder or --bundled, not both.")
        return bundled_corpus()
    folder = Path(arguments.folder or DEFAULT_FOLDER)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name your folder of MIDI files, or use --bundled.")
    return folder


def _require_torch() -> None:
    if any(find_spec(name) is None for name in ("torch", "onnx")):
        raise InputError(f"training needs torch; type: {TRAIN_EXTRA}")


def _train(folder: Path, out: Path, arguments: argparse.Namespace, *, overwrite: bool) -> None:
    from cadenza import preparation, training
    from cadenza.model_folder import ModelFolder

    options = preparation.TrainingOptions(
        preset=arguments.preset,
        architecture=arguments.model_kind,
        base=None if arguments.from_scratch else arguments.base or preparation.AUTO,
        minutes=arguments.minutes,
        epochs=arguments.epochs,
        seed=arguments.seed or 0,
        device=arguments.device,
        steps_per_quarter=arguments.steps_per_quarter,
        velocity_levels=arguments.velocity_levels,
        transpose=arguments.transpose,
        allow_drums_only=arguments.drums,
        shard=arguments.shard,
        index=arguments.index,
    )
    if out.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{out} lies in {folder}, whose files are learned from; choose another --out.")
    corpus = _scan(folder, arguments)
    prepared = preparation.prepare(folder, options, corpus)
    for report in corpus.skipped:
        _tell(f"left out: {_report_line(report)}")
    for warning in prepared.warnings:
        _tell(f"note: {warning}")
    _tell(
        f"learning from {_pieces(len(prepared.train))} "
        f"({sum(len(piece.score) for piece in prepared.train):,} notes), "
        f"{len(prepared.held_out)} held out; Ctrl-C stops, --resume goes on"
    )
    meter = _Meter()
    training.train(
        folder,
        out,
        options,
        resume=arguments.resume,
        overwrite=overwrite,
        on_progress=lambda progress: _show_progress(meter, progress),
        on_stopping=lambda: meter.line("stopping after this step; --resume goes on from there"),
        on_note=lambda note: meter.line(f"note: {note}"),
        prepared=prepared,
    )
    meter.clear()
    config = ModelFolder.open(out).config
    held_out = config["held_out"]
    fields = ", ".join(f"{name} {nats:.2f}" for name, nats in held_out["by_field"].items() if nats >= 0.005)
    _tell(f"learned: {held_out['nats_per_note']:.3f} nats per note of all held-out pieces ({fields})")
    if config["steps"] < FEW_STEPS and config["base"] is None:
        _tell(
            f"note: {config['steps']} steps are too few to learn a style, and the pieces will sound like it; "
            "train longer, such as with --minutes 20, or compose with the bundled model"
        )


def _pieces(count: int) -> str:
    return f"{count} piece" if count == 1 else f"{count} pieces"


def _show_progress(meter: _Meter, progress: Progress) -> None:
    left = progress.seconds * (1 - progress.share_done) / max(progress.share_done, 1e-9)
    text = (
        f"{progress.share_done:4.0%}  {_clock(left)} left  {progress.notes_per_second:,.0f} notes/s  "
        f"train {progress.train_nats:.3f}"
    )
    if progress.held_out_nats is None:
        meter.show(text)
    else:
        star = "  best so far" if progress.best else ""
        meter.line(f"{text}  held out, of some, {progress.held_out_nats:.3f} nats per note{star}")
    if progress.stopped_early:
        meter.line("stopped early: the held-out pieces gain no more; the best weights are kept")


def _compose_options(arguments: argparse.Namespace) -> ComposeOptions:
    from cadenza.options import ComposeOptions

    if arguments.prompt is None and arguments.prompt_bars is not None:
        raise InputError("--prompt-bars needs --prompt FILE.")
    return ComposeOptions(
        **{"num": 4, **_result_options(arguments.goes_on, set(_given(arguments))), **_given(arguments)}
    )


def _music(arguments: argparse.Namespace) -> dict[str, Path]:
    """What is to be made out of the user's music, and its file."""
    from cadenza.tasks import USES

    found = {use: path for use in USES if (path := getattr(arguments, use)) is not None}
    if arguments.goes_on is not None:
        found["prompt"] = arguments.goes_on
    return found


def _result_options(result: Path | None, given: set[str]) -> dict[str, Any]:
    """The wishes that a result was composed with, as its sidecar tells, which hold for what goes on from it, unless
    others are given."""
    from cadenza.options import CONTROLS

    if result is None:
        return {}
    sidecar = result.with_suffix(".json")
    try:
        options = json.loads(sidecar.read_bytes())["options"]
        kept = [name for name in (*CONTROLS, "style", "mood") if name != "seconds"]
        if given & {"key", "scale"}:  # of the pair only one can hold
            kept = [name for name in kept if name not in ("key", "scale")]
        return {name: options[name] for name in kept if name in options}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{sidecar}: cannot be read; --continue needs a result with its JSON file beside it, "
            "--prompt takes any MIDI file."
        ) from error


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Options of composing, which are named like the fields of ComposeOptions."""
    from cadenza.options import ComposeOptions

    names = [field.name for field in fields(ComposeOptions)]
    found = {name: value for name in names if (value := getattr(arguments, name, None)) is not None}
    if found.get("bars") is not None and (arguments.humanise or arguments.orchestrate):
        raise InputError(
            "--bars is not for --humanise and --orchestrate, which keep a piece's bars; leave it out."
        )
    if (bars := found.get("bars")) is not None and (arguments.infill or arguments.vary):
        found["fill_bars"] = found.pop("bars")
    elif bars is not None:
        found["bars"] = _whole_bars(bars)
    return found


def _whole_bars(text: str) -> int:
    if not text.isdecimal():
        raise InputError(f"--bars {text}: bars such as 9-12 are for --infill and --vary; give a number.")
    return int(text)


def _check_composing(arguments: argparse.Namespace) -> None:
    """Find out before training whether composing would fail."""
    from cadenza.events import NoteEvents
    from cadenza.midi import read_midi
    from cadenza.options import parse_bars
    from cadenza.source import Source
    from cadenza.tasks import check

    options = _compose_options(arguments)
    options.sampling({})
    if options.wishes() and PRESETS[arguments.preset].representation != "note-events":
        raise InputError(
            f"preset {arguments.preset} cannot keep to {next(iter(options.wishes()))}; choose another one."
        )
    if options.original and not arguments.index:
        raise InputError("--original needs the index that --no-index leaves out; give one of them.")
    check(next(iter(_music(arguments)), None), options)
    for use, path in _music(arguments).items():
        if PRESETS[arguments.preset].representation != "note-events":
            raise InputError(f"preset {arguments.preset} cannot work with --{use}; choose another one.")
        source = Source.of(read_midi(path), NoteEvents())
        source.gap(parse_bars(options.fill_bars), [])


def _compose(model: Path | None, out: Path, arguments: argparse.Namespace) -> Path:
    """Write every piece as soon as it is composed, and print its files; returns the first one's MIDI file."""
    from cadenza.composer import Composer

    options = _compose_options(arguments)
    meter = _Meter()
    composer = Composer.from_pretrained(model)
    for note in composer.notes_on(options, *_music(arguments)):
        _tell(f"note: {note}")
    music: dict[str, Any] = {**_music(arguments)}
    pieces = composer.compose_many(
        **music,
        options=options,
        on_events=lambda n: meter.show(f"composing, {n:,} events"),
        workers=0,
    )
    _keep_music(out, [_name(n + 1, options.num) for n in range(options.num)], _music(arguments))
    _make_folder(out)
    scores: dict[str, float] = {}
    copies: set[str] = set()
    for n, piece in enumerate(pieces, 1):
        meter.clear()
        name = _name(n, options.num)
        for path in piece.save_all(out, name):
            print(path)
        scores[name], shared = piece.sidecar["likeness"], piece.sidecar["originality"]
        if shared is not None and shared["may_be_memorised"]:
            copies.add(name)
        _tell_originality(name, shared, drawn_anew=bool(options.original))
    if len(scores) > 1:
        ranked = sorted(scores, key=lambda name: (name in copies, -scores[name]))
        _tell(
            "most like what the model learned from"
            + (", after it what may be memorised: " if copies else ": ")
            + ", ".join(f"{name} ({scores[name]:.2f})" for name in ranked)
        )
    return out / f"{_name(1, options.num)}.mid"


def _tell_originality(name: str, found: dict[str, Any] | None, drawn_anew: bool) -> None:
    """One line on what a piece shares with those that were learned from."""
    from cadenza.originality import LEAST

    if found is None:
        return
    longest, usual = found["longest"], found["by_people"]["notes"][1]
    people = "95 in 100 pieces by people share " + (f"at most {usual:.0f}" if usual >= LEAST else "none")
    if longest is None:
        _tell(f"{name}: shares no passage of {LEAST} notes with a piece learned from ({people})")
        return
    here, there = ("{}-{}".format(*bars) for bars in (longest["bars"], longest["bars_there"]))
    remedy = "as may all that were drawn in its place" if drawn_anew else "and --original draws another"
    warning = f"; it may be memorised, {remedy}" if found["may_be_memorised"] else ""
    _tell(
        f"{name}: shares at most {longest['notes']} notes in a row, bars {here}, with {longest['piece']}, "
        f"bars {there} ({people}){warning}"
    )


def _keep_music(out: Path, names: Sequence[str], music: dict[str, Path]) -> None:
    """Refuse to replace what a piece is made from."""
    written = {(out / f"{name}.mid").resolve() for name in names}
    for path in music.values():
        if path.resolve() in written:
            raise InputError(f"{path} would be replaced by what is made from it; choose another --out.")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another folder.") from error


def _name(piece: int, num: int) -> str:
    """001 for the first piece, or longer if there are more than 999."""
    return f"{piece:0{max(3, len(str(num)))}d}"


def _speaks() -> bool:
    """Whether this process reports: of several that torchrun started, the first does."""
    return os.environ.get("RANK", "0") == "0"


def _tell(text: str) -> None:
    """Print a line on stderr."""
    if _speaks():
        print(text, file=sys.stderr, flush=True)


class _Meter:
    """A line on stderr that is written over while something goes on; silent unless it is a terminal."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty() and _speaks()

    def show(self, text: str) -> None:
        if self.live:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    def line(self, text: str) -> None:
        self.clear()
        _tell(text)

    def clear(self) -> None:
        if self.live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _report_line(report: FileReport) -> str:
    reason = f" ({report.reason})" if report.reason else ""
    warnings = f"  [{'; '.join(report.warnings)}]" if report.warnings else ""
    return f"{report.path}: {report.verdict}{reason}{warnings}"


def _print_totals(corpus: Corpus) -> None:
    from cadenza.corpus import pitch_range_names

    totals = corpus.totals()
    print(
        f"\n{totals['pieces']} of {totals['files']} files usable: {totals['notes']:,} notes, {totals['hours']} hours"
    )
    for name in ("skipped", "styles", "instruments", "keys", "metres", "timing"):
        if totals[name] and list(totals[name]) != [""]:  # no sub-folders are no styles
            print(
                f"  {name}: "
                + ", ".join(f"{key or 'in no sub-folder'} {count}" for key, count in totals[name].items())
            )
    if totals["tempi"]:
        print("  tempi: {min:g} to {max:g}, median {median:g} quarters a minute".format(**totals["tempi"]))
    if totals["pitch_range"]:
        print(f"  pitch range: {pitch_range_names(*totals['pitch_range'])}")


def _print_notes(path: Path) -> None:
    from cadenza.midi import read_midi
    from cadenza.tokens import notes_and_chords

    print(f"  notes and chords: {notes_and_chords(read_midi(path))}")


# -- the parser -----------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without all that there is to choose from before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="cadenza",
        description="Learn the style of a folder of MIDI files and compose new pieces in it.",
        epilog="example: cadenza run my_midi_files",
    )
    parser.add_argument("--version", action="version", version=f"cadenza {__version__}")
    verbs = parser.add_subparsers(metavar="VERB")
    _add_inspect(verbs)
    _add_train(verbs)
    _add_compose(verbs)
    _add_run(verbs)
    _add_evaluate(verbs)
    _add_compare(verbs)
    _add_render(verbs)
    _add_serve(verbs)
    return parser


def _add_verb(
    verbs: Any, verb: Callable[[argparse.Namespace], None], example: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        verb.__name__, help=verb.__doc__, description=verb.__doc__, epilog=f"example: {example}"
    )
    parser.set_defaults(verb=verb)
    return parser


def _add_inspect(verbs: Any) -> None:
    parser = _add_verb(verbs, inspect, "cadenza inspect my_midi_files --json")
    parser.add_argument("path", metavar="PATH", type=Path, help="a folder or one MIDI file")
    _add_reading(parser)
    parser.add_argument("--json", action="store_true", help="print JSON: files and totals")


def _add_train(verbs: Any) -> None:
    parser = _add_verb(verbs, train, "cadenza train my_midi_files --out my-model --minutes 10")
    parser.add_argument(
        "--out", metavar="MODEL", type=Path, required=True, help="folder to write the model to"
    )
    _add_training_options(parser)
    parser.add_argument("--seed", type=_natural, default=0, help="random seed (default 0)")
    parser.add_argument("--force", action="store_true", help="replace the model that is in --out")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")


def _add_compose(verbs: Any) -> None:
    parser = _add_verb(verbs, compose, "cadenza compose my-model --out out --num 4 --bars 16 --seed 1")
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", type=Path, help="model folder (default: the bundled one)"
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        required=True,
        help="folder for 001.mid, 001.json, 001.svg, 001.musicxml ..., replacing those of that name",
    )
    _add_composing_options(parser)
    parser.add_argument(
        "--again", metavar="FILE", type=Path, help="a piece's .json file: compose the same piece once more"
    )
    parser.add_argument("--seed", type=_natural, help="same seed, same music (default: a new one)")


def _add_run(verbs: Any) -> None:
    parser = _add_verb(verbs, run, "cadenza run my_midi_files --minutes 3")
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("out"),
        help="folder for everything, replacing what an earlier run left (default out)",
    )
    _add_training_options(parser)
    _add_composing_options(parser)
    parser.add_argument("--seed", type=_natural, default=0, help="random seed (default 0)")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")


def _add_evaluate(verbs: Any) -> None:
    parser = _add_verb(verbs, evaluate, "cadenza evaluate my-model held_out_files --json")
    parser.add_argument("model", metavar="MODEL", type=Path, nargs="?", help="model folder")
    parser.add_argument(
        "path", metavar="PATH", type=Path, nargs="?", help="folder or file that the model has not seen"
    )
    parser.add_argument("--samples", metavar="FOLDER", type=Path, help="composed pieces, instead of a model")
    parser.add_argument(
        "--against",
        metavar="FOLDER",
        type=Path,
        help="the real pieces beside them (default: those of the bundled corpus that are held out)",
    )
    _add_reading(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_compare(verbs: Any) -> None:
    parser = _add_verb(verbs, compare, "cadenza compare mine.mid theirs.mid")
    parser.add_argument("first", metavar="A.mid", type=Path, help="a MIDI file")
    parser.add_argument("second", metavar="B.mid", type=Path, help="another one")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_render(verbs: Any) -> None:
    parser = _add_verb(verbs, render, "cadenza render out/001.mid --out 001.wav")
    parser.add_argument("path", metavar="PATH", type=Path, help="a MIDI file, or a folder of them")
    parser.add_argument(
        "--out", metavar="PATH", type=Path, required=True, help="a file of that kind, or a folder"
    )
    parser.add_argument(
        "--to",
        choices=[suffix[1:] for suffix in RENDERED],
        default="wav",
        help="what to make of a folder (default wav); of one file the name in --out says it",
    )


def _add_serve(verbs: Any) -> None:
    parser = _add_verb(verbs, serve, "cadenza serve --port 8000")
    parser.add_argument("--port", type=_natural, default=8000, help="port (default 8000)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address; any but this machine's own needs --token"
    )
    parser.add_argument("--token", metavar="SECRET", help="what everybody who asks has to know")
    parser.add_argument("--data", metavar="FOLDER", type=Path, help="what is brought, learned and composed")


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    presets = "; ".join(f"{name}: {preset.description}" for name, preset in PRESETS.items())
    parser.add_argument("folder", metavar="FOLDER", nargs="?", help=f"MIDI files (default {DEFAULT_FOLDER}/)")
    parser.add_argument(
        "--bundled", action="store_true", help="learn from the corpus that ships with cadenza"
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--from",
        dest="base",
        metavar="MODEL",
        type=Path,
        help="go on from this model (default with preset small: the bundled one)",
    )
    start.add_argument("--from-scratch", action="store_true", help="begin with a network that knows nothing")
    parser.add_argument("--model", dest="model_kind", choices=ARCHITECTURES, help="kind of network")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="small", help=presets)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=_positive, help="how long to train (default 3 with preset small)")
    length.add_argument("--epochs", type=_positive, help="how often to go through the files instead")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    parser.add_argument(
        "--steps-per-quarter", type=_natural, help="grid (default 12; not in preset tutorial)"
    )
    parser.add_argument(
        "--velocity-levels",
        type=_natural,
        help="loudness levels (default 16; not in preset tutorial)",
    )
    parser.add_argument(
        "--transpose",
        metavar="N",
        type=_natural,
        help="learn in other keys too, up to N semitones away (default 6; 0 in runs of up to 5 minutes from scratch)",
    )
    parser.add_argument(
        "--shard",
        action="store_true",
        help="under torchrun: let each process keep only a part of the network and of its optimiser, "
        "where memory is short",
    )
    parser.add_argument(
        "--no-index",
        dest="index",
        action="store_false",
        help="write no hashes of the pieces into the model; what it composes is then not compared with them",
    )
    _add_reading(parser)


def _add_composing_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--num", type=_natural, help="how many pieces (default 4)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--bars", metavar="N", help="how many bars to compose (default 16); which to fill, such as 9-12"
    )
    length.add_argument("--seconds", type=_positive, help="how long, to the nearest bar, instead of --bars")
    parser.add_argument("--style", help='a sub-folder learned from, or a mixture: "bach:0.7, ragtime:0.3"')
    parser.add_argument(
        "--form", metavar="AABA", help="parts, all equally long, that return; free: as the network likes"
    )
    parser.add_argument("--mood", help=f'words such as "sad, loud", which stand for: {_mood_words()}')
    parser.add_argument(
        "--surprise", metavar="0..1", type=float, help="one dial: 0 safest, 0.5 as usual, 1 most adventurous"
    )
    parser.add_argument("--temperature", type=float, help="above 1 more surprising, below 1 safer")
    parser.add_argument("--top-p", type=float, help="keep the likeliest values up to this probability")
    parser.add_argument("--top-k", type=_natural, help="keep this many of the likeliest values")
    parser.add_argument("--min-p", type=float, help="drop values below this share of the second likeliest")
    parser.add_argument(
        "--original",
        action="store_true",
        default=None,
        help="draw a piece anew if it shares a longer passage with one learned from than pieces by people do",
    )
    _add_music(parser.add_argument_group("out of your own music"))
    _add_controls(parser.add_argument_group("what every piece keeps to"))


def _mood_words() -> str:
    from cadenza.moods import LEVELS, MOODS

    words = ", ".join(word for words in LEVELS.values() for word in words if word)
    return "; ".join(f"{mood} = {' '.join(levels)}" for mood, levels in MOODS.items()) + f"; and {words}"


def _add_music(group: Any) -> None:
    uses = group.add_mutually_exclusive_group()
    uses.add_argument("--prompt", metavar="FILE", type=Path, help="go on from this MIDI file")
    uses.add_argument(
        "--continue",
        dest="goes_on",
        metavar="FILE",
        type=Path,
        help="go on from a result such as 003.mid, with what it was asked to keep to",
    )
    uses.add_argument(
        "--infill",
        metavar="FILE",
        type=Path,
        help="compose the bars --bars 9-12, or the instruments --tracks",
    )
    uses.add_argument(
        "--vary", metavar="FILE", type=Path, help="compose a part of it anew, as told by --amount"
    )
    uses.add_argument("--humanise", metavar="FILE", type=Path, help="play its notes with loudness and timing")
    uses.add_argument(
        "--orchestrate",
        metavar="FILE",
        type=Path,
        help="have its notes played by others, or by --instruments",
    )
    group.add_argument(
        "--prompt-bars", metavar="N", type=_natural, help="go on from its first N bars (default: all)"
    )
    group.add_argument(
        "--tracks", metavar="NAMES", help='fill or vary these instruments, or add them: "bass, drums"'
    )
    group.add_argument("--amount", metavar="0..1", type=float, help="how much to vary (default 0.3)")


def _add_controls(group: Any) -> None:
    group.add_argument("--key", help='key of all pitched notes: "D minor", "F# dorian", "Bb blues"')
    group.add_argument("--scale", metavar="NOTES", help='the same by its notes: "C E G A"')
    group.add_argument(
        "--key-strictness", metavar="SHARE", type=float, help="least share of notes in the key (default 1)"
    )
    group.add_argument("--tempo", metavar="QPM", type=_positive, help="quarter notes a minute")
    group.add_argument("--metre", help="such as 3/4")
    group.add_argument(
        "--instruments", metavar="NAMES", help='that alone may play: "violin, cello", "guitar"'
    )
    group.add_argument("--must-play", metavar="NAMES", help="instruments that play, and others may")
    group.add_argument("--ranges", metavar="RANGES", help='"violin: G3-E6, cello: C2-C4"')
    group.add_argument(
        "--polyphony", metavar="N", type=_natural, help="notes that an instrument sounds at once"
    )
    group.add_argument("--density", metavar="N-N", help='least and most notes in a bar: "4-12", "4-", "-12"')
    group.add_argument(
        "--max-repeat", metavar="N", type=_natural, help="no passage of more than N bars comes twice"
    )


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--drums", action="store_true", help="also use files that hold only drums")
    parser.add_argument(
        "--cache",
        action="store_true",
        help="keep what is read, so that later runs read only changed files",
    )


def _natural(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value
