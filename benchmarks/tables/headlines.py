"""The number that stands for each record, and the list of them all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks.tables.cells import (
    NONE,
    SETS,
    SHORT,
    SIZES,
    Lines,
    Record,
    found,
    grid,
    number,
    percent,
    points,
    whole,
)
from benchmarks.tables.everyday import megabytes
from benchmarks.tables.findings import long_row
from benchmarks.tables.growing import _fastest


def _of_pictures(record: Record) -> str:
    before, now = record["numbers"]
    same = f"{now['same_letters']} of {now['pictures']} ({before['same_letters']} before)"
    size = f"{whole(now['bytes'])} bytes a picture ({whole(before['bytes'])} before)"
    return f"{size}; OCR reads the same letters on {same}"


def _of_scaling(record: Record) -> str:
    ours = [row for row in record["numbers"]["rows"] if row["engine"] == "ours"]
    most = max(ours, key=lambda row: row["pages"] * row["vectors"])
    return (
        f"{most['pages']:,} pages of {most['vectors']} vectors: p50 at recall 0.99 "
        f"{_fastest(most.get('ways', ()), 0.99)} ms"
    )


def _of_quality(record: Record) -> str:
    one, full = ([_ndcg(record, name, size) for name in SHORT] for size in (SIZES[0], SIZES[-1]))
    return f"(1,1) {' / '.join(one)}, (16,64) {' / '.join(full)} on {', '.join(SHORT)}"


def _ndcg(record: Record, heading: str, size: str, system: str = "int8") -> str:
    return percent((found([record], heading, system, size) or {}).get("ndcg@5"))


def _of_ocr(record: Record) -> str:
    (name,) = tuple(SETS)[4:]
    return f"(16,64) {_ndcg(record, name, SIZES[-1])} on {name}"


def _of_beside(record: Record) -> str:
    one = _ndcg(record, "texdoc_pages", "(1,1)", "one vector")
    return f"texdoc_pages: one vector {one}, 64 Ward {_ndcg(record, 'texdoc_pages', '64', 'Ward')}"


def _of_formats(record: Record) -> str:
    full = {one["format"]: one for one in record["numbers"]["rows"] if one["budget"] == [16, 64]}
    told = (f"{name} {percent(full[name]['ndcg@10'])}" for name in ("fp32", "int8", "int4", "bits"))
    return f"nDCG@10 at (16,64): {', '.join(told)}"


def _of_hybrid(record: Record) -> str:
    sets = record["numbers"]["evaluation"]
    told = (f"{one['dataset']} {points(one['results'][-1]['gain'])}" for one in sets)
    return f"over the better BM25 at (16,64): {'; '.join(told)}"


def _of_choices(record: Record) -> str:
    best = max(record["numbers"]["choices"], key=lambda one: one["mean"])
    return f"pairs {best['pairs']:g}, BM25 {best['bm25']}: mean nDCG@5 {percent(best['mean'])}"


def _of_fusion(record: Record) -> str:
    auto = next(one for one in record["numbers"]["summary"] if one["method"] == "auto")
    return f"`auto`: mean {percent(auto['mean'])}, least gain {100 * auto['least gain']:+.1f}"


def _of_confidence(record: Record) -> str:
    levels = [row["levels"]["0.95"] for one in record["numbers"]["sets"] for row in one["rows"]]
    missed, wrong = (
        [percent(level[name]) for level in sorted(levels, key=lambda level: level[name])]
        for name in ("misses", "false alarms")
    )
    return f"at 0.95: misses {missed[0]} to {missed[-1]}, false alarms {wrong[0]} to {wrong[-1]} %"


def _of_wrong(record: Record) -> str:
    every = [one for one in record["numbers"] if one["kind"] == "all"]
    return "; ".join(f"{one['set']}: {one['wrong']} of {one['queries']}" for one in every)


def _of_latency(record: Record) -> str:
    of = record["numbers"]
    return f"query {number(of['query_ms_cpu'])} ms, page {number(of['page_ms_cpu'])} ms of CPU"


def _of_encoding(record: Record) -> str:
    first, second = record["numbers"]["rows"][:2]
    told = [f"{number(one['pages_per_second'])} in {one['arithmetic']}" for one in (first, second)]
    return f"`{first['checkpoint']}`: {', '.join(told)} pages a second"


def _of_ways(record: Record) -> str:
    ways = {(one["way"], one["source"]): one for one in record["numbers"]["ways"]}
    default, exact = ways["cascade", "cache"], ways["exhaustive", "cache"]
    told = f"default {number(default['p50_ms'])} ms at recall {default['recall@10']:.3f}"
    return f"{told}, exhaustive {number(exact['p50_ms'])} ms"


def _of_kernels(record: Record) -> str:
    ratio = next(o["ratio"] for o in record["numbers"]["rows"] if o["kernel"] == "torch fp32")
    return f"torch float32 takes {ratio:.1f} times as long"


def _of_peers(record: Record) -> str:
    large = {o["name"]: o for o in record["numbers"]["rows"] if o["pages"] == 100_000}
    ours, torch = (large[n]["cpu_p50_ms"] for n in ("ours, exhaustive", "torch fp32, brute force"))
    return f"100,000 pages: {ours:.0f} ms of CPU, torch float32 {torch:.0f} ms"


def _of_ray(record: Record) -> str:
    rates = [number(one["pages_per_second_after"]) for one in record["numbers"]["rows"]]
    return f"{rates[1]} pages a second by 1 worker, {rates[2]} by 2, {rates[0]} without Ray"


def _of_indexing(record: Record) -> str:
    of = record["numbers"]
    return f"{number(of['pages_per_cpu_second'])} pages a second of CPU, {of['peak_gb']:.2f} GB"


def _of_before_after(record: Record) -> str:
    ratios = {one["work"]: one["cpu"]["ratio"] for one in record["numbers"]["rows"]}
    least, most = (end(ratios, key=lambda one: ratios[one]) for end in (min, max))
    told = dict.fromkeys((least, most))
    return "CPU, times as much: " + "; ".join(f"{work} {ratios[work]:.2f}" for work in told)


def _of_checksums(record: Record) -> str:
    opened = next(one for one in record["numbers"]["rows"] if one["when"] == "open")
    return f"{opened['what']} opened in {number(opened['cpu_ms'])} ms of CPU"


def _of_disk(record: Record) -> str:
    of = record["numbers"][0]
    now, before = (of[form]["records_times_the_vectors"] for form in ("now", "before"))
    near = of["now"]["estimate"] / of["now"]["whole"] - 1
    return f"records {now} times the vectors ({before} before), the estimate {near:+.1%} off"


def _of_hybrid_speed(record: Record) -> str:
    of = record["numbers"]
    return f"{number(of['hybrid'])} ms of CPU beside {number(of['search'])} ms"


def _of_async(record: Record) -> str:
    series = record["numbers"]["series"]
    ratios = [one["at_once_s"] / one["in_sequence_s"] for one in series]
    told = sorted({f"{one:.2f}" for one in ratios})
    return f"{' to '.join(dict.fromkeys((told[0], told[-1])))} of the time"


def _of_serving(record: Record) -> str:
    rows = record["numbers"]["rows"]
    bare, crowd = rows["bare search, in the process"], list(rows.values())[-1]
    wrong = crowd["errors"] + crowd["wrong"]
    return (
        f"{crowd['requests']:,} requests of {crowd['clients']} clients: {wrong} errors and wrong "
        f"results, p50 {crowd['p50_ms']:.0f} ms, p95 {crowd['p95_ms']:.0f} ms "
        f"(bare: {bare['p50_ms']:.0f}, {bare['p95_ms']:.0f})"
    )


def _of_thin_client(record: Record) -> str:
    client, local = (record["numbers"][name] for name in ("client", "local"))
    return (
        f"{client['megabytes']:,.0f} MB of {local['megabytes']:,.0f}, imported in "
        f"{client['import_seconds']:.1f} s of {local['import_seconds']:.1f}, a query encoded after "
        f"{client['first_query_seconds']:.1f} s of {local['first_query_seconds']:.1f}"
    )


def _of_command_line(record: Record) -> str:
    rows = record["numbers"]["rows"].items()
    return ", ".join(f"`{name}` {of['cpu_seconds']:.2f} CPU s" for name, of in rows)


def _of_federation(record: Record) -> str:
    of = record["numbers"]["rows"].items()
    return "with words, shards " + ", ".join(f"{name} {one['with words']:.3f}" for name, one in of)


def _of_curve(record: Record) -> str:
    shipped = record["numbers"]["rows"][-1]
    return f"shipped: (16,64) {shipped['tex'][2]} on TeX titles"


def _of_manpages(record: Record) -> str:
    last = record["numbers"]["rows"][-1]
    return f"nDCG@5 at (16,64) from {percent(last['ndcg@5'])} to {percent(last['after'])}"


def _of_dense_door(record: Record) -> str:
    told = []
    for one in record["numbers"]["sets"]:
        of = {tuple(row["budget"]): percent(row["ndcg@5"]) for row in one["rows"]}
        told.append(f"{one['set']} {of[1, 1]}, {of[1, 64]}, {of[16, 64]}")
    return f"{record['numbers']['model']['name']} at (1,1), (1,64), (16,64): {'; '.join(told)}"


def _of_photos(record: Record) -> str:
    words = record["numbers"]["checkpoint"]["visual words"]
    told = [f"({size}) {percent(words[size]['reporting'])}" for size in ("1,1", "16,64")]
    return f"visual words: {', '.join(told)}"


def _of_pointing(record: Record) -> str:
    row = record["numbers"]["rows"][0]
    names = {"explained": "explained", "most_words": "most words", "random": "random"}
    return ", ".join(f"{told} {percent(row[name])}" for name, told in names.items())


def _of_long_pages(record: Record) -> str:
    rows = [one["rows"] for one in record["numbers"]["sets"]]
    told = []
    for system in ("(16,64)", "(16,64) hybrid"):
        last = [found["last"] for found in map(partial(long_row, "whole text", system), rows)]
        told.append(f"{system} from {percent(min(last))} to {percent(max(last))}")
    return f"from the last third: {', '.join(told)}"


def _of_soak(record: Record) -> str:
    made = ", ".join(
        f"{whole(count)} {name}" for name, count in record["numbers"]["counts"].items()
    )
    bad = ("lost", "wrong", "tracebacks", "hangs")
    zero = sum(one[key] for one in record["numbers"]["kinds"] for key in bad)
    return f"{made}: {whole(zero)} lost, wrong, tracebacks or hangs"


def _of_languages(record: Record) -> str:
    numbers = record["numbers"]
    german = numbers["sets"][0]
    told = [f"German words {percent(german['english'])} to {percent(german['own'])}"]
    for row in numbers["characters"]:
        told.append(f"{row['set']} {percent(row['as before'])} to {percent(row['now'])}")
    return f"BM25: {', '.join(told)}"


def _of_install(record: Record) -> str:
    sizes = {name: sum(of["bytes"].values()) for name, of in record["numbers"]["choices"].items()}
    light, heavy = (sizes[f"{extra} + LangChain"] for extra in ("chroma", "local"))
    return (
        f"LangChain with an index on this machine: {megabytes(heavy)} MB with torch, "
        f"{megabytes(light)} MB where a server has the model; everything: "
        f"{megabytes(sizes['all'])} MB"
    )


def _of_figures(record: Record) -> str:
    off, on = (percent(record["numbers"][ocr]["vectors"]) for ocr in ("never", "auto"))
    return f"nDCG@5 without OCR {off}, with it {on}"


def _of_figures_cost(record: Record) -> str:
    one, *_ = record["numbers"]["costs"]
    read = one["drawn"] + one["read"]
    return f"{read:.2f} CPU seconds a page with a chart, {one['loaded']:.3f} without OCR"


def _of_mixed_folder(record: Record) -> str:
    first, *later = record["numbers"]["steps"]
    return (
        f"{first['files']} files, {first['pages']} pages, exit code {first['exit_code']}, "
        f"{len(first['silently_missing'])} silently missing; then encoded: "
        + ", ".join(f"{one['step']} {one['encoded']}" for one in later)
    )


HEADLINES: dict[str, Callable[[Record], str]] = {
    "quality": _of_quality,
    "quality_small": _of_quality,
    "quality_ocr": _of_ocr,
    "quality_ocr_small": _of_ocr,
    "beside": _of_beside,
    "long_pages": _of_long_pages,
    "dense_door": _of_dense_door,
    "photos": _of_photos,
    "pointing": _of_pointing,
    "formats": _of_formats,
    "hybrid": _of_hybrid,
    "hybrid_development": _of_choices,
    "fusion": _of_fusion,
    "confidence": _of_confidence,
    "wrong_answers": _of_wrong,
    "training_curve": _of_curve,
    "manpages": _of_manpages,
    "encoding_speed": _of_encoding,
    "latency": _of_latency,
    "search_short_texts": _of_ways,
    "search_long_pages": _of_ways,
    "hybrid_speed": _of_hybrid_speed,
    "kernels": _of_kernels,
    "peers": _of_peers,
    "indexing": _of_indexing,
    "ray": _of_ray,
    "before_after_search": _of_before_after,
    "before_after_pdfs": _of_before_after,
    "before_after_pictures": _of_before_after,
    "checksums": _of_checksums,
    "disk": _of_disk,
    "pictures": _of_pictures,
    "scaling": _of_scaling,
    "async_retrieval": _of_async,
    "serving": _of_serving,
    "command_line": _of_command_line,
    "federation": _of_federation,
    "soak": _of_soak,
    "thin_client": _of_thin_client,
    "languages": _of_languages,
    "install": _of_install,
    "mixed_folder": _of_mixed_folder,
    "figures": _of_figures,
    "figures_cost": _of_figures_cost,
}
"""Record -> the number that stands for it; each record has a row in RESULTS.md."""


def claims(**records: Record) -> Lines:
    """A row a record."""
    rows = [
        [
            f"[{record['claim']}](results/{name}.json)",
            HEADLINES[name](record),
            f"`{record['command']}`",
            f"{record['measured']}, `{record['commit']}`",
            f"`{record['fingerprint'][:8]}`" if "fingerprint" in record else NONE,
        ]
        for name, record in records.items()
    ]
    return grid(["claim", "number", "command", "measured", "checkpoint"], rows)
