"""Sweep training batch sizes, benchmark LLM endpoints, and compare the results.

Each command reads files, calls one function of the package, and writes files. Heavy imports are inside the commands
that need them.
"""

import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import orjson
import typer

from accelbench.config import Config
from accelbench.config.configfile import load_config, load_merged
from accelbench.errors import UserError
from accelbench.foreign import printable
from accelbench.plan import specs
from accelbench.store import paths

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__.split("\n")[0])
Size = Annotated[
    str,
    typer.Option(
        help="bs256: batches of 256 samples; bs256-mb64-sl4096: in micro batches of 64, of 4096 tokens, if these vary."
    ),
]
RunConfig = Annotated[Path, typer.Option("--config", help="The merged config of the run.")]
Results = Annotated[Path, typer.Option(help="Output folder.")]
ConfigFiles = Annotated[
    list[Path] | None, typer.Option("--config", help="A config file, merged into the default. Repeatable.")
]
Base = Annotated[Path | None, typer.Option(help="The default config (default: the installation's).")]
MERGED, RESULTS, ANALYSIS = Path(paths.RUN_CONFIG), Path(paths.RESULTS), "analysis.json"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"accelbench {version('accelbench')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take what is given before a command."""


def main() -> None:
    """Run a command; a mistake of the user's ends in one clear message and status 1."""
    try:
        app()
    except UserError as error:
        sys.exit(f"accelbench: {printable(str(error))}")
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(f"accelbench: {where}{error.strerror or error}. All earlier measurements are kept.")


@app.command()
def corpus(out: Annotated[Path, typer.Option()], config: RunConfig = MERGED) -> None:
    """Prepare the training corpus as HDF5 in ModelZoo's layout."""
    import json

    from accelbench.store.files import write_json
    from accelbench.training.dataset import write_corpora

    write_json(out, write_corpora(out.parent, **json.loads(specs.corpus_spec(load_merged(config)))))


@app.command()
def params(
    platform: Annotated[str, typer.Option()],
    size: Size,
    out: Annotated[Path, typer.Option(help="The params file to write.")],
    repeat: Annotated[int, typer.Option(help="Number of the repeat, from 1 (it sets the seed).")] = 1,
    config: ConfigFiles = None,
) -> None:
    """Write the params file (ModelZoo's format) of one size, and print what changes against the base file.

    Without --config, the config of the last run is used.
    """
    from accelbench.training.params.render import write_params

    loaded = _merged(config, None) if config else load_merged(MERGED)
    _defined(platform, loaded.training.platforms, "training.platforms")
    typer.echo("\n".join(write_params(loaded, _run(platform, size, repeat), out)))


@app.command("compile")
def compile_first(
    platform: Annotated[str, typer.Option()],
    size: Size,
    params_file: Annotated[Path, typer.Option("--params", help="The params file of one run of this size.")],
    out: Annotated[Path, typer.Option(help="The compiled.json to write.")],
    config: RunConfig = MERGED,
) -> None:
    """Compile one size for a CS-3 before its training, without occupying a wafer."""
    from accelbench.training.backends import backend_of

    loaded = load_merged(config)
    _defined(platform, loaded.training.platforms, f"{config}: training.platforms")
    backend_of(loaded, platform).compile(params_file, out)


@app.command()
def train(
    platform: Annotated[str, typer.Option()],
    size: Size,
    repeat: Annotated[int, typer.Option()],
    spec: Annotated[str, typer.Option(help="What the workflow planned to measure.")],
    out: Annotated[Path, typer.Option(help="The measured.json to write.")],
    config: RunConfig = MERGED,
) -> None:
    """Train one size on one platform, keep its log, and record the outcome."""
    from accelbench.training.run import measure_run

    loaded = load_merged(config)
    _defined(platform, loaded.training.platforms, f"{config}: training.platforms")
    run = _run(platform, size, repeat)
    _still_planned(specs.train_spec(loaded, run), spec, config)
    measure_run(loaded, run, spec, out.parent)


@app.command()
def prompts(
    name: Annotated[str, typer.Option("--set")],
    out: Annotated[Path, typer.Option(help="The prompts.jsonl to write.")],
    config: RunConfig = MERGED,
) -> None:
    """Write the prompts of one prompt set."""
    from accelbench.inference.prompts import make_prompts

    loaded = load_merged(config)
    _defined(name, loaded.inference.prompts, f"{config}: inference.prompts")
    make_prompts(loaded.inference.prompts[name], name, specs.prompts_needed(loaded, name), out)


@app.command()
def weights(model: Annotated[str, typer.Option()], out: Annotated[Path, typer.Option()]) -> None:
    """Convert installed weights for `transformers serve`."""
    from accelbench.inference.servers.weights import convert

    convert(model, out)


@app.command()
def infer(
    endpoint: Annotated[str, typer.Option()],
    cell: Annotated[str, typer.Option()],
    round_no: Annotated[int, typer.Option("--round")],
    spec: Annotated[str, typer.Option(help="What the workflow planned to measure.")],
    prompts_file: Annotated[Path, typer.Option("--prompts")],
    out: Annotated[Path, typer.Option(help="The measured.json to write.")],
    config: RunConfig = MERGED,
) -> None:
    """Measure one round of one load on one endpoint, and record every attempt."""
    from accelbench.inference.infer import measure_round

    loaded = load_merged(config)
    _defined(endpoint, loaded.inference.endpoints, f"{config}: inference.endpoints")
    _defined(cell, specs.cells(loaded), f"{config}: inference.scenarios_run")
    item = specs.InferRound(endpoint, cell, round_no)
    _still_planned(specs.infer_spec(loaded, item), spec, config)
    measure_round(loaded, item, spec, prompts_file, out.parent)


@app.command("infer-endpoint")
def infer_endpoint(
    endpoint: Annotated[str, typer.Option()],
    spec: Annotated[str, typer.Option(help="What the workflow planned to measure.")],
    out: Annotated[Path, typer.Option(help="The measured.json to write.")],
    config: RunConfig = MERGED,
) -> None:
    """Measure all rounds of one endpoint, one after the other, with its server started once."""
    from accelbench.inference.infer import measure_endpoint

    loaded = load_merged(config)
    _defined(endpoint, loaded.inference.endpoints, f"{config}: inference.endpoints")
    _still_planned(specs.endpoint_spec(loaded, endpoint), spec, config)
    measure_endpoint(loaded, endpoint, spec, out)


@app.command("search")
def search_endpoint(
    endpoint: Annotated[str, typer.Option()],
    cell: Annotated[str, typer.Option()],
    spec: Annotated[str, typer.Option(help="What the workflow planned to measure.")],
    prompts_file: Annotated[Path, typer.Option("--prompts")],
    out: Annotated[Path, typer.Option(help="The measured.json to write.")],
    config: RunConfig = MERGED,
) -> None:
    """Search the highest load at which one endpoint meets a scenario's objectives."""
    from accelbench.load.search import measure_search

    loaded = load_merged(config)
    _defined(endpoint, loaded.inference.endpoints, f"{config}: inference.endpoints")
    _defined(cell, specs.searched_cells(loaded), f"{config}: inference.scenarios_run")
    item = specs.Search(endpoint, cell)
    _still_planned(specs.search_spec(loaded, item), spec, config)
    measure_search(loaded, item, spec, prompts_file, out.parent)


@app.command("load")
def load_endpoint(
    base_url: Annotated[str, typer.Option(help="Up to and including /v1.")],
    model: Annotated[str, typer.Option(help="The id that the endpoint serves.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the records; default: a new one.")] = None,
    requests: Annotated[int, typer.Option(min=1, help="Requests per round; in a sweep, the minimum per step.")] = 100,
    rounds: Annotated[int, typer.Option(min=1, help="Measure as many rounds; 3 or more give intervals.")] = 1,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Closed loop: requests in flight; default: 1.")] = None,
    rate: Annotated[float | None, typer.Option(min=1e-6, help="Open loop: requests per second.")] = None,
    arrivals: Annotated[str | None, typer.Option(help="Open loop: poisson (default) or constant.")] = None,
    max_in_flight: Annotated[int | None, typer.Option(min=1, help="Open loop: most requests in flight; 64.")] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Double the concurrency until throughput stops rising.")
    ] = False,
    stop_above_s: Annotated[
        float | None, typer.Option(min=1e-6, help="Sweep: stop when the p90 latency exceeds this.")
    ] = None,
    objectives: Annotated[
        str | None,
        typer.Option("--find-max", help="Search the highest load that meets these: ttft_p95<0.5,success>0.99."),
    ] = None,
    max_concurrency: Annotated[
        int | None, typer.Option(min=1, help="Sweep, search: highest concurrency; 1024.")
    ] = None,
    max_rate: Annotated[
        float | None, typer.Option(min=1e-6, help="Search in open loop: highest requests per second.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens in an answer.")] = 64,
    prompts_file: Annotated[
        Path | None,
        typer.Option(
            "--prompts",
            exists=True,
            dir_okay=False,
            help="SQuAD json, or csv, jsonl or parquet with a column question (or prompt), optionally context and "
            "answers; default: bundled questions.",
        ),
    ] = None,
    stream: Annotated[bool, typer.Option(help="Ask for a stream, so that the first token can be timed.")] = True,
    warm_up: Annotated[int, typer.Option(min=0, help="Requests sent before the load; not counted.")] = 1,
    token_env: Annotated[str | None, typer.Option(help="Environment variable that holds the token.")] = None,
    wait_s: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an endpoint that is not ready.")] = 5.0,
    busy_wait_s: Annotated[
        float, typer.Option(min=0, help="Closed loop: total seconds that one request waits after 429 and 503.")
    ] = 10.0,
    timeout_s: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the next byte of an answer.")] = 120.0,
    total_timeout_s: Annotated[float, typer.Option(min=0.1, help="Longest duration of an attempt in seconds.")] = 600.0,
    body: Annotated[
        list[str] | None,
        typer.Option(help="key=json: add a field to each request; key=: leave out a default field. Repeatable."),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(help="name=env:VARIABLE: a header with a secret value; name=value: any other header. Repeatable."),
    ] = None,
    query: Annotated[
        list[str] | None, typer.Option(help="key=value: add to the URL's query (Azure: api-version). Repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Load-test any OpenAI-compatible endpoint, without a workflow.

    Exit status: 0 when all requests were sent, whatever the answers; 1 when they could not be sent, or the endpoint
    rejected all of the first ones; 2 for wrong arguments. Run the same command again to continue an interrupted test.
    """
    from pydantic import ValidationError

    from accelbench.config import Endpoint, Scenario, SecretSource
    from accelbench.load.loadtest import (
        MOST_SLOTS,
        Limits,
        load_test,
        measure_rounds,
        new_folder,
        option_of,
        prompt_set,
        shaped,
    )
    from accelbench.load.loadtest import sweep as walk_up
    from accelbench.load.search import find_max

    searches, by_rate = objectives is not None, rate if max_rate is None else max_rate
    if sum(given is not None for given in (concurrency, rate, objectives)) + sweep > 1:
        raise typer.BadParameter("give one of --concurrency, --rate, --sweep and --find-max")
    for option, given, kind, fits in (
        ("--arrivals", arrivals, "--rate or --max-rate", by_rate is not None),
        ("--max-in-flight", max_in_flight, "--rate or --max-rate", by_rate is not None),
        ("--stop-above-s", stop_above_s, "--sweep", sweep),
        ("--max-rate", max_rate, "--find-max", searches),
        ("--max-concurrency", max_concurrency, "--sweep or --find-max", sweep or (searches and max_rate is None)),
    ):
        if given is not None and not fits:
            raise typer.BadParameter(f"{option} is only used with {kind}")
    if (sweep or searches) and rounds > 1:
        raise typer.BadParameter("--rounds is not used with --sweep and --find-max")
    load: dict[str, object] = {"requests": requests, "max_tokens": max_tokens, "stream": stream, "warm_up": warm_up}
    load |= {"find_max": objectives} if searches else {"rounds": rounds}
    if by_rate is None:
        load |= {"concurrency": concurrency or (max_concurrency or MOST_SLOTS if searches else 1)}
    else:
        load |= {"arrivals": arrivals or "poisson", "rate_per_s": by_rate}
        load |= {"max_in_flight": max_in_flight or MOST_SLOTS} if max_in_flight or searches else {}
    waits = {"ready_timeout_s": wait_s, "busy_wait_s": busy_wait_s}
    waits |= {"timeout_read_s": timeout_s, "timeout_total_s": total_timeout_s}
    try:
        token = SecretSource(env=token_env) if token_env else None
        asked = {"base_url": base_url, "model": model, "token": token, **waits}
        endpoint = Endpoint.model_validate({**asked, **shaped(body or [], header or [], query or [])})
        scenario = Scenario.model_validate(load)
    except ValidationError as error:
        wrong = error.errors()[0]
        key = ".".join(map(str, wrong["loc"])) or str(wrong.get("ctx", {}).get("key", ""))
        raise typer.BadParameter(f"{option_of(key)}: {wrong['msg']}") from None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    questions = prompt_set(prompts_file)
    if out is None:
        out = new_folder("load")
        typer.echo(f"Recording in {out}; if this is interrupted, --out {out} continues there.", err=True)
    if rounds > 1:
        measure_rounds({out: endpoint}, scenario, questions, quiet=as_json)
        return _print_compared([out], as_json=as_json)
    if searches:
        from accelbench.report.inference_tables import search_text

        found = find_max(endpoint, scenario, questions, out, quiet=as_json)
        return typer.echo(_json(asdict(found)) if as_json else printable(search_text(found)), nl=as_json)
    limits = Limits(stop_above_s, max_concurrency or MOST_SLOTS)
    figures = (
        walk_up(endpoint, scenario, questions, out, limits, quiet=as_json)
        if sweep
        else load_test(endpoint, scenario, questions, out, quiet=as_json)
    )

    from accelbench.report.terminal import load_table  # heavy: not before the first request

    typer.echo(_json(figures.as_json()) if as_json else printable(load_table(figures)))


Served = Annotated[str | None, typer.Option(help="Its model; default: the one that it serves.")]
TokenEnv = Annotated[str | None, typer.Option(help="Environment variable that holds its token.")]
Rounds = Annotated[int, typer.Option(min=1, help="Rounds of each endpoint, in turn.")]
DEFAULT_ROUNDS = 6
"""The fewest, with each side as often first, that show a difference of twice the spread between rounds even as the
first of all tests that a pair makes (Holm)."""
PerRound = Annotated[int, typer.Option(min=1, help="Requests per round and endpoint.")]
InFlight = Annotated[int, typer.Option(min=1, help="Requests in flight.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="Most tokens in an answer.")]
Prompts = Annotated[
    Path | None,
    typer.Option("--prompts", exists=True, dir_okay=False, help="Your own questions, as in `load`; default: bundled."),
]


@app.command()
def ab(
    a: Annotated[str, typer.Option(help="The endpoint to compare with: a URL up to /v1, or a .yaml file of its keys.")],
    b: Annotated[str, typer.Option(help="The endpoint in question, likewise.")],
    a_model: Served = None,
    b_model: Served = None,
    a_token_env: TokenEnv = None,
    b_token_env: TokenEnv = None,
    rounds: Rounds = DEFAULT_ROUNDS,
    requests: PerRound = 20,
    concurrency: InFlight = 1,
    max_tokens: MaxTokens = 64,
    prompts_file: Prompts = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the records; default: a new one.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the comparison as JSON, too.")] = None,
    html_file: Annotated[Path | None, typer.Option("--html", help="Write the report's page, too.")] = None,
) -> None:
    """Measure two endpoints in turn, and say which is faster and by how much.

    The same command with the same --out continues an interrupted comparison; with more --rounds it adds to it.
    """
    from accelbench.compare.ab import Contender, measure_in_turn, write_html
    from accelbench.config import Scenario
    from accelbench.load.loadtest import new_folder, prompt_set

    scenario = Scenario(rounds=rounds, requests=requests, concurrency=concurrency, max_tokens=max_tokens)
    contenders = {"a": Contender(a, a_model, a_token_env), "b": Contender(b, b_model, b_token_env)}
    out = out or new_folder("ab")
    endpoints = measure_in_turn(contenders, scenario, prompt_set(prompts_file), out)

    from accelbench.compare.endpoints import compare_endpoints  # heavy: not before the first request
    from accelbench.compare.tables import contenders_text

    compared = compare_endpoints(list(endpoints))
    more = f"Recorded in {out}; --out {out} with more --rounds adds to it. All tables: "
    typer.echo(contenders_text(compared, f"{more}`accelbench compare --full {out}/a {out}/b`."), nl=False)
    if json_file:
        json_file.write_text(_json(compared.document))
    if html_file:
        write_html(html_file, compared, endpoints, scenario)


@app.command("gate")
def gate_endpoint(
    base: Annotated[str, typer.Argument(help="The endpoint before: a file or folder, a URL, or a .yaml file.")],
    new: Annotated[str, typer.Argument(help="The new one, likewise. Two URLs or .yaml files are measured in turn.")],
    metric: Annotated[
        list[str] | None,
        typer.Option(help="e2e_s (default), ttft_s, tpot_s, success, contains_gold or f1. Repeatable."),
    ] = None,
    worse_by: Annotated[str, typer.Option(help="The limit: 5%, or 0.05; of shares, in points.")] = "5%",
    base_model: Served = None,
    new_model: Served = None,
    base_token_env: TokenEnv = None,
    new_token_env: TokenEnv = None,
    rounds: Rounds = DEFAULT_ROUNDS,
    requests: PerRound = 20,
    concurrency: InFlight = 1,
    max_tokens: MaxTokens = 64,
    prompts_file: Prompts = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the records; default: a new one.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the results as JSON, too.")] = None,
    junit_file: Annotated[Path | None, typer.Option("--junit", help="Write the results as JUnit XML, too.")] = None,
) -> None:
    """Tell whether a new endpoint is worse than the one before by more than a limit.

    Exit status: 0 no metric is; 1 one is; 2 an error; 3 it can't be told yet.
    """
    from accelbench.compare.ab import Contender, is_measured, measure_in_turn
    from accelbench.compare.gate import STATUS, gate, gate_text, junit, limit_of
    from accelbench.config import Scenario
    from accelbench.load.loadtest import new_folder, prompt_set

    with _errors_are_status_2():
        limit = limit_of(worse_by)
        sides = [Path(base), Path(new)]
        if not is_measured(base, new):
            scenario = Scenario(rounds=rounds, requests=requests, concurrency=concurrency, max_tokens=max_tokens)
            contenders = {"base": Contender(base, base_model, base_token_env)}
            contenders |= {"new": Contender(new, new_model, new_token_env)}
            sides = list(measure_in_turn(contenders, scenario, prompt_set(prompts_file), out or new_folder("gate")))
        found = gate(sides[0], sides[1], metric or ["e2e_s"], limit)
        typer.echo(printable(gate_text(found)))
        if json_file:
            json_file.write_text(_json(found))
        if junit_file:
            junit_file.write_bytes(junit(found))
    raise typer.Exit(STATUS[found.outcome])


@contextmanager
def _errors_are_status_2() -> Iterator[None]:
    """Let no error look like the status of a gate that found something worse."""
    try:
        yield
    except (UserError, OSError) as error:
        typer.echo(f"accelbench: {printable(str(error))}", err=True)
        raise typer.Exit(2) from None
    except Exception:
        traceback.print_exc()
        raise typer.Exit(2) from None


@app.command("calibrate")
def calibrate_client(
    out: Annotated[Path, typer.Option(help="Output folder for calibration.json.")] = Path(paths.CALIBRATION),
    concurrency: Annotated[
        list[int] | None, typer.Option(min=1, help="Use this concurrency instead of the planned loads. Repeatable.")
    ] = None,
    https: Annotated[bool, typer.Option("--https", help="With --concurrency: over TLS.")] = False,
    config: RunConfig = MERGED,
) -> None:
    """Measure the client's own error, against a local server that records when it wrote each token."""
    from accelbench.inference.calibration import bench_loads, calibrate, closed
    from accelbench.report.calibration import calibration_markdown

    if https and not concurrency:
        raise typer.BadParameter("--https needs --concurrency; planned loads use what their endpoints use")
    loads = [closed(slots, https=https) for slots in concurrency] if concurrency else bench_loads(load_merged(config))
    typer.echo(calibration_markdown(calibrate(loads, out)))


@app.command()
def parse(out: Annotated[Path, typer.Option()], config: RunConfig = MERGED) -> None:
    """Parse the logs of all planned training runs."""
    from accelbench.store.files import jsonable, write_jsonl
    from accelbench.training.runs import parse_runs

    write_jsonl(out, map(jsonable, parse_runs(load_merged(config))), durable=True)


@app.command()
def classify(out: Annotated[Path, typer.Option()], config: RunConfig = MERGED) -> None:
    """Classify and score all attempts of all planned rounds."""
    from accelbench.inference.answers.classify import classify_rounds
    from accelbench.store.files import write_jsonl

    write_jsonl(out, classify_rounds(load_merged(config), Path(paths.REQUESTS)), durable=True)


@app.command()
def analyse(out: Results = RESULTS, config: RunConfig = MERGED) -> None:
    """Compute everything that tables, plots and page show (analysis.json)."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # on small matrices its threads only wait for each other

    from accelbench.report.summary import read_records, summarise, write_summary

    write_summary(out / ANALYSIS, summarise(load_merged(config), *read_records()))


@app.command()
def tables(out: Results = RESULTS) -> None:
    """Write the comparison tables."""
    from accelbench.report.summary import read_summary
    from accelbench.report.tables import write_tables

    write_tables(out / "tables", read_summary(out / ANALYSIS))


@app.command()
def plots(out: Results = RESULTS) -> None:
    """Draw the plots."""
    from accelbench.report.plots import write_plots
    from accelbench.report.summary import read_summary

    write_plots(out / "plots", read_summary(out / ANALYSIS))


@app.command()
def page(out: Results = RESULTS) -> None:
    """Write report.html and provenance.json, and append the headline figures to history.jsonl."""
    from accelbench.report.history import remember
    from accelbench.report.page.document import write_page
    from accelbench.report.summary import read_summary

    summary = read_summary(out / ANALYSIS)
    write_page(out, summary)
    remember(out / Path(paths.HISTORY).name, summary)


@app.command()
def report(out: Results = RESULTS / "partial", config: RunConfig = MERGED) -> None:
    """Report the results so far, and what is missing and why. Measures nothing."""
    from accelbench.inference.answers.classify import classify_rounds
    from accelbench.report.page.document import lines, write_page
    from accelbench.report.plots import write_plots
    from accelbench.report.summary import summarise, write_summary
    from accelbench.report.tables import write_tables
    from accelbench.training.runs import parse_runs

    loaded = load_merged(config)
    requests = out / "requests.parquet"
    runs, rounds = parse_runs(loaded, partial=True), classify_rounds(loaded, requests, partial=True)
    summary = summarise(loaded, runs, rounds, requests)
    write_summary(out / ANALYSIS, summary)
    write_tables(out / "tables", summary)
    write_plots(out / "plots", summary)
    write_page(out, summary)
    lacking = [
        [(each.name, each.state, each.why or "") for each in records if each.state != "measured"]
        for records in (runs, rounds, summary.searches)
    ]
    planned = len(summary.planned)
    there = planned - sum(map(len, lacking))
    told = [*lines(lacking[0], "runs"), *lines(lacking[1], "rounds"), *lines(lacking[2], "searches")]
    typer.echo(printable("\n".join([f"{there} of {planned} measurements are done: {out / 'report.html'}", *told])))


@app.command()
def parse_log(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Logs of ModelZoo, this project, Megatron-LM, torchtitan, DeepSpeed, Hugging Face's Trainer, "
            "Lightning, NeMo or nanoGPT; or model_dirs of runs."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Global batch size, if the log lacks it.")] = None,
    model_dir: Annotated[
        Path | None, typer.Option(help="The model_dir of the log's run, to read its files too.")
    ] = None,
) -> None:
    """Read training logs: rates, losses, phases, and how each run ended."""
    from accelbench.report.terminal import log_table
    from accelbench.store.files import jsonable
    from accelbench.training.log.model_dir import parse_run
    from accelbench.training.log.reader import read_logs

    if model_dir and len(files) > 1:
        raise UserError(f"--model-dir belongs to one run; give one log with it, not {len(files)}.")
    logs = []
    for path in files:
        if model_dir or path.is_dir():
            logs.append(parse_run(path, model_dir=model_dir, batch_size=batch_size))
        else:
            logs += read_logs(path, batch_size=batch_size)
    for log in logs:
        if not log.is_a_log:
            raise UserError(f"{log.file} is not a training log: {log.checks[0].text}")
    if as_json:
        objects = [jsonable(log) for log in logs]
        typer.echo(orjson.dumps(objects if len(objects) > 1 else objects[0], option=orjson.OPT_INDENT_2).decode())
    else:
        typer.echo(printable(log_table(logs)), nl=False)


@app.command()
def compare(
    sides: Annotated[
        list[Path],
        typer.Argument(
            help="requests.jsonl, exchanges.jsonl, result files of vLLM, SGLang, guidellm, aiperf, llmperf, "
            "inference-perf and InferenceX, training logs; or folders of them."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Print all tables, percentiles and possible reasons.")] = False,
) -> None:
    """Compare measured endpoints or training sweeps; ratios are relative to the first.

    Each argument is one side. A folder's subfolders r1, r2, … are its rounds.
    """
    from accelbench.compare import training
    from accelbench.compare.tables import training_text

    logs = [side for side in sides if training.is_training(side)]
    if others := [side for side in sides if logs and side not in logs]:
        lacks = "holds none; compare only training runs, or only endpoints" if others[0].exists() else "is not there"
        raise UserError(f"{logs[0]} holds training runs, and {others[0]} {lacks}.")
    if logs:
        document = training.compare_training(sides)
        typer.echo(_json(document) if as_json else printable(training_text(document)), nl=as_json)
    else:
        _print_compared(sides, as_json=as_json, full=full)


@app.command("why")
def explain(
    results: Annotated[Path, typer.Argument(help="The results folder of a workflow.")] = RESULTS,
    out: Annotated[Path, typer.Option("-o", "--out", help="The config file of what to measure next.")] = Path(
        "why.yaml"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Say why sides differ: reasons supported, ruled out or open, and what to measure to decide the open ones."""
    from accelbench.compare.why import why, why_text, write_overlay

    found = why(results)
    if found.efforts:
        write_overlay(out, found)
    typer.echo(_json(found) if as_json else printable(why_text(found, results, out)))


@app.command("history")
def show_history(
    places: Annotated[
        list[Path] | None, typer.Argument(help="Files, or folders with a history.jsonl; default: results.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Only this figure: e2e_s, steady_rate_samples_per_s, … Repeatable.")
    ] = None,
    html_file: Annotated[Path | None, typer.Option("--html", help="Write a page with drawing and tables.")] = None,
    drawing: Annotated[Path | None, typer.Option(help="Folder for history.svg and history.png.")] = None,
) -> None:
    """Show the headline figures of all reports over time, where they changed, and what else changed then."""
    from accelbench.report.history import history_text, read_history, write_drawing, write_history_page

    found = read_history(places or [RESULTS], metric or [])
    if html_file:
        write_history_page(html_file, found)
    if drawing:
        write_drawing(drawing, found)
    typer.echo(printable(history_text(found)), nl=False)


@app.command()
def import_results(
    file: Annotated[Path, typer.Argument(help="Results of another tool (docs/import.md lists them).")],
    out: Annotated[Path, typer.Option(help="Output folder; writes {endpoint or file}/requests.jsonl.")],
) -> None:
    """Convert another tool's results to records for `compare`."""
    from accelbench.compare.importers import keep_imported

    for endpoint, count in keep_imported(file, out).items():
        typer.echo(f"{out / endpoint}: {f'{count} requests' if count else 'figures only, no single requests'}")


@app.command()
def export(
    source: Annotated[Path, typer.Argument(help="Requests of this project: a file, or a folder of rounds.")],
    format_: Annotated[str, typer.Option("--format", help="vllm, or llm-d (BenchmarkReport).")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output folder; a file per load and round.")],
) -> None:
    """Write measured rounds as other tools write theirs."""
    from accelbench.compare.exporters import export as exported

    typer.echo("\n".join(map(str, exported(source, format_, out))))


@app.command()
def needs(config: ConfigFiles = None, base: Base = None) -> None:
    """Print the environment that a config needs: core, or local (with torch and the local servers)."""
    print("local" if specs.needs_local(_merged(config, base)) else "core")


@app.command()
def init(directory: Annotated[Path, typer.Argument(help="The folder to create.")]) -> None:
    """Create a working directory: a config, and a README with the command that runs it."""
    from accelbench.store.working_directory import make

    typer.echo(make(directory))


@app.command()
def unlock() -> None:
    """Remove the lock that a killed workflow left; refuses while one is running."""
    from accelbench.store.working_directory import free_folder

    free_folder()


@app.command("preflight")
def preflight_plan(config: ConfigFiles = None, base: Base = None) -> None:
    """Check what would go wrong before you queue for hours. Measures nothing; exits with 1 when a check fails.

    Without --config, the config of the last run is checked.
    """
    from accelbench.preflight import preflight, print_findings

    findings = preflight(_merged(config, base) if config else load_merged(MERGED))
    print_findings(findings)
    raise typer.Exit(int(any(finding.verdict == "fails" for finding in findings)))


@app.command()
def schema(of: Annotated[Literal["config", "analysis"], typer.Option(help="What to describe.")] = "config") -> None:
    """Print the JSON schema of the config, or of results/analysis.json."""
    from accelbench.report.summary import summary_schema

    typer.echo(_json(Config.model_json_schema() if of == "config" else summary_schema()))


@app.command()
def reference() -> None:
    """Print the config reference as Markdown."""
    from accelbench.config.reference import config_reference

    typer.echo(config_reference(), nl=False)


@app.command()
def glossary() -> None:
    """Print the glossary as Markdown."""
    from accelbench.report.glossary import glossary_text

    typer.echo(glossary_text(), nl=False)


_BY_THE_WORKFLOW = (
    corpus, params, compile_first, train, prompts, weights, infer, infer_endpoint, search_endpoint, parse, classify,
    analyse, tables, plots, page, needs, reference, glossary,
)  # fmt: skip
for _command in app.registered_commands:
    _command.rich_help_panel = "Called by the workflow" if _command.callback in _BY_THE_WORKFLOW else "Use"
app.registered_commands.sort(key=lambda command: command.callback in _BY_THE_WORKFLOW)


def _merged(overlays: list[Path] | None, base: Path | None) -> Config:
    return load_config(base or paths.default_config(), [*paths.own_configs(), *(overlays or [])])


def _run(platform: str, size: str, repeat: int) -> specs.TrainRun:
    try:
        batch, *axes = paths.parse_size(size)
    except ValueError:
        raise UserError(f"--size is {size}; write bs and a batch size, such as bs256 (or bs256-mb64-sl4096).") from None
    return specs.TrainRun(platform, batch, repeat, *axes)


def _print_compared(sides: list[Path], *, as_json: bool, full: bool = False) -> None:
    from accelbench.compare.endpoints import compare_endpoints
    from accelbench.compare.tables import endpoints_text

    compared = compare_endpoints(sides)
    typer.echo(_json(compared.document) if as_json else endpoints_text(compared, full=full), nl=as_json)


def _json(record: object) -> str:
    return orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()


def _still_planned(is_now: str, planned: str, config: Path) -> None:
    if is_now != planned:
        raise UserError(
            f"{config} or the prepared data changed after this job was planned. Run the same command again."
        )
    if missing := {"prompts", "corpus"} & {key for key, held in orjson.loads(planned).items() if held == specs.PENDING}:
        data = missing.pop()
        raise UserError(
            f"the {data} that this job needs are incomplete, so nothing is measured. `{paths.snakemake()} --cores 4 "
            f"--forcerun {data}`, with the same config files, prepares them again."
        )


def _defined(name: str, defined: Mapping[str, object], key: str) -> None:
    if name not in defined:
        raise UserError(f"{key} has no {name}; it has {', '.join(defined) or 'nothing'}.")
