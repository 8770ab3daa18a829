"""Other tools' results, read as records."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from accelbench.compare.importers import keep_imported, read_folder, read_results
from accelbench.compare.importers.imported import ImportedRequests
from accelbench.errors import UserError
from accelbench.store.files import read_jsonl


def imported(folder: Path, document: Any) -> dict[str, list[dict[str, Any]]]:
    """Write a document, import it, and return the records of each endpoint."""
    source = folder / "results.json"
    source.write_text(document if isinstance(document, str) else json.dumps(document))
    counts = keep_imported(source, folder / "out")
    found = {
        name: [r for file in sorted((folder / "out" / name).rglob("requests.jsonl")) for r in read_jsonl(file)]
        for name in counts
    }
    assert {name: len(records) for name, records in found.items()} == counts
    return found


def side(*latencies: float) -> dict[str, Any]:
    metadata = {"prompt_tokens": 247, "completion_tokens": 79}
    results = [
        {"prompt_id": number, "latency_sec": latency, "response": "Denver Broncos", "metadata": metadata}
        for number, latency in enumerate(latencies, 1)
    ]
    return {"results": results}


def test_a_name_too_long_for_a_folder_is_cut_and_stays_its_own(tmp_path: Path) -> None:
    found = imported(tmp_path, {"x" * 5000: side(1.0), "x" * 4000: side(2.0)})
    assert sorted(records[0]["e2e_s"] for records in found.values()) == [1.0, 2.0]
    assert all(len(name.encode()) < 140 for name in found)


def test_the_published_scripts_results_are_one_side_per_endpoint(tmp_path: Path) -> None:
    found = imported(tmp_path, {"metis": side(4.9, 5.0), "sophia": side(1.6), "summary": {"ratio": 3.07}})
    assert {name: [r["e2e_s"] for r in records] for name, records in found.items()} == {
        "metis": [4.9, 5.0],
        "sophia": [1.6],
    }
    first = found["metis"][0]
    assert (first["class_"], first["answer"], first["prompt_tokens"]) == ("ok", "Denver Broncos", 247)
    assert (first["ttft_s"], first["sent_unix_s"], first["passage"]) == (None, None, None)
    record = json.loads((tmp_path / "out/metis/run.json").read_text())["imported"]
    assert record["format"] == "the published script's JSON" and len(record["sha256"]) == 64


VLLM = {
    "backend": "openai-chat",
    "input_lens": [10, 11],
    "output_lens": [3, 0],
    "ttfts": [0.5, 0.0],
    "itls": [[0.1, 0.2], []],
    "generated_texts": ["a b c", ""],
    "errors": ["", "Bad Gateway"],
}


def test_vllm_bench_keeps_its_failures_and_its_token_times(tmp_path: Path) -> None:
    (records,) = imported(tmp_path, VLLM).values()
    good, bad = records
    assert good["event_times_s"] == pytest.approx([0.5, 0.6, 0.8])
    assert (good["ttft_s"], good["e2e_s"], good["completion_tokens"]) == (0.5, pytest.approx(0.8), 3)
    assert (bad["class_"], bad["error_text"], bad["e2e_s"], bad["ttft_s"]) == ("http_5xx", "Bad Gateway", None, None)


def test_guidellm_has_a_side_per_benchmark_and_leaves_out_what_was_cut_off(tmp_path: Path) -> None:
    request = {
        "request_id": "a",
        "request_start_time": 1000.0,
        "request_end_time": 1002.0,
        "request_latency": 2.0,
        "time_to_first_token_ms": 300.0,
        "inter_token_latency_ms": 20.0,
        "prompt_tokens": 5,
        "output_tokens": 86,
        "output": "text",
    }
    older = {"request_id": "b", "start_time": 10.0, "end_time": 11.5, "prompt_tokens": 5, "output_tokens": 8}
    requests = {"successful": [request, older], "errored": [{"request_id": "c"}], "incomplete": [{"request_id": "d"}]}
    found = imported(tmp_path, {"benchmarks": [{"requests": requests}, {"requests": {"successful": [request]}}]})
    assert [(r["cell"], r["key"], r["class_"], r["e2e_s"]) for r in found["results"]] == [
        ("benchmark-1", "a", "ok", 2.0),
        ("benchmark-1", "b", "ok", 1.5),
        ("benchmark-1", "c", "connection", None),
        ("benchmark-2", "a", "ok", 2.0),
    ]
    first = found["results"][0]
    assert (first["ttft_s"], first["tpot_s"], first["sent_unix_s"]) == (0.3, 0.02, 1000.0)


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ("{", "is cut off"),
        ("nothing", "is not valid JSON"),
        ({"some": "thing"}, "is not in a format"),
        ([], "is not in a format"),
        ({"a": {"results": []}}, "is from the published script's JSON, but holds neither single requests nor figures"),
        (
            {"benchmarks": []},
            "is from guidellm, but holds neither single requests nor figures; to have requests, leave",
        ),
        ({"benchmarks": [], "machine_info": {}}, "is not in a format"),
        ({"a": {"results": [{"prompt_id": 1}]}}, "looks like the published script's JSON, but can't be read as such"),
        ({**VLLM, "errors": [""]}, "looks like vllm bench serve"),
        ({"benchmarks": [{"requests": {}}]}, "but holds neither single requests nor figures"),
    ],
)
def test_what_can_not_be_imported_is_one_clear_message(tmp_path: Path, document: Any, why: str) -> None:
    with pytest.raises(UserError, match=why):
        imported(tmp_path, document)


def test_names_become_folders_that_stay_inside(tmp_path: Path) -> None:
    assert list(imported(tmp_path, {"../Metis (SN40L)": side(1.0)})) == ["metis--sn40l"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.json can't be read"):
        keep_imported(tmp_path / "nowhere.json", tmp_path)


@pytest.mark.parametrize(
    ("said", "class_"),
    [
        ("Too Many Requests", "http_4xx"),
        ('Service Unavailable: {"error": {"message": "overloaded"}}', "http_5xx"),
        ("503 Server Error: Service Unavailable for url: http://x/v1", "http_5xx"),
        ("HTTPStatusError(\"Client error '429 Too Many Requests' for url 'http://x/v1'", "http_4xx"),
        ("RemoteProtocolError('peer closed connection')", "connection"),
        ("gave up after 500 s", "connection"),
    ],
)
def test_a_refusal_has_the_status_that_an_http_client_words(said: str, class_: str) -> None:
    requests = ImportedRequests()
    requests.add("0", failure=said)
    assert requests.kept()[0].class_ == class_


def test_a_packed_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(json.dumps(VLLM).encode()))
    assert len(read_results(tmp_path / "a.json.gz").loads[0].requests) == 2
    assert len(read_folder(tmp_path)[0].requests) == 2


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.json", json.dumps(VLLM).encode()[:90], "is cut off: unexpected end of data"),
        ("a.json.gz", gzip.compress(json.dumps(VLLM).encode(), mtime=0)[:60], "is cut off, or holds more than 2 GiB"),
        ("a.json.gz", b"\x1f\x8b" + b"\x09" * 20, "can't be unpacked"),
        ("a.zip", b"PK\x03\x04\x00", "is not text; if it is packed, unpack it"),
        ("benchmarks.yaml", b"benchmarks:\n- a: 1\n", "is YAML; results are read as JSON"),
    ],
)
def test_what_is_no_json_is_said_in_one_line(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=why) as error:
        read_results(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_folder_of_broken_files_says_what_is_wrong_with_the_first(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match=r"no result file of a known tool\. .*a\.json is cut off"):
        read_folder(tmp_path)


def test_a_request_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    requests = ImportedRequests()
    for key, begun_s in (("a", 1.0), ("a", 1.0), ("a", 2.0), ("b", 1.0)):
        requests.add(key, begun_s=begun_s, e2e_s=0.5)
    assert (len(requests.kept()), requests.notes()) == (3, ["1 request left out: the same request again"])


def test_a_copy_of_a_file_is_no_second_round(tmp_path: Path) -> None:
    for name in ("a", "copy"):
        (tmp_path / f"{name}.json").write_text(json.dumps(VLLM))
    (load,) = read_folder(tmp_path)
    assert (len(load.requests), load.notes[0]) == (2, "1 result is a copy of another and left out")


def test_rounds_that_name_no_load_are_said_to_be_taken_as_such(tmp_path: Path) -> None:
    for name, ttft_s in (("a", 0.5), ("b", 0.6)):
        (tmp_path / f"{name}.json").write_text(json.dumps(VLLM | {"ttfts": [ttft_s, 0.0]}))
    (load,) = read_folder(tmp_path)
    assert "2 results that name neither concurrency nor rate count as rounds of one load" in load.notes
